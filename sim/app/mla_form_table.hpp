#pragma once

#include <string>

#include "models/workload/architecture.hpp"
#include "sim/app/cache_table.hpp"

namespace tessera::app {

/// From how many new tokens of a sequence on expanding latents is faster than absorbing, by device
/// and context, and both forms' times there, from kernels at analytical fidelity; what keeps a
/// model from having both forms, where it has not. Empty without latent attention.
[[nodiscard]] std::string mla_form_text(const workload::Architecture& architecture,
                                        const CacheQuestion& question);

}  // namespace tessera::app
