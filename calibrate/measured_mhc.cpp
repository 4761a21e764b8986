#include <algorithm>

#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

namespace {

/// One hyper-connection of a token: `streams` residual streams of `hidden` elements.
struct Connection {
  std::int64_t tokens = 1, streams = 4, hidden = 4096;
  [[nodiscard]] std::int64_t width() const { return streams * hidden; }
  /// Of each stream one weight into the layer, one out of it, one to every other stream.
  [[nodiscard]] std::int64_t weights() const { return streams * (2 + streams); }
};

/// Scores of the streams by a product with a narrow weight, then their weighted sum.
void add_before(const Connection& c, const gpu::ExecutionContext& context, MeasuredCall& call) {
  call.kernels.push_back(
      {Gemm{.m = c.tokens, .n = c.weights(), .k = c.width(), .output = DataType::fp32},
       context,
       {}});
  call.kernels.push_back({Stream{.kind = StreamKind::unpermute,
                                 .rows = c.tokens,
                                 .columns = c.hidden,
                                 .fan = static_cast<int>(c.streams)},
                          context,
                          {}});
}

/// The same in PyTorch operations on all streams in FP32: their cast, squares, the sum of squares,
/// the product, the weighted streams and their sum, each through memory.
void add_before_in_operations(const Connection& c, const gpu::ExecutionContext& context,
                              MeasuredCall& call) {
  const auto stream = [&](StreamKind kind, DataType input) {
    call.kernels.push_back({Stream{.kind = kind,
                                   .rows = c.tokens,
                                   .columns = c.width(),
                                   .input = input,
                                   .output = DataType::fp32},
                            context,
                            {}});
  };
  stream(StreamKind::quantize, DataType::bf16);
  stream(StreamKind::copy, DataType::fp32);
  stream(StreamKind::gradient_clip, DataType::fp32);
  // As many bytes as FP32 operands have.
  call.kernels.push_back(
      {Gemm{.m = c.tokens, .n = c.weights(), .k = 2 * c.width(), .output = DataType::fp32},
       context,
       {}});
  stream(StreamKind::copy, DataType::fp32);
  stream(StreamKind::gradient_clip, DataType::fp32);
}

}  // namespace

/// After a layer: every stream anew from all of them and the layer's output, a CTA a token, as many
/// bytes as a copy of half of them. `num_sites` connections follow each other.
MeasuredCall mhc_call(const MeasuredRow& row, const device::DeviceSpec& device,
                      const MeasuredAs& as) {
  const Connection connection{
      .tokens = row.size("tokens"), .streams = row.size("hc_mult"), .hidden = row.size("hidden")};
  const std::int64_t sites = std::max<std::int64_t>(1, row.size("num_sites"));
  const bool before = row.text("part") == "pre";
  if (!before && row.text("part") != "post") refuse_row("an unknown part of a hyper-connection");
  const std::int64_t moved = 2 * connection.width() + connection.hidden;
  const gpu::ExecutionContext context = replayed(bytes_of(connection.tokens, moved, 16), device);
  MeasuredCall call;
  call.type = row.text("part");
  for (std::int64_t site = 0; site < sites; ++site) {
    if (!before) {
      call.kernels.push_back(
          {Stream{.kind = StreamKind::copy, .rows = connection.tokens, .columns = moved / 2},
           context, as.implementation});
    } else if (row.text("kernel").find("_torch_") != std::string_view::npos) {
      add_before_in_operations(connection, context, call);
    } else {
      add_before(connection, context, call);
    }
  }
  // Libraries differ in how many small kernels they set between the product and the sum.
  if (before && row.text("kernel").ends_with("_splitk")) call.type += ".split";
  return call;
}

}  // namespace tessera::calibrate
