#pragma once

#include <cstdint>

#include "sim/core/data_type.hpp"

namespace tessera::workload {

/// Where the scale of a tensor comes from that has one for all its elements.
enum class TensorScaling {
  delayed,  ///< From the maxima of earlier steps: known before the cast.
  current,  ///< From its own maximum: read once more before the cast.
};

/// Which number format each part of training uses. What a recipe leaves in BF16 whatever it says:
/// attention, gate, embedding, head and norms (arXiv 2412.19437, section 3.3.1).
struct PrecisionRecipe {
  /// bf16, fp8 (one scale a tensor), fp8_block, mxfp8 or nvfp4: every linear layer's output, input
  /// and weight gradient.
  core::DataType linear = core::DataType::bf16;
  core::DataType attention = core::DataType::bf16;  ///< bf16.
  core::DataType dispatch = core::DataType::bf16;   ///< Tokens to experts and, backward, gradients
                                                    ///< of the experts' outputs.
  core::DataType combine = core::DataType::bf16;    ///< Experts' outputs to tokens and, backward,
                                                    ///< gradients of the experts' inputs.
  core::DataType master_weights = core::DataType::fp32;
  core::DataType gradients = core::DataType::fp32;  ///< Accumulated and reduced.
  core::DataType moments = core::DataType::fp32;    ///< Both moments of AdamW.

  TensorScaling scaling = TensorScaling::delayed;  ///< Of fp8.
  /// Products in fp8 read both operands along k, as Hopper's do, so that gradients need
  /// transposed copies; Blackwell's read either way. Block-scaled types need a second copy, scaled
  /// along the other dimension, everywhere.
  bool transposed_copies = true;
  /// Gradients of fp8 products are promoted to FP32 on tensor cores that add in few bits
  /// (Transformer Engine's use_split_accumulator: off forward, on for both gradients).
  bool promoted_gradients = true;
  /// Layers at either end of the model whose linear layers stay in bf16.
  std::int64_t bf16_first_layers = 0;
  std::int64_t bf16_last_layers = 0;

  /// DeepSeek-V3's: linear layers and dispatch in FP8, combine BF16, moments BF16.
  [[nodiscard]] static PrecisionRecipe fp8_block() {
    return {.linear = core::DataType::fp8_block,
            .dispatch = core::DataType::fp8_block,
            .moments = core::DataType::bf16};
  }
  /// Transformer Engine's DelayedScaling or Float8CurrentScaling.
  [[nodiscard]] static PrecisionRecipe fp8(TensorScaling scaling) {
    return {.linear = core::DataType::fp8, .scaling = scaling};
  }
  /// Transformer Engine's MXFP8BlockScaling.
  [[nodiscard]] static PrecisionRecipe mxfp8() { return {.linear = core::DataType::mxfp8}; }
  /// Transformer Engine's NVFP4BlockScaling. The published recipe (arXiv 2509.25149, section 4)
  /// keeps the first two and the last eight of 62 blocks in BF16: set `bf16_*_layers`.
  [[nodiscard]] static PrecisionRecipe nvfp4() { return {.linear = core::DataType::nvfp4}; }
};

/// Outputs that are computed again in the backward pass instead of being kept.
struct RecomputeChoice {
  bool rms_norm = false;           ///< Outputs of all norms.
  bool mla_up_projection = false;  ///< Queries, keys and values from their latents.
  bool swiglu = false;             ///< The activation from the products that enter it.
  /// Megatron's "selective": attention from queries, keys and values. FlashAttention keeps no
  /// scores, so only its log-sum-exp is saved by it; unfused attention keeps none of the scores.
  bool core_attention = false;
  bool mlp = false;   ///< A dense MLP's first product and activation, from its norm's output.
  bool full = false;  ///< A layer's whole forward pass from its input, whatever else is chosen.
};

/// How tokens reach the ranks of their experts.
enum class Dispatcher {
  once_a_place,  ///< A row for each rank, and each node, that a token goes to (DeepEP, HybridEP).
  all_to_all,  ///< A row for each expert of a token, sorted by rank first (Megatron-Core's alltoall
               ///< token dispatcher over NCCL).
};

/// How the experts of a GPU are multiplied, and their inputs cast.
enum class ExpertLaunches {
  together,  ///< By one kernel for all of them.
  each,      ///< By one each: products on four streams, casts one after the other (Transformer
             ///< Engine, nvte_multi_stream_cublas_gemm; cast.cpp, multi_tensor_quantize_impl, which
             ///< joins tensors only under delayed scaling).
};

/// Choices of a training framework that change which kernels run.
struct KernelChoice {
  /// FlashAttention; otherwise batched products and a softmax that keeps its output (Megatron
  /// before FlashAttention: arXiv 2205.05198, figure 3).
  bool flash_attention = true;
  Dispatcher dispatcher = Dispatcher::once_a_place;
  ExpertLaunches experts = ExpertLaunches::together;
  /// Rotary positions by one kernel; otherwise by PyTorch's multiplications, sums and
  /// concatenations (Megatron-Core, rope_utils.py, under YaRN, whose factor Transformer Engine's
  /// kernel does not know).
  bool fused_rotary = true;
  /// Dropout after softmax, attention and MLP, as models of 2022 had: its masks are kept.
  bool dropout = false;
  /// PyTorch's own kernels, neither fused nor compiled, with FSDP's flat parameters: a norm's
  /// weight gradient reads both tensors again (aten/src/ATen/native/cuda/layer_norm_kernel.cu);
  /// gradients of a layer's weights are put together by a copy (SplitBackward is a concatenation);
  /// weight gradients are BF16 tensors of their own, cast to the type they are reduced in and
  /// divided before the reduction, on a stream beside the backward pass
  /// (torch/distributed/fsdp/_runtime_utils.py, _post_backward_hook, and
  /// algorithms/_comm_hooks/default_hooks.py); each gather first casts the rank's FP32 shard
  /// (flat_param.py, _use_low_precision_shard); gradients are scaled and AdamW runs operation by
  /// operation.
  bool eager = false;
  /// Cross-entropies that the trainer computes again from a micro-batch's logits after its backward
  /// pass, each by PyTorch's log_softmax, which autocasting runs in FP32.
  std::int64_t train_metrics = 0;
};

}  // namespace tessera::workload
