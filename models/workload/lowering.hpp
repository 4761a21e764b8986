#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/operators.hpp"
#include "models/workload/precision.hpp"

namespace tessera::workload {

/// One kernel of a layer.
struct Work {
  std::string name;  ///< "q_up", "q_up weight_gradient", ...
  Operator op;
  Pass pass = Pass::forward;
};

/// A tensor that the forward pass leaves for the backward pass.
struct SavedTensor {
  std::string name;
  double bytes = 0;
};

/// Everything that one GPU computes for one part of a stage (a layer, the embedding, the head, an
/// MTP module) and one micro-batch, in order of execution. Between the lists lie the exchanges of a
/// mixture-of-experts layer:
///   forward:         before_dispatch | dispatch | experts | combine | after_combine
///   input gradient:  start | gradient of combine | experts | gradient of dispatch | finish
/// A part that does not exchange uses the same lists without the exchanges. Weight gradients may
/// run any time after the list they follow.
struct PartWork {
  std::string name;  ///< "layer 7", "embedding", ...
  bool exchanges = false;
  std::vector<Work> before_dispatch, experts, after_combine;
  std::vector<Work> start_gradient, experts_gradient, finish_gradient;
  std::vector<Work> experts_weight_gradient, finish_weight_gradient;
  std::vector<SavedTensor> saved;     ///< From forward to the end of the input gradient.
  std::vector<SavedTensor> deferred;  ///< From the input gradient to the weight gradient.

  [[nodiscard]] double saved_bytes() const;
  [[nodiscard]] double deferred_bytes() const;
};

/// Lowers parts of one architecture to the operators of one GPU.
///
/// FP8 recipe: forward C = x W, input gradient dy W^T, weight gradient dy^T x, each with operands
/// in 1x128 and 128x128 blocks; the weight gradient takes both operands quantised along the tokens
/// and adds to FP32 (arXiv 2412.19437, sections 3.3.1 and 3.3.2). A forward input is kept in FP8
/// and transposed for its weight gradient; an output gradient is quantised both ways at once.
/// Queries' and keys' down projections are one product (N = 2112, the shape that DeepGEMM's README
/// times); so are gate and up projections.
///
/// Assumed, as nobody published it: expert weights of a token are applied with SwiGLU, so that the
/// combine's gradient needs no expert output; keys are assembled where rotary and up projection
/// write them; residuals are added by a kernel of their own; an MTP projection is a linear layer of
/// the recipe; the loss writes the logits' BF16 gradient in their place, kept until the head's
/// input gradient.
class Lowering {
 public:
  /// `sequences` of `sequence_length` tokens form a micro-batch; `expert_rows` are the rows of each
  /// expert on this GPU. Throws core::Refusal (outside_model) for a recipe that is neither bf16 nor
  /// fp8_block and for FP8 dispatch into BF16 experts.
  Lowering(const Architecture& architecture, const PrecisionRecipe& precision,
           const RecomputeChoice& recompute, std::int64_t sequences, std::int64_t sequence_length,
           std::vector<std::int64_t> expert_rows);

  [[nodiscard]] PartWork layer(std::int64_t number) const;
  [[nodiscard]] PartWork embedding() const;
  /// Final norm, logits, loss; its input gradient starts from the logits' gradient.
  [[nodiscard]] PartWork head() const;
  /// One module: norms, embedding and projection, a layer with experts, and the shared head.
  [[nodiscard]] PartWork mtp(std::int64_t number) const;

  [[nodiscard]] std::int64_t tokens() const { return tokens_; }

 private:
  friend class PartBuilder;
  Architecture architecture_;
  PrecisionRecipe precision_;
  RecomputeChoice recompute_;
  std::int64_t sequences_;
  std::int64_t sequence_length_;
  std::int64_t tokens_;
  std::vector<std::int64_t> expert_rows_;
};

/// Kernels of one rank's optimizer step over its share of parameters.
/// low_precision: elements of FP8 weights (all, after gathering, are transposed once for the input
/// gradients); the share of each kind that this rank updates is given apart.
struct OptimizerShare {
  double low_precision = 0;   ///< Elements updated here whose copy is in the recipe's type.
  double high_precision = 0;  ///< Elements updated here whose copy is BF16.
  double held = 0;            ///< Low-precision elements held after gathering.
};
/// Norm of the reduced gradients, then AdamW; the last entry transposes gathered FP8 weights.
[[nodiscard]] std::vector<Work> gradient_norm_work(const OptimizerShare& share,
                                                   const PrecisionRecipe& precision);
[[nodiscard]] std::vector<Work> update_work(const OptimizerShare& share,
                                            const PrecisionRecipe& precision);
[[nodiscard]] std::vector<Work> after_gather_work(const OptimizerShare& share,
                                                  const PrecisionRecipe& precision);

/// Bytes of one element with its scales.
[[nodiscard]] double activation_bytes(DataType type);
[[nodiscard]] double weight_bytes(DataType type);

}  // namespace tessera::workload
