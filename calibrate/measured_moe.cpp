#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "calibrate/measured_families.hpp"
#include "calibrate/moe_flows.hpp"
#include "models/workload/power_law_draw.hpp"

namespace tessera::calibrate {

using workload::HeaviestRank;
using workload::PowerLawDraw;

namespace {

/// Draws whose mean stands for the expectation: it is then known to an eighth of a draw's spread.
constexpr int kDraws = 64;
/// Of kDraws, those nearest to what a row recorded about its draw.
constexpr std::size_t kNearestDraws = 8;

std::optional<double> exponent(std::string_view routing) {
  constexpr std::string_view kPrefix = "power_law_";
  if (!routing.starts_with(kPrefix)) return std::nullopt;
  double alpha = 0;
  const std::string_view text = routing.substr(kPrefix.size());
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), alpha);
  if (error != std::errc{} || alpha <= 0 || alpha == 1)
    refuse_row("the exponent of the routing's power law is not given");
  return alpha;
}

/// Whether the model that the row was collected for has no gate in its experts. Some kernels say
/// so; else its shape does, except with Triton's, which were collected as if all were gated
/// (aiconfigurator, NON_GATED_MOE_MODELS).
bool ungated(const MeasuredRow& row, const RankWork& work, const MeasuredAs& as) {
  struct Model {
    std::int64_t inter, top_k, experts;
  };
  // Nemotron 3 Nano, Super, Ultra: squared ReLU.
  constexpr Model kUngated[] = {{1856, 6, 128}, {2688, 22, 512}, {5120, 22, 512}};
  if (row.text("kernel").find("nongated") != std::string_view::npos) return true;
  if (as.flow == "triton") return false;
  const std::int64_t inter = row.size("inter");
  return std::any_of(std::begin(kUngated), std::end(kUngated), [&](const Model& model) {
    return model.inter == inter && model.top_k == work.top_k && model.experts == work.experts;
  });
}

/// Weights as the framework lays them out for kernels that take whole blocks.
void pad(RankWork& work, const MeasuredAs& as) {
  const auto up = [](std::int64_t size, std::int64_t multiple) {
    return (size + multiple - 1) / multiple * multiple;
  };
  work.width = up(work.width, work.gated ? as.width_multiple : as.ungated_width_multiple);
  const std::int64_t hidden = std::exchange(work.hidden, up(work.hidden, as.hidden_multiple));
  work.pads_tokens = work.hidden > hidden;
}

/// The sizes that moe.csv and moe_wideep.csv share; rows are still to come.
RankWork sizes_of(const MeasuredRow& row, const MeasuredAs& as) {
  RankWork work;
  work.tokens = work.routed_tokens = row.size("tokens");
  work.hidden = row.size("hidden");
  work.top_k = row.size("topk");
  work.experts = row.size("experts");
  work.width = row.size("inter") / std::max<std::int64_t>(1, row.size("tp"));
  work.type = row.type("dtype");
  work.gated = !ungated(row, work, as);
  pad(work, as);
  const std::int64_t ranks = std::max<std::int64_t>(1, row.size("ep"));
  if (work.experts < ranks || work.width < 1 || work.tokens < 1 || work.top_k < 1 ||
      work.top_k > work.experts)
    refuse_row("a rank without experts or tokens is no fused MoE");
  return work;
}

/// The draws of kDraws; rows of a file repeat a few thousand routings over devices and types.
const std::vector<HeaviestRank>& drawn(const PowerLawDraw& draw) {
  static std::map<PowerLawDraw, std::vector<HeaviestRank>> known;
  const auto [found, is_new] = known.try_emplace(draw);
  if (is_new) found->second = draw_heaviest_ranks(draw, kDraws);
  return found->second;
}

PowerLawDraw draw_of(const RankWork& work, std::int64_t ranks, double alpha) {
  return {.tokens = work.tokens,
          .top_k = work.top_k,
          .experts = work.experts,
          .ranks = ranks,
          .alpha = alpha};
}

/// Slots that a row's note names ("slots=288;cutlass"), or none.
std::int64_t slots_of(std::string_view note) {
  constexpr std::string_view kKey = "slots=";
  const std::size_t at = note.find(kKey);
  std::int64_t slots = 0;
  if (at != std::string_view::npos) {
    const std::string_view text = note.substr(at + kKey.size());
    std::from_chars(text.data(), text.data() + text.size(), slots);
  }
  return slots;
}

/// Uniform prefill: equal shares, not padded to the groups' alignment, so that a tile holds rows of
/// several experts and is multiplied by the first one's weights
/// (collector/sglang/collect_wideep_deepep_moe.py).
std::vector<std::int64_t> packed_rows(const RankWork& work, std::int64_t ranks) {
  constexpr std::int64_t kTileRows = 128;  // DeepGEMM's contiguous layout
  const std::int64_t local = work.experts / ranks;
  const std::int64_t total = work.tokens * work.top_k / work.experts * local;
  if (total < 1) refuse_row("uniform routing leaves the rank no rows");
  const std::int64_t seen = std::min(local, (total + kTileRows - 1) / kTileRows);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(local), 0);
  for (std::int64_t i = 0; i < seen; ++i)
    rows[static_cast<std::size_t>(i)] = total / seen + (i < total % seen ? 1 : 0);
  return rows;
}

/// Uniform decode: equal whole rows; where there are fewer than one, one for as many experts as
/// half of all rows (as above).
std::vector<std::int64_t> whole_rows(const RankWork& work, std::int64_t ranks) {
  const std::int64_t total = work.tokens * work.top_k;
  const std::int64_t local = work.experts / ranks;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(local), total / work.experts);
  if (total < work.experts)
    std::fill_n(rows.begin(), std::clamp<std::int64_t>(total / 2, 1, local), 1);
  return rows;
}

/// The draws whose rank holds about as many tokens as the row recorded.
std::vector<HeaviestRank> nearest(std::vector<HeaviestRank> ranks, std::int64_t tokens) {
  std::stable_sort(ranks.begin(), ranks.end(), [&](const HeaviestRank& a, const HeaviestRank& b) {
    return std::abs(a.tokens - tokens) < std::abs(b.tokens - tokens);
  });
  ranks.resize(std::min(ranks.size(), kNearestDraws));
  return ranks;
}

/// TensorRT-LLM's wide expert parallelism: the rank routes its share of the tokens and works on
/// those that any rank sent, of one draw.
MeasuredCall wideep_trtllm_call(const MeasuredRow& row, RankWork work, std::int64_t ranks,
                                double alpha, const device::DeviceSpec& device,
                                const MeasuredAs& as) {
  PowerLawDraw draw = draw_of(work, ranks, alpha);
  draw.rest_to_most_loaded = true;
  const std::int64_t slots = slots_of(row.text("note"));
  if (row.text("routing").ends_with("_eplb")) draw.slots = std::max(slots, work.experts);
  if (slots > 0) work.experts = slots;
  const std::int64_t seen = row.size("rank_tokens");
  work.rows = workload::mean_of(nearest(drawn(draw), seen)).rows;
  work.routed_tokens = std::max<std::int64_t>(1, work.tokens / ranks);
  work.tokens = std::max<std::int64_t>(1, seen);
  return fused_moe(work, device, as);
}

/// Calls before a timed one, on average: TensorRT-LLM's collector passes over five draws once
/// before it times one more pass; sglang's makes five passes of five calls and times ten
/// (collector/trtllm and collector/sglang, collect_moe.py).
double calls_before(const MeasuredRow& row) {
  if (row.probed()) return kCallsBefore;
  if (row.text("framework") == "sglang") return 50;
  return exponent(row.text("routing")) ? 7.5 : kCallsBefore;
}

}  // namespace

/// The fused MoE of one rank: choice, permutation, gate and up projection, activation, down
/// projection, sum. `tokens` is global, the rank has experts / ep experts of width inter / tp.
MeasuredCall moe_call(const MeasuredRow& row, const device::DeviceSpec& device,
                      const MeasuredAs& as) {
  RankWork work = sizes_of(row, as);
  const std::int64_t ranks = std::max<std::int64_t>(1, row.size("ep"));
  if (const auto alpha = exponent(row.text("routing"))) {
    work.rows = workload::mean_of(drawn(draw_of(work, ranks, *alpha))).rows;
  } else {
    work.rows = workload::balanced_rows(work.tokens, work.top_k, work.experts, ranks);
  }
  MeasuredCall call = fused_moe(work, device, as);
  call.calls_before = calls_before(row);
  return call;
}

MeasuredCall experts_call(const MeasuredRow& row, const std::vector<std::int64_t>& rows,
                          const device::DeviceSpec& device, const MeasuredAs& as) {
  RankWork work = sizes_of(row, as);
  work.rows = rows;
  MeasuredCall call = fused_moe(work, device, as);
  call.calls_before = calls_before(row);
  return call;
}

/// sglang launches four kernels before the first product and five from there on; the harness waits
/// for the GPU before it calls (sglang, layers/moe/moe_runner/deep_gemm.py;
/// collector/sglang/collect_wideep_deepep_moe.py).
constexpr double kLeadOfProducts = 0.5;

/// The experts of one rank under wide expert parallelism, without the exchange. `tokens` is global.
MeasuredCall moe_wideep_call(const MeasuredRow& row, const device::DeviceSpec& device,
                             const MeasuredAs& as) {
  RankWork work = sizes_of(row, as);
  const std::int64_t ranks = std::max<std::int64_t>(1, row.size("ep"));
  const auto alpha = exponent(row.text("routing"));
  if (row.text("framework") == "trtllm" && alpha)
    return wideep_trtllm_call(row, work, ranks, *alpha, device, as);
  const bool prefill = row.text("op") == "deepep_moe_ctx";
  if (alpha) {
    work.rows = workload::mean_of(drawn(draw_of(work, ranks, *alpha))).rows;
  } else {
    work.rows = prefill ? packed_rows(work, ranks) : whole_rows(work, ranks);
  }
  MeasuredAs with_flow = as;
  if (as.flow == "deepep" || as.flow.empty())
    with_flow.flow = prefill ? "deepep_context" : "deepep_generation";
  MeasuredCall call = fused_moe(work, device, with_flow);
  call.eager = prefill;
  call.host_lead = kLeadOfProducts;
  return call;
}

}  // namespace tessera::calibrate
