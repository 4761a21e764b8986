#pragma once

#include <cstdint>
#include <optional>

#include "models/gpu/kernel_timer.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/inference_lowering.hpp"
#include "sim/core/units.hpp"

/// Latent attention in its two forms: to latents, with the up projections absorbed into queries and
/// outputs, or to keys and values of every head, expanded from all latents before.
namespace tessera::serving {

/// New tokens of each of `sequences` that attend to `context` tokens, themselves included.
struct FormQuestion {
  workload::Architecture architecture;  ///< With dense latent attention.
  workload::InferencePrecision precision;
  std::int64_t tensor = 1;
  std::int64_t sequences = 1;
  std::int64_t context = 1;
};

/// Time of all kernels of one layer's attention, projections included, on one GPU.
struct FormTimes {
  core::Time absorbed{};
  core::Time expanded{};
};

/// Throws core::Refusal: outside_model without dense latent attention, and what kernels refuse.
[[nodiscard]] FormTimes form_times(const FormQuestion& question, std::int64_t queries,
                                   gpu::KernelTimer& kernels);

/// The fewest new tokens of a sequence, to within a sixteenth, from which on expanding is faster at
/// this context; nothing when absorbing is even for the whole context at once. Below it, tested
/// powers of two are faster absorbed.
[[nodiscard]] std::optional<std::int64_t> expanding_wins_from(const FormQuestion& question,
                                                              gpu::KernelTimer& kernels);

}  // namespace tessera::serving
