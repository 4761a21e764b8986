#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "calibrate/measured_families.hpp"
#include "models/workload/power_law_draw.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::GroupedGemm;
using workload::HeaviestRank;
using workload::PowerLawDraw;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Draws whose mean stands for the expectation: it is then known to an eighth of a draw's spread.
constexpr int kDraws = 64;
/// Of kDraws, those nearest to what a row recorded about its draw.
constexpr std::size_t kNearestDraws = 8;
/// Tokens up to which TensorRT-LLM sorts rows by expert in one kernel, three above
/// (cutlass_kernels/moe_gemm/moe_kernels.cu).
constexpr std::int64_t kSortedAtOnce = 256;
/// Rows to which CUTLASS's block-scaled products pad the scales of each expert; kernels that write
/// scales visit so many for every expert, to clear those beyond its rows (as above).
constexpr std::int64_t kScaleRows = 128;
/// Tokens up to which TensorRT-LLM's generated kernels route in one launch, three above
/// (trtllmGenKernels/blockScaleMoe).
constexpr std::int64_t kRoutedAtOnce = 1024;

/// What one rank works on.
struct RankWork {
  std::int64_t tokens = 0;         ///< Whose rows it gathers and sums.
  std::int64_t routed_tokens = 0;  ///< For which it chooses experts.
  std::int64_t hidden = 0;
  std::int64_t width = 0;  ///< Of an expert on this rank.
  std::int64_t top_k = 1;
  std::int64_t experts = 1;  ///< Of all ranks.
  DataType type = DataType::bf16;
  bool gated = true;
  std::vector<std::int64_t> rows;  ///< Of each of its experts.

  [[nodiscard]] std::int64_t total() const {
    std::int64_t sum = 0;
    for (const std::int64_t each : rows) sum += each;
    return sum;
  }
};

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

/// Who wrote the row kernels of a flow; "" : the device's default.
std::string row_kernels(std::string_view flow) {
  return flow == "triton" || flow == "marlin" || flow.starts_with("deepep") ? ""
                                                                            : "trtllm_moe_rows";
}

/// The kernels around and between two grouped products, as a library launches them.
class Chain {
 public:
  Chain(const RankWork& work, const device::DeviceSpec& device, const MeasuredAs& as)
      : work_(work),
        generation_(device.generation),
        implementation_(as.implementation),
        rows_(row_kernels(as.flow)) {
    const double activations = bytes_of(work.total() + work.tokens, work.hidden, 16);
    double touched = 4 * activations;
    for (const std::int64_t rows : work.rows)
      if (rows > 0)
        touched +=
            bytes_of((work.gated ? 3 : 2) * work.width, work.hidden, core::weight_bits(work.type));
    context_ = replayed(touched, device);
    context_.warm_activations = true;  // each kernel reads what the one before wrote
    context_.activation_reuse_bytes = activations;
    call_.type = as.flow;
  }

  /// A cast of rows to the products' type by the kernel that also precedes this library's GEMMs.
  void quantise(std::int64_t rows, std::int64_t columns) {
    add(Stream{.kind = StreamKind::quantize,
               .rows = std::max<std::int64_t>(1, rows),
               .columns = columns,
               .output = work_.type},
        call_.type == "block" ? "trtllm_quantise_block" : "");
  }
  void stream(StreamKind kind, std::int64_t rows, std::int64_t columns,
              DataType output = DataType::bf16, DataType input = DataType::bf16, int fan = 1) {
    add(Stream{.kind = kind,
               .rows = std::max<std::int64_t>(1, rows),
               .columns = columns,
               .input = input,
               .output = output,
               .fan = fan,
               .padding_rows = writes_scales(kind) ? padding_rows_ : 0},
        rows_);
  }
  /// From here on kernels that write scaled rows clear each expert's padding too.
  void pad_scales() {
    if (core::activation_scale_bytes(work_.type) > 0)
      padding_rows_ = kScaleRows * static_cast<std::int64_t>(work_.rows.size());
  }
  /// The host chooses tiles as if its experts were all that there are.
  void plan_for_all_ranks() {
    const auto local = static_cast<std::int64_t>(work_.rows.size());
    planned_rows_ = (work_.tokens * work_.top_k + local - 1) / local;
  }
  /// From here on products walk over a layout of so many rows, blocks of `block` each. Those that
  /// no expert fills are not multiplied, but loaded, which takes about as long: they count as a
  /// group.
  void lay_out(std::int64_t rows, std::int64_t block) {
    for (const std::int64_t each : work_.rows) rows -= (each + block - 1) / block * block;
    if (rows > 0) work_.rows.push_back(rows);
  }
  /// From here on row kernels start so many CTAs that find no row of theirs.
  void start_idle(std::int64_t ctas) { padding_rows_ = ctas; }
  void gate() {
    stream(StreamKind::gate_top_k, work_.routed_tokens, work_.experts, DataType::bf16,
           DataType::bf16, static_cast<int>(work_.top_k));
  }
  /// `launches` passes over the ids of all tokens' experts, from ids to places.
  void sort(std::int64_t launches) {
    for (std::int64_t i = 0; i < launches; ++i)
      stream(StreamKind::copy, work_.tokens * work_.top_k, 1, DataType::fp32, DataType::fp32);
  }
  /// The same by TensorRT-LLM: few tokens in one CTA; else CTAs of each of the rank's experts count
  /// theirs among all ids, one CTA sums the counts, and the first ones turn them into places.
  void sort_by_counting() {
    if (work_.tokens <= kSortedAtOnce) return sort(1);
    const auto local = static_cast<std::int64_t>(work_.rows.size());
    const auto count = [&] {
      stream(StreamKind::compute_scale, work_.tokens * work_.top_k, local, DataType::fp32,
             DataType::fp32);
    };
    count();
    stream(StreamKind::copy, work_.tokens / kSortedAtOnce * local, 1, DataType::fp32,
           DataType::fp32);
    count();
  }
  /// Both products and what lies between them; without `activation` the first one activates.
  void products(std::optional<StreamKind> activation, std::int64_t activated_rows,
                DataType activated, bool quantise_apart, bool masked) {
    GroupedGemm gemm{.sizes = work_.rows,
                     .n = (work_.gated ? 2 : 1) * work_.width,
                     .fixed = work_.hidden,
                     .type = work_.type,
                     .masked = masked,
                     .planned_rows = planned_rows_};
    add(gemm, implementation_);
    if (activation) stream(*activation, activated_rows, work_.width, activated);
    if (quantise_apart) quantise(activated_rows, work_.width);
    gemm.n = work_.hidden;
    gemm.fixed = work_.width;
    add(gemm, implementation_);
  }
  /// Sums each token's rows of this rank; tokens without any are cleared.
  void finalise(std::int64_t rows) {
    if (rows >= work_.tokens) {
      stream(StreamKind::unpermute, work_.tokens, work_.hidden, DataType::bf16, DataType::bf16,
             static_cast<int>(
                 std::llround(static_cast<double>(rows) / static_cast<double>(work_.tokens))));
    } else {
      stream(StreamKind::unpermute, (rows + work_.tokens) / 2, work_.hidden);  // equal bytes
    }
  }
  [[nodiscard]] StreamKind activation() const {
    return work_.gated ? StreamKind::swiglu : StreamKind::quantize;
  }
  [[nodiscard]] const RankWork& work() const { return work_; }
  /// Whether TensorRT-LLM's grouped kernels for this GPU and type load by TMA; client Blackwell has
  /// such only for block-scaled types (cutlass_kernels/moe_gemm/moe_gemm_template_dispatch.h).
  [[nodiscard]] bool multiplies_by_tma() const {
    switch (generation_) {
      case device::Generation::hopper:
      case device::Generation::blackwell:
        return true;
      case device::Generation::blackwell_client:
        return core::activation_scale_bytes(work_.type) > 0;
      case device::Generation::ampere:
      case device::Generation::ada:
        return false;
    }
    return false;
  }
  /// Whether its first product activates what it stores: only that for Ampere does, of 16-bit types
  /// (the same folder, supportsFusedGatedActivation).
  [[nodiscard]] bool activates_in_product() const {
    constexpr std::int64_t kWhole = 64;  // columns and depth
    return !multiplies_by_tma() && !quantised() && work_.gated && work_.width % kWhole == 0 &&
           work_.hidden % kWhole == 0;
  }
  [[nodiscard]] bool quantised() const { return core::activation_bits(work_.type) < 16; }
  /// What rows are stored in for the products.
  [[nodiscard]] DataType stored() const { return quantised() ? work_.type : DataType::bf16; }
  MeasuredCall take() { return std::move(call_); }

 private:
  static bool writes_scales(StreamKind kind) {
    return kind == StreamKind::permute || kind == StreamKind::swiglu ||
           kind == StreamKind::quantize;
  }
  void add(const workload::Operator& op, const std::string& implementation) {
    call_.kernels.push_back({op, context_, implementation});
  }

  RankWork work_;
  device::Generation generation_;
  std::string implementation_;
  std::string rows_;  ///< Implementation of the row kernels.
  std::int64_t padding_rows_ = 0;
  std::int64_t planned_rows_ = 0;
  gpu::ExecutionContext context_;
  MeasuredCall call_;
};

/// TensorRT-LLM's CUTLASS MoE, also in FlashInfer: tokens are quantised once, rows gathered by
/// expert, a kernel lays out the groups' descriptors (cutlass_kernels/moe_gemm/moe_kernels.cu).
/// Without TMA there are none.
void cutlass_flow(Chain& chain) {
  const RankWork& work = chain.work();
  chain.gate();
  if (chain.quantised()) chain.quantise(work.tokens, work.hidden);
  chain.sort_by_counting();
  chain.pad_scales();
  chain.stream(StreamKind::permute, work.total(), work.hidden, chain.stored(), chain.stored());
  if (chain.multiplies_by_tma())
    chain.stream(StreamKind::copy, static_cast<std::int64_t>(work.rows.size()), 64);
  chain.products(chain.activates_in_product() ? std::nullopt : std::optional{chain.activation()},
                 work.total(), chain.stored(), false, true);
  chain.finalise(work.total());
}

/// TensorRT-LLM's block-scaled MoE on Hopper: rows are gathered and activated in BF16 and each
/// quantised by a kernel of its own (as above, BlockScaleFC1 and FC2).
void block_flow(Chain& chain) {
  const RankWork& work = chain.work();
  chain.gate();
  chain.sort_by_counting();
  chain.stream(StreamKind::permute, work.total(), work.hidden);
  chain.quantise(work.total(), work.hidden);
  chain.products(chain.activation(), work.total(), DataType::bf16, true, true);
  chain.finalise(work.total());
}

/// TensorRT-LLM with DeepGEMM's masked kernels: rows gathered in BF16, quantised into the groups'
/// places, and gathered back (tensorrt_llm/_torch/modules/fused_moe/fused_moe_deepgemm.py). What
/// activates is started for so many tokens of every expert, whether it has them or not
/// (tensorrt_llm/quantization/utils/fp8_utils.py, silu_and_mul_masked_post_quant_fwd).
void deepgemm_flow(Chain& chain) {
  constexpr std::int64_t kFewExperts = 4, kTokensOfFew = 64, kTokens = 128;
  constexpr std::int64_t kColumns = 512;  // of a CTA
  const RankWork& work = chain.work();
  const auto local = static_cast<std::int64_t>(work.rows.size());
  chain.gate();
  chain.sort_by_counting();
  chain.stream(StreamKind::permute, work.total(), work.hidden);
  chain.quantise(work.total(), work.hidden);
  chain.start_idle((work.width + kColumns - 1) / kColumns * local *
                   (local < kFewExperts ? kTokensOfFew : kTokens));
  chain.products(chain.activation(), work.total(), work.type, false, true);
  chain.stream(StreamKind::copy, work.total(), work.hidden);
  chain.finalise(work.total());
}

/// vLLM with DeepGEMM's contiguous kernels: tokens are quantised once and scattered into a layout
/// that is long enough for any choice of experts, over all of which the activation runs (vLLM,
/// fused_moe/deep_gemm_utils.py, compute_aligned_M, and deep_gemm_moe.py; DeepGEMM,
/// scheduler.cuh, is_computation_valid).
void deepgemm_contiguous_flow(Chain& chain) {
  constexpr std::int64_t kBlock = 128;
  const RankWork work = chain.work();
  const auto local = static_cast<std::int64_t>(work.rows.size());
  const std::int64_t most = work.tokens * work.top_k + local * (kBlock - 1);
  const std::int64_t rows = (most + kBlock - 1) / kBlock * kBlock;
  chain.gate();
  chain.quantise(work.tokens, work.hidden);
  chain.sort(2);
  chain.stream(StreamKind::permute, work.total(), work.hidden, work.type, work.type);
  chain.lay_out(rows, kBlock);
  chain.products(chain.activation(), rows, work.type, false, false);
  chain.finalise(work.total());
}

/// TensorRT-LLM's generated kernels, also in FlashInfer: the first product gathers its rows and
/// activates what it stores; with 1x128 scales a kernel of its own does, over the rows of all
/// tokens, whoever holds their experts (trtllmGenKernels/blockScaleMoe); so does the host when it
/// chooses tiles (as above, runner.h, computeSelectedTileN).
void trtllm_gen_flow(Chain& chain) {
  const RankWork& work = chain.work();
  chain.plan_for_all_ranks();
  if (chain.quantised()) chain.quantise(work.tokens, work.hidden);
  chain.gate();
  if (work.tokens > kRoutedAtOnce) chain.sort(2);
  if (work.type == DataType::fp8_block) {
    chain.products(chain.activation(), work.tokens * work.top_k, work.type, false, true);
  } else {
    chain.products(std::nullopt, 0, DataType::bf16, false, true);
  }
  chain.finalise(work.total());
}

/// Triton and Marlin kernels of sglang and vLLM: the products gather their rows; what lies between
/// runs over the rows of all tokens, whoever holds their experts
/// (sglang, layers/moe/fused_moe_triton/fused_moe.py).
void triton_flow(Chain& chain) {
  const RankWork& work = chain.work();
  const std::int64_t all = work.tokens * work.top_k;
  chain.gate();
  chain.sort(2);
  if (chain.quantised()) chain.quantise(work.tokens, work.hidden);
  chain.products(chain.activation(), all, DataType::bf16, chain.quantised(), true);
  chain.finalise(all);
}

/// sglang after DeepEP's normal dispatch: rows scattered into contiguous groups, each token read
/// whether the rank has its experts or not (sglang, layers/moe/ep_moe/kernels.py, ep_scatter); the
/// harness hands a rank all ranks' tokens (collector/sglang/collect_wideep_deepep_moe.py).
void deepep_context_flow(Chain& chain) {
  const RankWork& work = chain.work();
  const std::int64_t moved = (work.tokens + work.total()) / 2;  // of equal bytes, in and out
  chain.stream(StreamKind::permute, moved, work.hidden, work.type, work.type);
  chain.products(chain.activation(), work.total(), DataType::bf16, true, false);
  chain.finalise(work.total());
}

/// sglang after DeepEP's low-latency dispatch: rows arrive in the groups' places.
void deepep_generation_flow(Chain& chain) {
  chain.products(chain.activation(), chain.work().total(), chain.work().type, false, true);
}

MeasuredCall call_of(const RankWork& work, const device::DeviceSpec& device, const MeasuredAs& as) {
  static const std::map<std::string_view, void (*)(Chain&)> kFlows = {
      {"cutlass", cutlass_flow},
      {"block", block_flow},
      {"deepgemm", deepgemm_flow},
      {"deepgemm_contiguous", deepgemm_contiguous_flow},
      {"trtllm_gen", trtllm_gen_flow},
      {"triton", triton_flow},
      {"marlin", triton_flow},
      {"deepep_context", deepep_context_flow},
      {"deepep_generation", deepep_generation_flow}};
  const auto flow = kFlows.find(as.flow);
  if (flow == kFlows.end()) refuse_row("the kernels around the products are not known");
  Chain chain(work, device, as);
  flow->second(chain);
  return chain.take();
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
  return call_of(work, device, as);
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
  return call_of(work, device, as);
}

MeasuredCall experts_call(const MeasuredRow& row, const std::vector<std::int64_t>& rows,
                          const device::DeviceSpec& device, const MeasuredAs& as) {
  RankWork work = sizes_of(row, as);
  work.rows = rows;
  return call_of(work, device, as);
}

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
  MeasuredCall call = call_of(work, device, with_flow);
  call.eager = prefill;
  return call;
}

}  // namespace tessera::calibrate
