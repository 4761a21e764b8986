#include <algorithm>
#include <cmath>

#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Distinct weights that the trtllm collection replays at most, and operand sets that the sglang
/// one does (measurements README).
constexpr double kTrtllmWeightSets = 5;
constexpr double kSglangOperandSets = 6;

/// Operand sets, or weights of one activation, that a replay cycles through.
double operand_sets(const MeasuredRow& row, const Gemm& gemm, const device::DeviceSpec& device) {
  if (row.probed()) return row.operand_sets();
  if (row.text("framework") != "trtllm") return kSglangOperandSets;
  const double weight = bytes_of(gemm.n, gemm.k, core::weight_bits(gemm.type));
  return std::min(kTrtllmWeightSets,
                  std::ceil(static_cast<double>(device.l2.size.value()) / weight));
}

/// What is in L2 when a replay of a GEMM starts: the collections cycle through operand sets, of
/// which L2 keeps what survives the others. The trtllm one has one activation for all weights.
gpu::ExecutionContext gemm_context(const MeasuredRow& row, const Gemm& gemm,
                                   const device::DeviceSpec& device) {
  const double a = bytes_of(gemm.m, gemm.k, core::activation_bits(gemm.type));
  const double b = bytes_of(gemm.n, gemm.k, core::weight_bits(gemm.type));
  const double c = bytes_of(gemm.m, gemm.n, core::activation_bits(gemm.output));
  const double sets = operand_sets(row, gemm, device);
  if (row.text("framework") != "trtllm") return replayed(sets * (a + b + c), device);
  gpu::ExecutionContext context = replayed(a + b + c, device);
  const gpu::ExecutionContext weights = replayed(sets * b + a + c, device);
  context.warm_weights = weights.warm_weights;
  context.weight_reuse_bytes = weights.weight_reuse_bytes;
  return context;
}

/// The activation's quantisation that a call runs before its GEMM: nothing for bf16, nor for a
/// probe, which times the GEMM alone.
void add_quantisation(const MeasuredRow& row, const Gemm& gemm, const device::DeviceSpec& device,
                      const gpu::ExecutionContext& context, const MeasuredAs& as,
                      MeasuredCall& call) {
  const bool widened = core::weight_bits(gemm.type) < core::activation_bits(gemm.type);
  // SmoothQuant's plugin gets an activation that the operator before it quantised
  // (implementations.csv: "gemm with dequantisation").
  const bool given = gemm.type == DataType::int8;
  if (core::activation_bits(gemm.type) >= 16 || widened || given || row.probed()) return;
  if (gemm.type == DataType::fp8 && row.text("framework") == "trtllm") {
    call.kernels.push_back(
        {Stream{.kind = StreamKind::compute_scale, .rows = gemm.m, .columns = gemm.k},
         context,
         {}});
    call.kernels.push_back(scale_of_maxima(device));
  }
  call.kernels.push_back(
      {Stream{.kind = StreamKind::quantize, .rows = gemm.m, .columns = gemm.k, .output = gemm.type},
       context, as.quantisation});
}

}  // namespace

MeasuredCall gemm_call(const MeasuredRow& row, const device::DeviceSpec& device,
                       const MeasuredAs& as) {
  Gemm gemm{.m = row.size("M"), .n = row.size("N"), .k = row.size("K")};
  gemm.type = row.type("dtype");
  // sglang's fp8 rows quantise each token by itself (implementations.csv: "quantise per token +
  // gemm").
  if (gemm.type == DataType::fp8 && row.text("framework") == "sglang")
    gemm.type = DataType::fp8_token;
  MeasuredCall call;
  gpu::ExecutionContext context = gemm_context(row, gemm, device);
  add_quantisation(row, gemm, device, context, as, call);
  if (!call.kernels.empty()) {  // just written
    context.warm_activations = true;
    context.activation_reuse_bytes = 0;
  }
  context.operand_activity = as.operand_activity;
  context.enqueue_us = as.enqueue_us;  // the host is busy with the call while its last kernel runs
  call.kernels.push_back({gemm, context, as.implementation});
  call.type = core::to_string(gemm.type);
  if (const double sets = operand_sets(row, gemm, device); std::isfinite(sets))
    call.calls_before = kCallsBefore * sets;
  if (as.prepares_scales == PreparedScales::weights)
    call.prepared_rows = static_cast<double>(gemm.n);
  if (as.prepares_scales == PreparedScales::activations)
    call.packed_rows = static_cast<double>(gemm.m);
  return call;
}

}  // namespace tessera::calibrate
