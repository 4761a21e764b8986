#include "models/kernels/stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "models/kernels/row_kernel.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::kernels {

using workload::Stream;
using workload::StreamKind;

namespace {

/// Bytes of an element as an activation, with its share of scales.
double activation(core::DataType type) {
  return core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type);
}
double weight(core::DataType type) {
  return core::weight_bits(type) / 8.0 + core::weight_scale_bytes(type);
}
bool scaled(core::DataType type) { return core::activation_scale_bytes(type) > 0; }

/// Lane operations to bring a value of a smaller type to FP32: a shift or a permute.
double unpack(core::DataType type) { return type == core::DataType::fp32 ? 0 : 1; }
/// Conversions of an FP32 result to `type`.
double pack(core::DataType type) { return type == core::DataType::fp32 ? 0 : 1; }
/// Lane operations before a block-scaled value is packed: |x|, maximum, times 1/scale.
double scaling(core::DataType type) { return scaled(type) ? 3 : 0; }

/// Lane operations an element to find the largest of a row of `columns`, and to forget it: lanes
/// keep four values each in order, move them up (2 a value) and exchange the first with its index,
/// 64 bits, in five steps (17 a lane: TensorRT-LLM, moeTopKFuncs.cuh, reduceTopKFunc; other
/// libraries' warps exchange as often).
double pick(double columns) {
  constexpr double kLanes = 32, kKept = 4;
  return 2 + 17 * kLanes / std::min(columns, kKept * kLanes);
}

/// Elements of a CTA that takes as many groups with a scale of their own as divide their number, a
/// power of two and at most `most`.
double elements_a_cta(const Stream& stream, double most) {
  constexpr std::int64_t kGroup = 128;
  const std::int64_t groups = stream.rows * divide_up(stream.columns, kGroup);
  std::int64_t taken = 1;
  while (2 * static_cast<double>(taken) <= most && groups % (2 * taken) == 0) taken *= 2;
  return static_cast<double>(taken * kGroup);
}

constexpr double kIndexBytes = 4;  ///< An expert's id or a row's place, int32.
constexpr double kReduction = 2;   ///< Exchanges of a block reduction: in the warp, among warps.

}  // namespace

StreamFacts stream_facts(const Stream& s) {
  const double in = activation(s.input);
  const double out = activation(s.output);
  const double fan = s.fan;
  const auto columns = static_cast<double>(s.columns);
  StreamFacts f;
  switch (s.kind) {
    case StreamKind::rms_norm:
      // x*x summed, then x * rms * w; a block-scaled copy beside y.
      f = {.read_bytes = in,
           .write_bytes = scaled(s.output) ? in + out : out,
           .fp32 = 3 + unpack(s.input) + scaling(s.output),
           .conversions = scaled(s.output) ? pack(s.input) + 1 : pack(s.output),
           .row_steps = kReduction,
           .whole_rows = true};
      break;
    case StreamKind::add_rms_norm:
      // The same of a sum, which is written back.
      f = {.read_bytes = 2 * in,
           .write_bytes = in + (scaled(s.output) ? in + out : out),
           .fp32 = 4 + 2 * unpack(s.input) + scaling(s.output),
           .conversions = pack(s.input) + (scaled(s.output) ? pack(s.input) + 1 : pack(s.output)),
           .row_steps = kReduction,
           .whole_rows = true};
      break;
    case StreamKind::rms_norm_backward:
      // dy*w*x summed, dx from x, dy and the sum; dw summed over rows in registers.
      f = {.read_bytes = 2 * in,
           .write_bytes = out,
           .fp32 = 8 + 2 * unpack(s.input) + scaling(s.output),
           .conversions = pack(s.output),
           .row_steps = 2 * kReduction,
           .whole_rows = true};
      break;
    case StreamKind::rotary:
      // Two multiply-adds an element; sines and cosines are shared by the heads of a token.
      f = {.read_bytes = in,
           .write_bytes = out,
           .fp32 = 2 + unpack(s.input),
           .conversions = pack(s.output)};
      break;
    case StreamKind::swiglu:
      // a / (1 + 2^(-a log2 e)) * b.
      f = {.read_bytes = 2 * in,
           .write_bytes = out,
           .fp32 = 4 + 2 * unpack(s.input) + scaling(s.output),
           .sfu = 2,
           .conversions = pack(s.output)};
      break;
    case StreamKind::swiglu_backward:
      // The sigmoid again, then da and db.
      f = {.read_bytes = 3 * in,
           .write_bytes = 2 * out,
           .fp32 = 10 + 3 * unpack(s.input) + 2 * scaling(s.output),
           .sfu = 2,
           .conversions = 2 * pack(s.output)};
      break;
    case StreamKind::gate_top_k:
      // Sigmoid or exponential, then `fan` times a maximum and its index over the row.
      f = {.read_bytes = in,
           .write_bytes = fan * (kIndexBytes + kIndexBytes) / columns,
           .fp32 = 3 + unpack(s.input) + fan * pick(columns),
           .sfu = 2,
           .row_steps = fan,
           .whole_rows = true,
           .row_a_warp = true};
      break;
    case StreamKind::permute:
      f = {.read_bytes = in + kIndexBytes * fan / columns, .write_bytes = fan * out, .fp32 = 0};
      break;
    case StreamKind::unpermute:
      f = {.read_bytes = fan * in + kIndexBytes * fan / columns,
           .write_bytes = out,
           .fp32 = fan * (1 + unpack(s.input)),
           .conversions = pack(s.output)};
      break;
    case StreamKind::quantize:
      f = {.read_bytes = in,
           .write_bytes = out,
           .fp32 = 1 + unpack(s.input) + scaling(s.output),
           .conversions = pack(s.output)};
      break;
    case StreamKind::quantize_transpose:
      // Two casts of each element, scaled along either dimension; the transposed one through shared
      // memory, in and out.
      f = {.read_bytes = in,
           .write_bytes = 2 * out,
           .fp32 = 2 + unpack(s.input) + 2 * scaling(s.output),
           .conversions = 2 * pack(s.output),
           .shared_bytes = 2 * in};
      break;
    case StreamKind::transpose:
      // A scaled type is scaled anew along the other dimension.
      f = {.read_bytes = in,
           .write_bytes = in,
           .fp32 = scaled(s.input) ? unpack(s.input) + 1 + scaling(s.input) : 0,
           .conversions = scaled(s.input) ? 1.0 : 0.0,
           .shared_bytes = 2 * in};
      break;
    case StreamKind::add:
      f = {.read_bytes = 2 * in,
           .write_bytes = out,
           .fp32 = 1 + 2 * unpack(s.input),
           .conversions = pack(s.output)};
      break;
    case StreamKind::copy:
      f = {.read_bytes = in, .write_bytes = out};
      break;
    case StreamKind::embedding:
      f = {.read_bytes = in + kIndexBytes / columns, .write_bytes = out};
      break;
    case StreamKind::embedding_backward:
      f = {.read_bytes = in + out + kIndexBytes / columns,
           .write_bytes = out,
           .fp32 = 1 + unpack(s.input),
           .conversions = pack(s.output)};
      break;
    case StreamKind::softmax_cross_entropy:
      // Maximum and sum of exponentials on the way through, then the gradient in a second pass.
      f = {.read_bytes = in,
           .write_bytes = out,
           .passes = 2,
           .fp32 = 6 + 2 * unpack(s.input),
           .sfu = 2,
           .conversions = pack(s.output),
           .row_steps = 2 * kReduction,
           .whole_rows = true};
      break;
    case StreamKind::adamw:
      // Master weight, gradient and two moments in; master, moments and the low-precision weight
      // out. Two moment updates, two bias corrections, decay, quotient, update.
      f = {.read_bytes = 4 + in + 2 * activation(s.state),
           .write_bytes = 4 + 2 * activation(s.state) + weight(s.output),
           .fp32 = 14 + unpack(s.input) + 2 * unpack(s.state) + scaling(s.output),
           .sfu = 2,
           .conversions = 2 * pack(s.state) + pack(s.output)};
      break;
    case StreamKind::gradient_clip:
      f = {.read_bytes = in, .fp32 = 1 + unpack(s.input)};
      break;
    case StreamKind::compute_scale:
      f = {.read_bytes = in, .fp32 = 1 + unpack(s.input), .whole_tensor = true};
      break;
    case StreamKind::gelu:
      // x/2 (1 + tanh(c x (1 + d x^2))): a polynomial, an exponential and a quotient.
      f = {.read_bytes = in,
           .write_bytes = out,
           .fp32 = 7 + unpack(s.input) + scaling(s.output),
           .sfu = 2,
           .conversions = pack(s.output)};
      break;
    case StreamKind::gelu_backward:
      // The same tanh, then its derivative's polynomial times dy.
      f = {.read_bytes = 2 * in,
           .write_bytes = out,
           .fp32 = 14 + 2 * unpack(s.input) + scaling(s.output),
           .sfu = 2,
           .conversions = pack(s.output)};
      break;
    case StreamKind::softmax:
      // Scale, mask, maximum, exponential and sum over a row in registers, then the quotient.
      f = {.read_bytes = in,
           .write_bytes = out,
           .fp32 = 5 + unpack(s.input),
           .sfu = 1,
           .conversions = pack(s.output),
           .row_steps = 2 * kReduction,
           .whole_rows = true};
      break;
    case StreamKind::softmax_backward:
      // y dy summed over a row, then y (dy - sum).
      f = {.read_bytes = 2 * in,
           .write_bytes = out,
           .fp32 = 4 + 2 * unpack(s.input),
           .conversions = pack(s.output),
           .row_steps = kReduction,
           .whole_rows = true};
      break;
    case StreamKind::dropout:
      // Philox gives four draws in about 60 operations (10 rounds of two products and four
      // exclusive ors: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
      f = {.read_bytes = in,
           .write_bytes = out + 1,
           .fp32 = 15 + 2 + unpack(s.input),
           .conversions = pack(s.output)};
      break;
    case StreamKind::column_sum:
      f = {.read_bytes = in, .fp32 = 1 + unpack(s.input)};
      break;
  }
  return f;
}

std::unique_ptr<TileKernel> make_stream(const Stream& stream, const device::DeviceSpec& device,
                                        const Implementation& implementation,
                                        const Residency& residency,
                                        const std::vector<int>& gpc_sizes) {
  StreamFacts facts = stream_facts(stream);
  // A kernel that gives rows to its CTAs does not cut them.
  facts.whole_rows |= implementation.parameters.contains("row_cycles");
  RowWork work;
  work.name = workload::to_string(stream.kind);
  work.unit_elements = static_cast<double>(facts.whole_rows ? stream.columns : 1);
  work.units =
      static_cast<double>(stream.rows) * static_cast<double>(stream.columns) / work.unit_elements;
  work.row_elements = static_cast<double>(stream.columns);
  work.facts = facts;
  work.padding_rows = static_cast<double>(stream.padding_rows);
  if (stream.kind == StreamKind::unpermute)
    work.rows_at_once =
        std::gcd(stream.fan, std::lround(parameter_or(implementation, "rows_at_once", 1)));
  if (const double most = parameter_or(implementation, "cta_groups", 0); most > 0)
    work.cta_elements = elements_a_cta(stream, most);
  return make_row_kernel(work, device, implementation, residency, gpc_sizes);
}

}  // namespace tessera::kernels
