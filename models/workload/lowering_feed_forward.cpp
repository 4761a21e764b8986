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

void PartBuilder::gate(const MixtureOfExperts& moe) {
  kernel(part_.before_dispatch, Pass::forward, "gate",
         Gemm{.m = shard_rows(), .n = moe.experts, .k = a_.hidden});
  stream(part_.before_dispatch, Pass::forward, "gate_top_k", StreamKind::gate_top_k, shard_rows(),
         moe.experts, DataType::bf16, DataType::bf16, static_cast<int>(moe.top_k));
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

void PartBuilder::grouped(Steps& list, Pass pass, const std::string& name, int64_t n, int64_t k) {
  swizzle_scales(list, pass, name, routed_ + n * static_cast<int64_t>(job_.expert_rows.size()), k);
  kernel(list, pass, name,
         GroupedGemm{.sizes = job_.expert_rows, .n = n, .fixed = k, .type = linear_});
}

void PartBuilder::grouped_weight_gradient(const std::string& name, int64_t n, int64_t k) {
  const Gradients g = experts();
  swizzle_scales(g.weights, Pass::weight_gradient, name + " weight_gradient", n + k, routed_,
                 g.ready());
  weight_kernel(g, name + " weight_gradient",
                GroupedGemm{.varying = GroupedGemm::Varying::depth,
                            .sizes = job_.expert_rows,
                            .n = k,
                            .fixed = n,
                            .type = linear_,
                            .output = p_.gradients,
                            .accumulate = true,
                            .both_operands_row_scaled = block()});
}

/// Rows of the experts between the ranks that share their matrices.
void PartBuilder::expert_transfer(Steps& list, Pass pass, const std::string& name, Kind kind,
                                  DataType type) {
  transfer(list, pass, name, kind, Group::expert_tensor,
           static_cast<double>(routed_) * static_cast<double>(a_.hidden) * activation_bytes(type));
}

void PartBuilder::routed_forward(const MixtureOfExperts& moe) {
  constexpr Pass kPass = Pass::forward;
  const int64_t intermediate = moe.intermediate / split_.expert_tensor;
  const int64_t columns = (moe.gated ? 2 : 1) * intermediate;
  const std::string activation = moe.gated ? "expert_swiglu" : "expert_gelu";
  Steps& list = part_.experts;
  expert_transfer(list, kPass, "expert_input gather", Kind::all_gather, p_.dispatch);
  stream(list, kPass, "permute", StreamKind::permute, routed_, a_.hidden, p_.dispatch, p_.dispatch);
  if (casts_apart())
    cast_input(list, kPass, "expert_input", routed_, a_.hidden, Producer::activation, false);
  else if (p_.dispatch != linear_)
    stream(list, kPass, "expert_input cast", StreamKind::quantize, routed_, a_.hidden, p_.dispatch,
           linear_);
  grouped(list, kPass, moe.gated ? "expert_gate_up" : "expert_up", columns, a_.hidden);
  activate(list, kPass, activation, routed_, moe.gated, intermediate, DataType::bf16,
           activation_output());
  cast_input(list, kPass, activation, routed_, intermediate, Producer::activation, false);
  grouped(list, kPass, "expert_down", a_.hidden, intermediate);
  stream(list, kPass, "unpermute", StreamKind::unpermute, routed_, a_.hidden, DataType::bf16,
         DataType::bf16);
  expert_transfer(list, kPass, "expert_output sum", Kind::reduce_scatter, DataType::bf16);
  save("expert input", routed_, a_.hidden, linear_);
  save(activation + " input", routed_, columns, activation_output());
  if (!recompute_.swiglu) save(activation, routed_, intermediate, linear_);
}

void PartBuilder::routed_gradient(const MixtureOfExperts& moe) {
  constexpr Pass kPass = Pass::input_gradient;
  const int64_t intermediate = moe.intermediate / split_.expert_tensor;
  const int64_t columns = (moe.gated ? 2 : 1) * intermediate;
  const std::string up = moe.gated ? "expert_gate_up" : "expert_up";
  Steps& list = part_.experts_gradient;
  expert_transfer(list, kPass, "expert_output gradient gather", Kind::all_gather, p_.dispatch);
  stream(list, kPass, "permute gradient", StreamKind::permute, routed_, a_.hidden, p_.dispatch,
         p_.dispatch);
  if (casts_apart())
    cast_gradient(list, "expert_output gradient", routed_, a_.hidden, false);
  else if (p_.dispatch != linear_)
    stream(list, kPass, "expert_output gradient cast", StreamKind::quantize, routed_, a_.hidden,
           p_.dispatch, linear_);
  grouped(list, kPass, "expert_down input_gradient", intermediate, a_.hidden);
  const Gradients down = experts();
  if (recompute_.swiglu)
    weight_stream(down, "expert_swiglu recompute",
                  moe.gated ? StreamKind::swiglu : StreamKind::gelu, routed_, intermediate,
                  activation_output(), activation_output());
  transpose_input(down, "expert_swiglu", routed_, intermediate, Producer::activation, false);
  transpose_input(down, "expert_output gradient", routed_, a_.hidden, Producer::activation, false);
  grouped_weight_gradient("expert_down", a_.hidden, intermediate);
  activate_gradient(list, moe.gated ? "expert_swiglu" : "expert_gelu", routed_, moe.gated,
                    intermediate);
  if (linear_ != DataType::bf16) cast_gradient(list, up + " gradient", routed_, columns, false);
  grouped(list, kPass, up + " input_gradient", a_.hidden, columns);
  const Gradients upper = experts();
  transpose_input(upper, "expert_input", routed_, a_.hidden, Producer::activation, false);
  grouped_weight_gradient(up, columns, a_.hidden);
  if (moe.bias && linear_ == DataType::bf16)
    weight_stream(upper, "expert bias_gradient", StreamKind::column_sum, routed_,
                  a_.hidden + columns, DataType::bf16, DataType::bf16);
  stream(list, kPass, "unpermute gradient", StreamKind::unpermute, routed_, a_.hidden,
         DataType::bf16, DataType::bf16);
  expert_transfer(list, kPass, "expert_input gradient sum", Kind::reduce_scatter, DataType::bf16);
  defer("expert gradient", routed_, a_.hidden, linear_);
  defer(up + " gradient", routed_, columns, linear_);
  defer("expert swiglu", routed_, intermediate, linear_);
  defer("expert input", routed_, a_.hidden, linear_);
}

void PartBuilder::moe_forward(const MixtureOfExperts& moe) {
  part_.exchanges = true;
  // The gate and the dispatch read BF16 beside the copy in FP8; casts of their own come later.
  norm(part_.before_dispatch, Pass::forward, "mlp_norm", shard_rows(), a_.hidden,
       casts_apart() ? DataType::bf16 : norm_output());
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
