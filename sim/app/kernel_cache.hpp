#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/workload/operators.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {

/// What every result on one device depends on besides the kernel itself. Whatever were left out
/// would let an edited file be answered from an old result.
struct TimerIdentity {
  std::string device;   ///< All fields of the device description, as text.
  std::string fits;     ///< FitSet::hash.
  std::string kernels;  ///< SHA-256 over the kernel implementation files.
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  std::string model_version;  ///< Changes whenever the model would answer differently.
};

/// Every field of the device description that a kernel's time can depend on, exactly, as text.
[[nodiscard]] std::string key_text(const device::DeviceSpec& device);

/// One question to a KernelTimer.
struct KernelQuery {
  workload::Operator op;
  gpu::ExecutionContext context;
  std::string implementation;
  friend auto operator<=>(const KernelQuery&, const KernelQuery&) = default;
};

/// SHA-256 over everything that the answer depends on, each part with its length.
[[nodiscard]] std::string cache_key(const TimerIdentity& identity, const KernelQuery& query);

/// Exact in both directions: doubles keep every bit. decode throws std::runtime_error on text that
/// encode did not write.
[[nodiscard]] std::string encode(const gpu::KernelResult& result);
[[nodiscard]] gpu::KernelResult decode(std::string_view bytes);

/// Kernel results on disk, in one SQLite file that several programs may use at the same time and
/// that survives being killed at any moment. It only ever saves time: a file that is damaged or of
/// another version is set aside and begun anew, with a warning.
class KernelCache {
 public:
  using Warn = std::function<void(const std::string&)>;

  /// Opens or creates `directory`/kernels.sqlite. Throws std::runtime_error when the directory or
  /// the file in it cannot be made.
  KernelCache(const std::filesystem::path& directory, Warn warn);
  ~KernelCache();
  KernelCache(const KernelCache&) = delete;
  KernelCache& operator=(const KernelCache&) = delete;

  /// None when the key is unknown or what is stored under it is damaged.
  [[nodiscard]] std::optional<gpu::KernelResult> find(const std::string& key);
  /// Visible to other programs when this returns.
  void store(const std::string& key, const gpu::KernelResult& result);

  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  struct Database;
  void open();
  void rebuild(const std::string& why);

  std::filesystem::path file_;
  Warn warn_;
  std::unique_ptr<Database> database_;
};

/// $XDG_CACHE_HOME/tessera, else ~/.cache/tessera; none when neither variable is set.
[[nodiscard]] std::optional<std::filesystem::path> default_cache_directory();

/// What --verbose tells about kernels; never part of a result.
struct KernelStatistics {
  std::uint64_t memory_hits = 0;  ///< Asked before by this run.
  std::uint64_t disk_hits = 0;    ///< Found in the cache file.
  std::uint64_t simulated = 0;
  std::uint64_t events = 0;      ///< Of the simulated ones.
  double wall_seconds = 0;       ///< Spent simulating, on the clock of the wall.
  core::Bytes workers_memory{};  ///< The most that worker processes had resident together, or more.
};

/// Answers from memory, then from the cache file, then from the timer that it wraps, whose answers
/// it stores. Safe to call from several threads; the wrapped timer is called by one at a time.
class CachedKernelTimer : public gpu::KernelTimer {
 public:
  /// `cache` may be null: memory only. Both outlive this object.
  CachedKernelTimer(gpu::KernelTimer& timer, KernelCache* cache, TimerIdentity identity);

  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                        const std::string& implementation = {}) override;

  /// Called with how many of the missing kernels are done, of how many.
  using Progress = std::function<void(std::size_t done, std::size_t all)>;

  /// Has the answers to all queries in memory afterwards; simulates those that nobody knows in
  /// `jobs` worker processes, the longest first. A query whose worker failed, refused or crashed
  /// throws when run() asks for it, and costs no other. Requires: no other thread is running.
  void run_many(const std::vector<KernelQuery>& queries, int jobs, const Progress& progress = {});

  /// The answer if nothing needs to be simulated for it. Throws what run_many() met when it tried.
  [[nodiscard]] std::optional<gpu::KernelResult> find(const KernelQuery& query);

  [[nodiscard]] const KernelStatistics& statistics() const { return statistics_; }

 private:
  const gpu::KernelResult* look_up(const std::string& key);
  void keep(const std::string& key, const gpu::KernelResult& result);

  gpu::KernelTimer& timer_;
  KernelCache* cache_;
  TimerIdentity identity_;
  std::mutex mutex_;
  std::map<std::string, gpu::KernelResult> known_;
  std::map<std::string, WorkOutcome> lost_;  ///< Refused, failed or crashed in a worker.
  KernelStatistics statistics_;
};

/// Finds out which kernels a model asks for: answers what is known, and what is not with a quick
/// estimate, and remembers both.
class SurveyKernelTimer : public gpu::KernelTimer {
 public:
  SurveyKernelTimer(CachedKernelTimer& known, gpu::KernelTimer& estimates)
      : known_(known), estimates_(estimates) {}
  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                        const std::string& implementation = {}) override;

  /// Questions answered with estimates, in the order asked, repetitions included. Empty: every
  /// answer was the real one.
  [[nodiscard]] const std::vector<KernelQuery>& missing() const { return missing_; }
  /// All questions, each once, in the order first asked.
  [[nodiscard]] const std::vector<KernelQuery>& asked() const { return asked_; }

 private:
  CachedKernelTimer& known_;
  gpu::KernelTimer& estimates_;
  std::vector<KernelQuery> missing_;
  std::vector<KernelQuery> asked_;
  std::set<std::string> seen_;
};

/// Runs `model` with estimates, to learn which kernels it asks for, has `simulate` time those that
/// `known` does not hold, and again until it asks for nothing new: that run is the one that counts,
/// and what it asked is returned. None where even the last of a few runs asked for more: `model`
/// should then be run with `known` itself.
[[nodiscard]] std::optional<std::vector<KernelQuery>> survey_kernels(
    CachedKernelTimer& known, gpu::KernelTimer& estimates,
    const std::function<void(gpu::KernelTimer&)>& model,
    const std::function<void(const std::vector<KernelQuery>&)>& simulate);

}  // namespace tessera::app
