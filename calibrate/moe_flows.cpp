#include "calibrate/moe_flows.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>

#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::GroupedGemm;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Tokens up to which TensorRT-LLM sorts rows by expert in one kernel, three above
/// (cutlass_kernels/moe_gemm/moe_kernels.cu).
constexpr std::int64_t kSortedAtOnce = 256;
/// Rows to which CUTLASS's block-scaled products pad the scales of each expert; kernels that write
/// scales visit so many for every expert, to clear those beyond its rows (as above).
constexpr std::int64_t kScaleRows = 128;
/// How TensorRT-LLM's generated kernels route: the fewest tokens in one CTA, up to a warp each in
/// one cluster, more in three launches on all SMs (trtllmGenKernels/blockScaleMoe/routing,
/// RoutingCustom.cu: DynBlockKernelMaxNumTokens, MaxNumTokensSingleClusterScores).
constexpr std::int64_t kRoutedByCta = 16;
constexpr int kRoutingCluster = 8;  // CTAs of 32 warps
constexpr std::int64_t kRoutedByCluster = 32 * kRoutingCluster;

/// Who wrote the row kernels of a flow; "" : the device's default.
std::string row_kernels(std::string_view flow) {
  return flow == "triton" || flow == "marlin" || flow.starts_with("deepep") ? ""
                                                                            : "trtllm_moe_rows";
}

/// The kernels around and between two grouped products, as a library launches them.
class Chain {
 public:
  Chain(const RankWork& work, const device::DeviceSpec& device, const MeasuredAs& as)
      : work_(work), as_(as), generation_(device.generation), rows_(row_kernels(as.flow)) {
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
    // CUTLASS's block-scaled products load by TMA on every GPU, from descriptors that their launch
    // waits for.
    if (as.flow == "cutlass" && core::activation_scale_bytes(work.type) > 0)
      call_.type += "_scaled";
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
  /// The library times tiles with experts that are all chosen alike.
  void time_evenly() {
    planned_rows_ = (work_.tokens * work_.top_k + work_.experts - 1) / work_.experts;
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
    if (as_.fused_top_k > 0 && work_.top_k > as_.fused_top_k) return gate_by_pytorch();
    stream(StreamKind::gate_top_k, work_.routed_tokens, work_.experts, DataType::bf16,
           DataType::bf16, static_cast<int>(work_.top_k));
  }
  /// A gate with a bias whose experts form one group, in PyTorch's operations as its compiler fuses
  /// them: that group's two best are summed and the group chosen first (sglang, layers/moe/topk.py,
  /// biased_grouped_topk_impl).
  void gate_by_pytorch() {
    const std::int64_t tokens = work_.routed_tokens;
    const auto pointwise = [&](std::int64_t columns) {
      add(Stream{.kind = StreamKind::gelu,
                 .rows = tokens,
                 .columns = columns,
                 .input = DataType::fp32,
                 .output = DataType::fp32},
          "");
    };
    const auto select = [&](std::int64_t columns, std::int64_t selected) {
      add(workload::SelectTopK{.rows = tokens, .columns = columns, .selected = selected},
          "torch_top_k");
    };
    pointwise(work_.experts);  // scores, and with the bias
    select(work_.experts, 2);
    pointwise(2);  // sorts them
    pointwise(1);  // adds them
    select(1, 1);
    pointwise(1);              // clears the groups' mask
    pointwise(1);              // sets it
    pointwise(work_.experts);  // masks
    select(work_.experts, work_.top_k);
    pointwise(work_.top_k);  // weights
  }
  /// As the generated kernels do, which find each row's place on the way.
  void route() {
    gate();
    int& sms = call_.kernels.back().context.sms;
    if (work_.routed_tokens <= kRoutedByCta) {
      sms = 1;
    } else if (work_.routed_tokens <= kRoutedByCluster) {
      sms = kRoutingCluster;
    } else {
      sort(2);
    }
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
  /// Kernels that each of `ways` adds are one way to do the same, of which the library takes the
  /// fastest.
  void choose(std::initializer_list<std::function<void()>> ways) {
    way_ = {.choice = ++choices_, .way = 0};
    for (const auto& add : ways) {
      add();
      ++way_.way;
    }
    way_ = {};
  }
  /// The first product, of masked groups or contiguous ones; by the row's implementation unless
  /// another is named.
  void up(bool masked) { up(masked, as_.gathering.empty() ? as_.implementation : as_.gathering); }
  void up(bool masked, const std::string& by) { add(product(masked, true), by); }
  /// The second one.
  void down(bool masked) { down(masked, as_.implementation); }
  void down(bool masked, const std::string& by) { add(product(masked, false), by); }
  /// The same by a kernel that adds its rows to the tokens' sums in L2, which were cleared before.
  void down_and_sum(const std::string& by) {
    stream(StreamKind::copy, (work_.tokens + 1) / 2, work_.hidden);  // of equal bytes
    GroupedGemm gemm = product(true, false);
    gemm.accumulate = true;
    add(gemm, by);
  }
  /// Both products and what lies between them; without `activation` the first one activates.
  void products(std::optional<StreamKind> activation, std::int64_t activated_rows,
                DataType activated, bool quantise_apart, bool masked) {
    up(masked);
    if (activation) stream(*activation, activated_rows, work_.width, activated);
    if (quantise_apart) quantise(activated_rows, work_.width);
    down(masked);
  }
  /// Sums each token's rows of this rank; tokens without any are cleared.
  void finalise(std::int64_t rows) {
    Stream sum{.kind = StreamKind::unpermute, .rows = work_.tokens, .columns = work_.hidden};
    if (rows >= work_.tokens) {
      sum.fan = static_cast<int>(
          std::llround(static_cast<double>(rows) / static_cast<double>(work_.tokens)));
    } else {
      sum.rows = std::max<std::int64_t>(1, (rows + work_.tokens) / 2);  // of equal bytes
    }
    add(sum, as_.flow == "trtllm_gen" ? "trtllm_gen_rows" : rows_);
  }
  [[nodiscard]] StreamKind activation() const {
    return work_.gated ? StreamKind::swiglu : StreamKind::quantize;
  }
  [[nodiscard]] const RankWork& work() const { return work_; }
  [[nodiscard]] const MeasuredAs& as() const { return as_; }
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
  /// Whether its kernels for Ampere activate what the first product stores: those of 16-bit types
  /// do (the same folder, supportsFusedGatedActivation).
  [[nodiscard]] bool fuses_activation() const {
    constexpr std::int64_t kWhole = 64;  // columns and depth
    return !quantised() && work_.gated && work_.width % kWhole == 0 && work_.hidden % kWhole == 0;
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
  [[nodiscard]] GroupedGemm product(bool masked, bool first) const {
    return {.sizes = work_.rows,
            .n = first ? (work_.gated ? 2 : 1) * work_.width : work_.hidden,
            .fixed = first ? work_.hidden : work_.width,
            .type = work_.type,
            .masked = masked,
            .planned_rows = planned_rows_};
  }
  void add(const workload::Operator& op, const std::string& implementation) {
    call_.kernels.push_back({op, context_, implementation, way_});
  }

  RankWork work_;
  const MeasuredAs& as_;
  device::Generation generation_;
  Way way_;
  int choices_ = 0;
  std::string rows_;  ///< Implementation of the row kernels.
  std::int64_t padding_rows_ = 0;
  std::int64_t planned_rows_ = 0;
  gpu::ExecutionContext context_;
  MeasuredCall call_;
};

/// TensorRT-LLM's CUTLASS MoE, also in FlashInfer: tokens are quantised once, rows gathered by
/// expert, a kernel lays out the groups' descriptors (cutlass_kernels/moe_gemm/moe_kernels.cu).
/// Without TMA there are none. Its tuner times each product with what follows it. Kernels for
/// Ampere are among the first one's, since they activate what they store; kernels that sum in their
/// epilogue are among the second one's (moe_gemm_template_dispatch.h, getConfigs; profiles of
/// Qwen3-30B on H100 show the one and then the other). It times with random experts
/// (moe_kernels.cu, prepareFakeRouterBuffers).
void cutlass_flow(Chain& chain) {
  const RankWork& work = chain.work();
  const MeasuredAs& as = chain.as();
  chain.time_evenly();
  chain.gate();
  if (chain.quantised()) chain.quantise(work.tokens, work.hidden);
  chain.sort_by_counting();
  chain.pad_scales();
  chain.stream(StreamKind::permute, work.total(), work.hidden, chain.stored(), chain.stored());
  if (chain.multiplies_by_tma())
    chain.stream(StreamKind::copy, static_cast<std::int64_t>(work.rows.size()), 64);
  chain.choose({[&] {
                  chain.up(true);
                  if (chain.multiplies_by_tma() || !chain.fuses_activation())
                    chain.stream(chain.activation(), work.total(), work.width, chain.stored());
                },
                [&] {
                  if (!as.by_warps.empty() && chain.fuses_activation()) chain.up(true, as.by_warps);
                }});
  chain.choose({[&] {
                  chain.down(true);
                  chain.finalise(work.total());
                },
                [&] {
                  if (!as.summing.empty() && chain.multiplies_by_tma())
                    chain.down_and_sum(as.summing);
                },
                [&] {
                  if (as.by_warps.empty()) return;
                  chain.down(true, as.by_warps);
                  chain.finalise(work.total());
                }});
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
  if (chain.quantised()) {
    chain.quantise(work.tokens, work.hidden);
  } else if (work.pads_tokens) {
    chain.stream(StreamKind::copy, work.tokens, work.hidden);
  }
  chain.route();
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

}  // namespace

MeasuredCall fused_moe(const RankWork& work, const device::DeviceSpec& device,
                       const MeasuredAs& as) {
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

}  // namespace tessera::calibrate
