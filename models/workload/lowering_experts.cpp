#include <algorithm>

#include "models/workload/part_builder.hpp"

/// The experts of one GPU and their gradients, between the exchanges that bring and take rows.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

std::vector<int64_t> PartBuilder::cast_rows() const {
  if (job_.kernels.experts == ExpertLaunches::together) return {routed_};
  std::vector<int64_t> rows = job_.expert_rows;
  std::erase(rows, 0);
  return rows;
}

int64_t PartBuilder::products() const {
  if (job_.kernels.experts == ExpertLaunches::together) return 1;
  return static_cast<int64_t>(cast_rows().size());
}

void PartBuilder::cast_experts(Steps& list, const std::string& name, int64_t columns) {
  for (const int64_t rows : cast_rows())
    cast_input(list, Pass::forward, name, rows, columns, Producer::activation, false);
}

void PartBuilder::cast_expert_gradients(Steps& list, const std::string& name, int64_t columns) {
  for (const int64_t rows : cast_rows()) cast_gradient(list, name, rows, columns, false);
}

/// Casts and products of one expert want its rows in multiples of the scales' blocks: all rows are
/// copied to places that leave room, and back (Megatron-Core, moe/experts.py, TEGroupedMLP:
/// quantization_padding, where the dispatcher has not left that room).
void PartBuilder::pad_experts(Steps& list, Pass pass, const std::string& name) {
  const bool padded = job_.kernels.experts == ExpertLaunches::each && casts_apart() &&
                      job_.kernels.dispatcher == Dispatcher::all_to_all;
  if (padded)
    stream(list, pass, name, StreamKind::copy, routed_, a_.hidden, DataType::bf16, DataType::bf16);
}

/// A library that multiplies expert by expert leaves the last product's bias to PyTorch: times the
/// row's probability, which is FP32, added, put together and cast (Megatron-Core, moe/experts.py,
/// TEGroupedMLP._apply_bias).
void PartBuilder::add_expert_bias(const MixtureOfExperts& moe) {
  if (!moe.bias || job_.kernels.experts == ExpertLaunches::together) return;
  const auto write = [&](const char* name, StreamKind kind, DataType input, DataType output) {
    stream(part_.experts, Pass::forward, name, kind, routed_, a_.hidden, input, output);
  };
  // The product is written and read once; what it is added to is narrower.
  write("expert bias", StreamKind::add, DataType::fp32, DataType::fp32);
  launch(part_.experts, 2 * products());
  write("expert bias concatenation", StreamKind::copy, DataType::fp32, DataType::fp32);
  write("expert bias cast", StreamKind::copy, DataType::fp32, DataType::bf16);
}

/// Of `columns` of the first product; of the last one the same, or of what PyTorch did for it: the
/// gradient widened and narrowed again, and for bias and probability each a product and its sums.
void PartBuilder::expert_bias_gradient(Gradients g, const MixtureOfExperts& moe, int64_t columns) {
  if (!moe.bias) return;
  const bool apart = job_.kernels.experts == ExpertLaunches::each;
  if (linear_ == DataType::bf16)
    weight_stream(g, "expert bias_gradient", StreamKind::column_sum, routed_,
                  columns + (apart ? 0 : a_.hidden), DataType::bf16, DataType::bf16);
  if (!apart) return;
  const auto write = [&](const std::string& name, StreamKind kind, DataType input,
                         DataType output) {
    stream(part_.experts_gradient, Pass::input_gradient, "expert bias gradient " + name, kind,
           routed_, a_.hidden, input, output);
    launch(part_.experts_gradient, products());
  };
  write("cast", StreamKind::copy, DataType::bf16, DataType::fp32);
  for (const char* of : {"of bias", "of probability"}) {
    write(std::string{of} + " product", StreamKind::copy, DataType::fp32, DataType::fp32);
    write(std::string{of} + " sum", StreamKind::column_sum, DataType::fp32, DataType::fp32);
  }
  write("narrowing", StreamKind::copy, DataType::fp32, DataType::bf16);
}

/// Gate and up each between their bounds, then put together (Megatron-Core, fused_bias_geglu.py,
/// weighted_bias_quick_geglu_impl: only what follows is one kernel).
void PartBuilder::clamp_experts(Steps& list, Pass pass, const std::string& suffix,
                                int64_t intermediate) {
  const auto write = [&](const char* name, int64_t columns) {
    stream(list, pass, std::string{"expert clamp"} + name + suffix, StreamKind::copy, routed_,
           columns, DataType::bf16, DataType::bf16);
  };
  write(" gate", intermediate);
  write(" up", intermediate);
  write(" concatenation", 2 * intermediate);
}

/// Zero outside of the bounds, by masks of a byte an element: the gate has one bound, the other
/// half two (PyTorch, FunctionsManual.cpp, clamp_backward); then both put together.
void PartBuilder::clamp_gradient(int64_t intermediate) {
  const auto write = [&](const char* name, StreamKind kind, DataType input, DataType output,
                         int64_t columns) {
    stream(part_.experts_gradient, Pass::input_gradient,
           std::string{"expert clamp gradient "} + name, kind, routed_, columns, input, output);
  };
  for (const char* mask : {"gate mask", "up lower mask", "up upper mask"})
    write(mask, StreamKind::copy, DataType::bf16, DataType::int8, intermediate);
  write("up mask", StreamKind::add, DataType::int8, DataType::int8, intermediate);
  // A mask is narrower than the summand that stands for it.
  for (const char* half : {"gate", "up"})
    write(half, StreamKind::add, DataType::bf16, DataType::bf16, intermediate);
  write("concatenation", StreamKind::copy, DataType::bf16, DataType::bf16, 2 * intermediate);
}

void PartBuilder::grouped(Steps& list, Pass pass, const std::string& name, int64_t n, int64_t k) {
  swizzle_scales(list, pass, name, routed_ + n * static_cast<int64_t>(job_.expert_rows.size()), k);
  kernel(list, pass, name,
         GroupedGemm{.sizes = job_.expert_rows, .n = n, .fixed = k, .type = linear_});
  enter_module(list);
  launch(list, products());
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
  launch(g.weights, products());
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
  pad_experts(list, kPass, "expert_input padding");
  if (casts_apart())
    cast_experts(list, "expert_input", a_.hidden);
  else if (p_.dispatch != linear_)
    stream(list, kPass, "expert_input cast", StreamKind::quantize, routed_, a_.hidden, p_.dispatch,
           linear_);
  grouped(list, kPass, moe.gated ? "expert_gate_up" : "expert_up", columns, a_.hidden);
  if (clamps_apart(moe)) clamp_experts(list, kPass, "", intermediate);
  activate(list, kPass, activation, routed_, moe.gated, intermediate, DataType::bf16,
           activation_output());
  cast_experts(list, activation, intermediate);
  grouped(list, kPass, "expert_down", a_.hidden, intermediate);
  add_expert_bias(moe);
  pad_experts(list, kPass, "expert_output padding");
  stream(list, kPass, "unpermute", StreamKind::unpermute, routed_, a_.hidden, DataType::bf16,
         DataType::bf16);
  expert_transfer(list, kPass, "expert_output sum", Kind::reduce_scatter, DataType::bf16);
  save("expert input", routed_, a_.hidden, linear_);
  save(activation + " input", routed_, columns, activation_output());
  if (clamps_apart(moe) && !recompute_.swiglu)
    save("expert clamp input", routed_, columns, DataType::bf16);
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
  pad_experts(list, kPass, "expert_output gradient padding");
  if (casts_apart())
    cast_expert_gradients(list, "expert_output gradient", a_.hidden);
  else if (p_.dispatch != linear_)
    stream(list, kPass, "expert_output gradient cast", StreamKind::quantize, routed_, a_.hidden,
           p_.dispatch, linear_);
  grouped(list, kPass, "expert_down input_gradient", intermediate, a_.hidden);
  const Gradients down = experts();
  if (recompute_.swiglu && clamps_apart(moe))
    clamp_experts(list, kPass, " recompute", intermediate);
  if (recompute_.swiglu)
    weight_stream(down, "expert_swiglu recompute",
                  moe.gated ? StreamKind::swiglu : StreamKind::gelu, routed_, intermediate,
                  activation_output(), activation_output());
  transpose_input(down, "expert_swiglu", routed_, intermediate, Producer::activation, false);
  transpose_input(down, "expert_output gradient", routed_, a_.hidden, Producer::activation, false);
  grouped_weight_gradient("expert_down", a_.hidden, intermediate);
  activate_gradient(list, moe.gated ? "expert_swiglu" : "expert_gelu", routed_, moe.gated,
                    intermediate);
  if (clamps_apart(moe)) clamp_gradient(intermediate);
  if (linear_ != DataType::bf16) cast_expert_gradients(list, up + " gradient", columns);
  grouped(list, kPass, up + " input_gradient", a_.hidden, columns);
  pad_experts(list, kPass, "expert_input gradient padding");
  const Gradients upper = experts();
  transpose_input(upper, "expert_input", routed_, a_.hidden, Producer::activation, false);
  grouped_weight_gradient(up, columns, a_.hidden);
  expert_bias_gradient(upper, moe, columns);
  stream(list, kPass, "unpermute gradient", StreamKind::unpermute, routed_, a_.hidden,
         DataType::bf16, DataType::bf16);
  expert_transfer(list, kPass, "expert_input gradient sum", Kind::reduce_scatter, DataType::bf16);
  defer("expert gradient", routed_, a_.hidden, linear_);
  defer(up + " gradient", routed_, columns, linear_);
  defer("expert swiglu", routed_, intermediate, linear_);
  defer("expert input", routed_, a_.hidden, linear_);
}

}  // namespace tessera::workload
