#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/parallel_split.hpp"
#include "models/workload/part_builder.hpp"
#include "models/workload/part_work.hpp"
#include "models/workload/precision.hpp"

namespace tessera::workload {

/// Lowers parts of one architecture to the kernels and transfers of one GPU.
///
/// Every low-precision recipe computes forward C = x W, input gradient dy W^T and weight gradient
/// dy^T x in its type, the last one added to `gradients`' type. fp8_block: operands in 1x128 and
/// 128x128 blocks, both of the weight gradient's along the tokens (arXiv 2412.19437, sections 3.3.1
/// and 3.3.2); a forward input is kept in FP8 and transposed for its weight gradient; an output
/// gradient is quantised both ways at once. The others follow Transformer Engine: fp8 casts with
/// one scale a tensor, and transposes where products read along k alone; mxfp8 quantises along both
/// dimensions and swizzles scales; nvfp4 takes the tensor's maximum first.
/// Queries, keys and values are one product, of MLA their down projections (N = 2112, the shape
/// that DeepGEMM's README times); so are gate and up projections.
///
/// Tensor parallelism is Megatron's: with sequence parallelism tokens are gathered before qkv and
/// up projections and sums scattered after output and down projections, backward the mirror image,
/// and inputs gathered again for weight gradients; without it sums are all-reduced.
///
/// Assumed, as nobody published it: expert weights of a token are applied with SwiGLU, so that the
/// combine's gradient needs no expert output; keys are assembled where rotary and up projection
/// write them; residuals are added by a kernel of their own; an MTP projection is a linear layer of
/// the recipe; the loss writes the logits' BF16 gradient in their place, kept until the head's
/// input gradient.
class Lowering {
 public:
  /// Throws core::Refusal: outside_model for recipes, attention and combinations that are not
  /// modelled, illegal_combination for a split that does not divide the model or the sequence.
  explicit Lowering(LoweringJob job);
  /// `sequences` of `sequence_length` tokens form a micro-batch; `expert_rows` are the rows of each
  /// expert on this GPU, those that expert-tensor ranks bring together included.
  Lowering(const Architecture& architecture, const PrecisionRecipe& precision,
           const RecomputeChoice& recompute, std::int64_t sequences, std::int64_t sequence_length,
           std::vector<std::int64_t> expert_rows, const ParallelSplit& split = {},
           const KernelChoice& kernels = {});

  [[nodiscard]] PartWork layer(std::int64_t number) const;
  [[nodiscard]] PartWork embedding() const;
  /// Final norm, logits, loss; its input gradient starts from the logits' gradient.
  [[nodiscard]] PartWork head() const;
  /// One module: norms, embedding and projection, a layer, and the shared head.
  [[nodiscard]] PartWork mtp(std::int64_t number) const;

 private:
  [[nodiscard]] DataType linear_type(std::int64_t layer) const;

  LoweringJob job_;
};

/// Kernels of one rank's optimizer step over its share of parameters.
/// low_precision: elements of FP8 weights (all, after gathering, are transposed once for the input
/// gradients); the share of each kind that this rank updates is given apart.
struct OptimizerShare {
  double low_precision = 0;   ///< Elements updated here whose copy is in the recipe's type.
  double high_precision = 0;  ///< Elements updated here whose copy is BF16.
  double held = 0;            ///< Low-precision elements held after gathering.
};
/// Norm of the reduced gradients, then AdamW, then what makes weights of low-precision products out
/// of gathered ones, once a step: transposes of what was gathered in the recipe's type
/// (`gathered_low`), casts of what was gathered in BF16.
[[nodiscard]] std::vector<Work> gradient_norm_work(const OptimizerShare& share,
                                                   const PrecisionRecipe& precision,
                                                   const KernelChoice& kernels = {});
[[nodiscard]] std::vector<Work> update_work(const OptimizerShare& share,
                                            const PrecisionRecipe& precision,
                                            bool gathered_low = true,
                                            const KernelChoice& kernels = {});
[[nodiscard]] std::vector<Work> after_gather_work(const OptimizerShare& share,
                                                  const PrecisionRecipe& precision,
                                                  bool gathered_low = true);
/// Bytes that a GPU keeps of one weight of a low-precision product in the recipe's type: a copy for
/// each orientation that products read.
[[nodiscard]] double low_precision_weight_bytes(const PrecisionRecipe& precision);
/// With the BF16 one, where it is not gathered in the recipe's type.
[[nodiscard]] double resident_weight_bytes(const PrecisionRecipe& precision,
                                           bool gathered_low = true);

}  // namespace tessera::workload
