#pragma once

#include "sim/core/data_type.hpp"

namespace tessera::workload {

/// Which number format each part of training uses. What a recipe leaves in BF16 whatever it says:
/// attention, gate, embedding, head and norms (arXiv 2412.19437, section 3.3.1).
struct PrecisionRecipe {
  core::DataType linear = core::DataType::bf16;     ///< bf16 or fp8_block: every linear layer's
                                                    ///< output, input and weight gradient.
  core::DataType attention = core::DataType::bf16;  ///< bf16.
  core::DataType dispatch = core::DataType::bf16;   ///< Tokens to experts and, backward, gradients
                                                    ///< of the experts' outputs.
  core::DataType combine = core::DataType::bf16;    ///< Experts' outputs to tokens and, backward,
                                                    ///< gradients of the experts' inputs.
  core::DataType master_weights = core::DataType::fp32;
  core::DataType gradients = core::DataType::fp32;  ///< Accumulated and reduced.
  core::DataType moments = core::DataType::fp32;    ///< Both moments of AdamW.

  /// DeepSeek-V3's: linear layers and dispatch in FP8, combine BF16, moments BF16.
  [[nodiscard]] static PrecisionRecipe fp8_block() {
    return {.linear = core::DataType::fp8_block,
            .dispatch = core::DataType::fp8_block,
            .moments = core::DataType::bf16};
  }
};

/// Outputs that are computed again in the backward pass instead of being kept.
struct RecomputeChoice {
  bool rms_norm = false;
  bool mla_up_projection = false;  ///< Queries, keys and values from their latents.
  bool swiglu = false;             ///< The activation from the products that enter it.
};

}  // namespace tessera::workload
