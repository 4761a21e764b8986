#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/serving/memory.hpp"

namespace tessera::app {

/// What the user chose of an instance whose room is asked for; the rest follows from the model.
struct CacheQuestion {
  std::vector<std::string> devices{"h20_sxm", "h800_sxm", "h200_sxm", "b200_sxm"};
  std::vector<std::int64_t> contexts{4096, 32'768, 131'072};  ///< Tokens, ascending.
  std::string cache = "bf16";
  std::string weights = "fp8_block";
  std::string expert_weights;      ///< Empty: as `weights`.
  std::int64_t gpus = 0;           ///< 0: the smallest group that holds the longest context.
  std::int64_t domain = 8;         ///< GPUs of an NVLink domain: HGX boards.
  std::int64_t prompt_tokens = 0;  ///< Of the largest prefill iteration; 0: a decode instance.
  std::int64_t block = 64;
  double memory_utilisation = 0.9;
};

/// One model on one device.
struct CacheRow {
  std::string architecture;
  std::string device;
  double token_bytes_bf16 = 0;  ///< Of the whole model, however it is cut.
  double token_bytes_fp8 = 0;
  /// Where the model's positions end, if that is before the longest context that was asked for.
  std::optional<std::int64_t> longest;
  std::int64_t longest_batch = 0;  ///< At that context, or at the longest that was asked for.
  std::optional<serving::MemoryJob> job;  ///< Nothing: no group holds it.
  double token_bytes_gpu = 0;             ///< In the chosen format, on one GPU.
  /// Sequences of an attention rank by context; nothing beyond the model's positions.
  std::map<std::int64_t, std::optional<std::int64_t>> batch;
  serving::MemoryPlan plan;  ///< At the first context's largest batch.
};

/// One architecture on every device that was asked for. Throws core::ConfigError and core::Refusal.
[[nodiscard]] std::vector<CacheRow> cache_rows(const workload::Architecture& architecture,
                                               const CacheQuestion& question);

/// "EP16", "TP8", "TP8 PP2", "1 GPU".
[[nodiscard]] std::string cut_text(const serving::MemoryJob& job);
/// How the table's numbers came about, a sentence a line.
[[nodiscard]] std::string cache_assumptions(const CacheQuestion& question);
/// A line a model, a column a device.
[[nodiscard]] std::string cache_text(const std::vector<CacheRow>& rows,
                                     const CacheQuestion& question);
/// A line a model, device and context under a header, lines ended by LF.
[[nodiscard]] std::string cache_csv(const std::vector<CacheRow>& rows);
[[nodiscard]] nlohmann::ordered_json cache_json(const std::vector<CacheRow>& rows,
                                                const CacheQuestion& question);

}  // namespace tessera::app
