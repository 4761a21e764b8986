#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "models/gpu/gpu.hpp"
#include "models/kernels/implementation_library.hpp"
#include "sim/app/kernel_cache.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/result.hpp"

/// From a scenario to its result: kernels on worker processes, the job over them, the bill.
namespace tessera::app {

class KernelSources;

struct RunOptions {
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  int jobs = 1;                      ///< Worker processes for kernels.
  KernelCache* cache = nullptr;      ///< Null: nothing is kept between runs.
  bool check_fidelity = true;        ///< Warn where the closed form is far from the cycle model.
  bool sensitivity = false;          ///< Also repeat the job with each unpublished choice changed.
  bool unfold = false;               ///< Route the traffic of every GPU, alike or not.
  KernelSources* sources = nullptr;  ///< Kept from run to run; null: each run has its own.
};

/// For --verbose; never part of a result.
struct RunStatistics {
  KernelStatistics kernels;
  std::uint64_t pipeline_events = 0;
  double pipeline_seconds = 0;  ///< Everything but the simulation of kernels.
};

/// One device's kernels at one fidelity: real answers behind the cache, quick ones for surveys.
/// Jobs on the same device share it, and with it every kernel that they have in common.
class KernelSource {
 public:
  KernelSource(const device::DeviceSpec& device, const RunOptions& options);

  [[nodiscard]] CachedKernelTimer& timer() { return timer_; }
  [[nodiscard]] gpu::KernelTimer& estimates() { return estimates_; }
  [[nodiscard]] const device::FitSet& fits() const { return fits_; }
  [[nodiscard]] const kernels::ImplementationLibrary& library() const { return library_; }

 private:
  device::FitSet fits_;
  kernels::ImplementationLibrary library_;
  gpu::Gpu gpu_;
  gpu::Gpu estimates_;  ///< Analytical.
  CachedKernelTimer timer_;
};

/// The kernels of every device that runs of one process have asked about.
class KernelSources {
 public:
  /// That of the device at the options' fidelity. Requires: the same options.cache each time.
  [[nodiscard]] KernelSource& of(const device::DeviceSpec& device, const RunOptions& options);

 private:
  std::map<std::pair<std::string, gpu::Fidelity>, std::unique_ptr<KernelSource>> sources_;
};

/// Simulates the job. `network` is of the scenario's cluster; jobs that differ in neither cluster
/// nor routing share it, and with it the routes that it has worked out. Throws core::Refusal.
[[nodiscard]] training::TrainingResult simulate(const Scenario& scenario, KernelSource& kernels,
                                                streams::NetworkTimer& network,
                                                const RunOptions& options,
                                                RunStatistics& statistics);

/// The whole answer to a scenario. A refusal of the model comes back as a result with `refused`.
[[nodiscard]] core::Result run_scenario(const Scenario& scenario, const RunOptions& options,
                                        RunStatistics& statistics);

}  // namespace tessera::app
