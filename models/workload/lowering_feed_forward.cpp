#include "models/workload/part_builder.hpp"

/// MLPs and mixtures of experts of one layer, and their gradients.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

PartBuilder::Mlp PartBuilder::mlp_of(const DenseFeedForward& dense) const {
  return {.name = "mlp",
          .input = "mlp_norm",
          .intermediate = dense.intermediate / split_.tensor,
          .gated = dense.gated,
          .bias = dense.bias};
}

PartBuilder::Mlp PartBuilder::shared_of(const MixtureOfExperts& moe) const {
  return {.name = "shared",
          .input = "mlp_norm",
          .intermediate = moe.shared_experts * moe.intermediate / split_.tensor,
          .gated = moe.gated,
          .bias = moe.bias};
}

Linear PartBuilder::up(const Mlp& mlp) const {
  return {.name = mlp.name + (mlp.gated ? "_gate_up" : "_up"),
          .input = mlp.input,
          .n = mlp.up_columns(),
          .k = a_.hidden,
          .cut = Linear::Cut::columns,
          .bias = mlp.bias,
          .type = linear_};
}

Linear PartBuilder::down(const Mlp& mlp) const {
  return {.name = mlp.name + "_down",
          .input = mlp.name + (mlp.gated ? "_swiglu" : "_gelu"),
          .n = a_.hidden,
          .k = mlp.intermediate,
          .cut = Linear::Cut::rows,
          .bias = mlp.bias,
          .type = linear_};
}

void PartBuilder::activate(Steps& list, Pass pass, const std::string& name, int64_t rows,
                           bool gated, int64_t intermediate, DataType input, DataType output) {
  stream(list, pass, name, gated ? StreamKind::swiglu : StreamKind::gelu, rows, intermediate, input,
         output);
}

void PartBuilder::activate_gradient(Steps& list, const std::string& name, int64_t rows, bool gated,
                                    int64_t intermediate) {
  stream(list, Pass::input_gradient, name + " gradient",
         gated ? StreamKind::swiglu_backward : StreamKind::gelu_backward, rows, intermediate,
         DataType::bf16, DataType::bf16);
}

/// From the norm's output to the residual stream; of a recomputed one all but the last product.
void PartBuilder::mlp_forward(Steps& list, Pass pass, const Mlp& mlp, Producer producer) {
  const bool again = pass == Pass::input_gradient;
  const std::string suffix = again ? " recompute" : "";
  const Linear in = up(mlp), out = down(mlp);
  if (!again) cast_input(list, pass, in, producer);
  multiply(list, pass, in, suffix);
  activate(list, pass, out.input + suffix, tokens_, mlp.gated, mlp.intermediate, DataType::bf16,
           activation_output());
  cast_input(list, pass, out, Producer::activation);
  if (!again) multiply(list, pass, out);
}

void PartBuilder::mlp_saved(const Mlp& mlp) {
  if (recompute_.mlp) return;
  save(down(mlp).input + " input", tokens_, mlp.up_columns(), activation_output());
  if (!recompute_.swiglu) save_input(down(mlp));
}

/// Begins with the gradient of the last product's output, cast and gathered.
void PartBuilder::mlp_gradient(Gradients g, const Mlp& mlp, Producer producer) {
  const Linear in = up(mlp), out = down(mlp);
  if (recompute_.mlp && !recompute_.full) {
    mlp_forward(g.inputs, Pass::input_gradient, mlp, producer);
  } else if (recompute_.swiglu) {
    weight_stream(g, out.input + " recompute", mlp.gated ? StreamKind::swiglu : StreamKind::gelu,
                  tokens_, mlp.intermediate, activation_output(), activation_output());
    if (casts_apart())
      weight_stream(g, out.input + " recompute cast", StreamKind::quantize, tokens_,
                    mlp.intermediate, DataType::bf16, linear_);
  }
  multiply_gradients(g, out, Producer::activation);
  activate_gradient(g.inputs, out.input, tokens_, mlp.gated, mlp.intermediate);
  enter_gradient(g.inputs, in, in.name + " gradient");
  multiply_gradients(g, in, producer);
}

void PartBuilder::feed_forward(const FeedForwardKind& feed_forward) {
  if (const auto* dense = std::get_if<DenseFeedForward>(&feed_forward))
    dense_forward(*dense);
  else
    moe_forward(std::get<MixtureOfExperts>(feed_forward));
}

void PartBuilder::feed_forward_gradient(const FeedForwardKind& feed_forward) {
  if (const auto* dense = std::get_if<DenseFeedForward>(&feed_forward))
    dense_gradient(*dense);
  else
    moe_gradient(std::get<MixtureOfExperts>(feed_forward));
}

void PartBuilder::dense_forward(const DenseFeedForward& dense) {
  const Mlp mlp = mlp_of(dense);
  norm(part_.experts, Pass::forward, "mlp_norm", shard_rows(), a_.hidden, norm_output());
  mlp_forward(part_.experts, Pass::forward, mlp, Producer::norm);
  add(part_.after_combine, Pass::forward, "mlp_residual");
  if (!recompute_.rms_norm) save_input(up(mlp));
  mlp_saved(mlp);
  if (job_.kernels.dropout) save("mlp dropout mask", shard_rows(), a_.hidden, 1.0, kMask);
}

void PartBuilder::dense_gradient(const DenseFeedForward& dense) {
  const Mlp mlp = mlp_of(dense);
  enter_gradient(part_.start_gradient, down(mlp), "mlp gradient");
  const Gradients g = experts();
  if (recompute_.rms_norm)
    weight_norm(g, "mlp_norm recompute", shard_rows(), a_.hidden, norm_output());
  mlp_gradient(g, mlp, Producer::norm);
  norm_gradient(g.inputs, "mlp_norm", shard_rows(), a_.hidden);
  add(g.inputs, Pass::input_gradient, "mlp_residual gradient");
}

namespace {

// What the host launches beside the kernels that are timed; they are so short that only it notices.
// Megatron-Core 0.15, moe/router.py with fused top-k and balanced by force: random logits (2),
// scores, counts, loss, its scaling and logging (5); their gradients.
constexpr int kRouterOperations = 7;
constexpr int kRouterGradientOperations = 5;
// moe/token_dispatcher.py, MoEAlltoAllTokenDispatcher: counts of rows by rank and expert (7),
// copies of them to the host (4), maps of rows for two permutations (4), an exchange of
// probabilities (1).
constexpr int kAllToAllOperations = 16;
// MoEFlexTokenDispatcher: ids and probabilities of the chosen experts (4), counts to the host (1).
constexpr int kFlexOperations = 5;

}  // namespace

void PartBuilder::gate(const MixtureOfExperts& moe) {
  Steps& list = part_.before_dispatch;
  kernel(list, Pass::forward, "gate", Gemm{.m = shard_rows(), .n = moe.experts, .k = a_.hidden});
  stream(list, Pass::forward, "gate_top_k", StreamKind::gate_top_k, shard_rows(), moe.experts,
         DataType::bf16, DataType::bf16, static_cast<int>(moe.top_k));
  const bool sorted = job_.kernels.dispatcher == Dispatcher::all_to_all;
  launch(list, 1 + kRouterOperations + (sorted ? kAllToAllOperations : kFlexOperations));
  save("gate scores", shard_rows(), moe.experts, DataType::bf16);
  save("gate choice", shard_rows(), 2 * moe.top_k, DataType::fp32);  // ids and weights
}

/// One row for each expert of a token, sorted by the experts' ranks, before an all-to-all; or the
/// other way round after it.
void PartBuilder::sort_tokens(Steps& list, Pass pass, const std::string& name,
                              const MixtureOfExperts& moe, bool before) {
  if (job_.kernels.dispatcher != Dispatcher::all_to_all || split_.expert == 1) return;
  stream(list, pass, name, before ? StreamKind::permute : StreamKind::unpermute, shard_rows(),
         a_.hidden, DataType::bf16, DataType::bf16, static_cast<int>(moe.top_k));
}

void PartBuilder::moe_forward(const MixtureOfExperts& moe) {
  part_.exchanges = true;
  // The gate and the dispatch read BF16 beside the copy in FP8; casts of their own come later.
  norm(part_.before_dispatch, Pass::forward, "mlp_norm", shard_rows(), a_.hidden,
       casts_apart() ? DataType::bf16 : norm_output());
  enter_module(part_.before_dispatch);
  gate(moe);
  sort_tokens(part_.before_dispatch, Pass::forward, "token permute", moe, true);
  sort_tokens(part_.after_combine, Pass::forward, "token unpermute", moe, false);
  if (!recompute_.rms_norm)
    save("mlp_norm", shard_rows(), a_.hidden, block() ? linear_ : DataType::bf16);
  if (moe.shared_experts > 0) {
    const Mlp shared = shared_of(moe);
    mlp_forward(part_.experts, Pass::forward, shared,
                block() ? Producer::norm : Producer::activation);
    if (casts_apart()) save_input(up(shared));
    mlp_saved(shared);
  }
  routed_forward(moe);
  add(part_.after_combine, Pass::forward, "mlp_residual");
}

void PartBuilder::moe_gradient(const MixtureOfExperts& moe) {
  if (block())  // read by the shared expert and sent to the others
    cast_gradient(part_.start_gradient, "mlp gradient", shard_rows(), a_.hidden, gathers());
  sort_tokens(part_.start_gradient, Pass::input_gradient, "token unpermute gradient", moe, true);
  const Gradients g = experts();
  if (recompute_.rms_norm)
    weight_norm(g, "mlp_norm recompute", shard_rows(), a_.hidden,
                casts_apart() ? DataType::bf16 : norm_output());
  if (moe.shared_experts > 0) {
    const Mlp shared = shared_of(moe);
    if (!block())
      enter_gradient(g.inputs, down(shared), "shared gradient");
    else if (gathers())
      transfer(g.inputs, Pass::input_gradient, "shared gradient gather", Kind::all_gather,
               Group::tensor, static_cast<double>(tokens_ * a_.hidden) * activation_bytes(linear_));
    mlp_gradient(g, shared, block() ? Producer::norm : Producer::activation);
  }
  routed_gradient(moe);
  // What the exchange brings back meets the shared expert's, the gate's and the residual's.
  Steps& list = part_.finish_gradient;
  sort_tokens(list, Pass::input_gradient, "token permute gradient", moe, false);
  kernel(list, Pass::input_gradient, "gate input_gradient",
         Gemm{.m = shard_rows(), .n = a_.hidden, .k = moe.experts});
  launch(list, 1 + kRouterGradientOperations);
  weight_kernel(finish(), "gate weight_gradient",
                Gemm{.m = moe.experts,
                     .n = a_.hidden,
                     .k = shard_rows(),
                     .output = p_.gradients,
                     .accumulate = true});
  add(list, Pass::input_gradient, "mlp_input gradient");
  norm_gradient(list, "mlp_norm", shard_rows(), a_.hidden);
  add(list, Pass::input_gradient, "mlp_residual gradient");
}

}  // namespace tessera::workload
