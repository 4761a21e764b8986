#include <algorithm>

#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Rows of each expert of one rank when routing is balanced: equal shares, the first experts one
/// more.
std::vector<std::int64_t> balanced_rows(std::int64_t rows, std::int64_t experts) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(experts), rows / experts);
  for (std::int64_t i = 0; i < rows % experts; ++i) ++sizes[static_cast<std::size_t>(i)];
  return sizes;
}

}  // namespace

/// The fused MoE of one rank: choice, permutation, gate and up projection, activation, down
/// projection, sum. `tokens` is global, the rank has experts / ep experts of width inter / tp.
MeasuredCall moe_call(const MeasuredRow& row, const device::DeviceSpec& device,
                      const MeasuredAs& as) {
  if (row.text("routing") != "balanced") refuse_row("routing drawn at random is not recorded");
  const std::int64_t tokens = row.size("tokens");
  const std::int64_t hidden = row.size("hidden");
  const std::int64_t top_k = row.size("topk");
  const std::int64_t ranks = std::max<std::int64_t>(1, row.size("ep"));
  const std::int64_t width = row.size("inter") / std::max<std::int64_t>(1, row.size("tp"));
  const std::int64_t experts = row.size("experts") / ranks;
  if (experts < 1 || width < 1) refuse_row("a rank without experts is no fused MoE");
  const DataType type = row.type("dtype");
  const std::int64_t rows = std::max<std::int64_t>(1, tokens * top_k / ranks);
  const workload::GroupedGemm gate_up{
      .sizes = balanced_rows(rows, experts), .n = 2 * width, .fixed = hidden, .type = type};
  workload::GroupedGemm down = gate_up;
  down.n = hidden;
  down.fixed = width;
  gpu::ExecutionContext context =
      replayed(bytes_of(experts * 3 * width, hidden, core::weight_bits(type)) +
                   bytes_of(rows, 4 * hidden, 16),
               device);
  // Each kernel reads what the one before wrote.
  gpu::ExecutionContext between = context;
  between.warm_activations = true;
  const auto fan = static_cast<int>(std::max<std::int64_t>(1, top_k / ranks));
  MeasuredCall call;
  const auto add = [&](const workload::Operator& op, const std::string& implementation = {}) {
    call.kernels.push_back({op, between, implementation});
  };
  add(Stream{.kind = StreamKind::gate_top_k,
             .rows = tokens,
             .columns = experts * ranks,
             .fan = static_cast<int>(top_k)});
  add(Stream{.kind = StreamKind::permute, .rows = rows, .columns = hidden, .output = type});
  add(gate_up, as.implementation);
  add(Stream{.kind = StreamKind::swiglu, .rows = rows, .columns = width, .output = type});
  add(down, as.implementation);
  add(Stream{.kind = StreamKind::unpermute, .rows = tokens, .columns = hidden, .fan = fan});
  return call;
}

}  // namespace tessera::calibrate
