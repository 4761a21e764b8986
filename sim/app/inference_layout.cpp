#include "sim/app/inference_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/host_overhead.hpp"
#include "calibrate/served_job.hpp"
#include "models/device/fit_file.hpp"
#include "models/serving/legality.hpp"

namespace tessera::app {
namespace {

using core::ConfigNode;
using core::DataType;
using serving::InferenceJob;
using workload::ExpertPath;

// Bounds that keep arithmetic sane; far outside of any machine or model.
constexpr std::int64_t kMaxGpus = 10'000'000;
constexpr std::int64_t kMaxSequences = 1'000'000;
constexpr std::int64_t kMaxTokens = 100'000'000;
constexpr std::int64_t kMaxDraft = 64;
constexpr std::int64_t kMaxBlock = 65'536;
/// SMs that DeepEP's normal kernels take unless told otherwise (DeepEP, Buffer.num_sms = 20).
constexpr int kDeepEpSms = 20;

using Types = std::vector<std::pair<std::string, DataType>>;

/// fp8_block: casts before the dispatch (DeepSeek-V3 report, section 3.4).
workload::InferencePrecision recipe_of(DataType linear) {
  workload::InferencePrecision precision;
  precision.linear = precision.experts = linear;
  if (linear == DataType::fp8_block) precision.dispatch = DataType::fp8_block;
  return precision;
}

void read_precision(const ConfigNode& node, InferenceJob& job) {
  const Types linear{{"bf16", DataType::bf16},
                     {"fp8", DataType::fp8},
                     {"fp8_block", DataType::fp8_block},
                     {"mxfp8", DataType::mxfp8},
                     {"nvfp4", DataType::nvfp4}};
  Types experts = linear;
  experts.emplace_back("w4a16_mxfp4", DataType::w4a16_mxfp4);
  experts.emplace_back("w4a8_mxfp4_mxfp8", DataType::w4a8_mxfp4_mxfp8);
  experts.emplace_back("int4_wo", DataType::int4_wo);
  const Types eight{{"bf16", DataType::bf16}, {"fp8", DataType::fp8}};
  const Types wire{{"bf16", DataType::bf16}, {"fp8_block", DataType::fp8_block}};
  workload::InferencePrecision& p = job.precision;
  p = recipe_of(node.choice("recipe", linear));
  p.experts = node.choice_or("experts", experts, p.experts);
  const auto own = [&](const char* key) {
    return node.has(key) ? std::optional{node.choice(key, linear)} : std::nullopt;
  };
  p.query_key_value = own("query_key_value");
  p.output = own("output");
  p.attention = node.choice_or("attention", eight, p.attention);
  p.kv_cache = node.choice_or("kv_cache", eight, p.kv_cache);
  p.dispatch = node.choice_or("dispatch", wire, p.dispatch);
  p.combine = node.choice_or("combine", wire, p.combine);
}

void read_parallelism(const ConfigNode& node, InferenceJob& job) {
  const auto degree = [&](std::string_view key, std::int64_t otherwise) {
    return node.integer_or(key, 1, kMaxGpus, otherwise);
  };
  workload::InferenceSplit& s = job.split;
  s.tensor = degree("tensor", 1);
  s.expert = degree("expert", 1);
  // Experts of a tensor-parallel model are cut as its other matrices are.
  const bool cut = job.architecture.has_experts() && !node.has("expert");
  s.expert_tensor = degree("expert_tensor", cut ? s.tensor : 1);
  job.pipeline = static_cast<int>(degree("pipeline", 1));
}

void read_batch(const ConfigNode& node, InferenceJob& job) {
  if (job.phase == serving::Phase::decode) {
    job.sequences = node.integer("sequences", 1, kMaxSequences);
    job.context = node.integer("context", 1, kMaxTokens);
    return;
  }
  job.prompt = node.integer("prompt", 1, kMaxTokens);
  job.tokens = node.integer("tokens", 1, kMaxTokens);
  job.prefix = node.integer_or("prefix", 0, kMaxTokens, 0);
}

ExpertPath usual_path(const InferenceJob& job) {
  if (job.split.expert == 1 || job.split.attention_ranks() == 1) return ExpertPath::replicated;
  return job.phase == serving::Phase::decode ? ExpertPath::low_latency : ExpertPath::normal;
}

void read_speculation(const ConfigNode& node, InferenceJob& job) {
  if (!node.present()) return;
  job.speculation.tokens = node.integer("tokens", 1, kMaxDraft);
  job.speculation.acceptance = node.number("acceptance", 0, 1);
}

/// That of the version, where it was measured; else the one over all versions, or all eager
/// engines; of no `framework`, the middle of those that were measured.
void take_overhead(const std::string& framework, const std::string& version, InferenceJob& job) {
  static const auto overheads = calibrate::load_host_overheads(device::kFitFolder);
  const std::string named = version.empty() ? "" : framework + " " + version;
  const calibrate::HostOverhead overhead =
      framework.empty() && !job.eager
          ? calibrate::unmeasured_overhead(overheads)
          : calibrate::overhead_of(overheads, framework, named, job.eager);
  const double milliseconds =
      overhead.milliseconds * (job.eager ? static_cast<double>(job.architecture.layers) : 1);
  job.host_overhead = core::Time{std::llround(milliseconds * 1e9)};  // ms to ps
  const std::string own = calibrate::overhead_name(named, job.eager);
  job.host_overhead_of = overheads.contains(own) ? own
                         : job.eager             ? "all eager engines, by layers"
                         : framework.empty()     ? "three engines, in their middle"
                                                 : fmt::format("{}, all versions", framework);
  job.unexplained = overhead.spread;
}

/// From an engine's name to its kernels, with its own sums and host overhead where none are given.
void read_engine(const ConfigNode& node, InferenceJob& job) {
  if (!node.has("engine")) {
    if (node.has("engine_version"))
      node.fail("engine_version",
                "found without an engine; expected engine: trtllm, vllm or sglang");
    job.eager = node.boolean_or("eager", false);
    take_overhead("", "", job);
    return;
  }
  const std::string framework = node.choice<std::string>(
      "engine", {{"trtllm", "trtllm"}, {"vllm", "vllm"}, {"sglang", "sglang"}});
  if (!node.sound()) return;
  static const auto maps = calibrate::ServedMaps::load();
  calibrate::ServerKernels kernels =
      maps->served.server({.framework = framework,
                           .version = node.text_or("engine_version", ""),
                           .generation = job.device.generation,
                           .architecture = job.architecture.name,
                           .linear = job.precision.linear,
                           .experts = job.precision.experts,
                           .replicas = job.split.attention_ranks() > 1,
                           .tensor = job.split.tensor});
  job.eager = node.boolean_or("eager", kernels.eager);
  take_overhead(framework, node.text_or("engine_version", ""), job);
  job.reduce_by = calibrate::reduces_in(framework);
  job.engine = std::make_shared<calibrate::ServedEngine>(std::move(kernels), job.device, maps);
}

void read_choices(const ConfigNode& node, InferenceJob& job) {
  job.independent_choices = node.boolean_or("independent", false);
  if (job.independent_choices &&
      (job.routing.kind != workload::RoutingSpec::Kind::uniform ||
       job.routing.placement != workload::RoutingSpec::Placement::linear))
    node.fail("independent", "found true; expected false where loads are not uniform, or placed");
  else if (job.independent_choices && job.architecture.moe.groups == 1 &&
           job.routing.node_limit > 0)
    node.fail("independent",
              "found true; expected false where a node limit holds for experts without groups");
}

void read_serving(const ConfigNode& node, InferenceJob& job) {
  using core::literals::operator""_ms;
  read_engine(node, job);
  job.two_batch_overlap = node.boolean_or("two_batch_overlap", false);
  job.split.path = node.choice_or<ExpertPath>("dispatcher",
                                              {{"deepep_low_latency", ExpertPath::low_latency},
                                               {"deepep_normal", ExpertPath::normal},
                                               {"all_to_all", ExpertPath::all_to_all},
                                               {"all_reduce", ExpertPath::replicated}},
                                              usual_path(job));
  const int most = std::max(0, job.device.sm.count - 1);
  const int usual = job.split.path == ExpertPath::normal ? std::min(kDeepEpSms, most) : 0;
  job.communication_sms = static_cast<int>(node.integer_or("communication_sms", 0, most, usual));
  job.reduce_by = node.choice_or<serving::ReduceBy>("all_reduce",
                                                    {{"nccl", serving::ReduceBy::nccl},
                                                     {"vllm", serving::ReduceBy::vllm},
                                                     {"sglang", serving::ReduceBy::sglang},
                                                     {"trtllm", serving::ReduceBy::trtllm}},
                                                    job.reduce_by);
  if (node.has("host_overhead")) {
    job.host_overhead = node.quantity<core::Time>("host_overhead", core::Time{0}, 1000_ms);
    job.host_overhead_of.clear();
  }
  job.part_spread = node.number_or("part_spread", 0, 0.2, job.part_spread);
  read_speculation(node.optional_object("speculation"), job);
  job.kv_block = node.integer_or("kv_block", 1, kMaxBlock, job.kv_block);
  job.memory_utilisation = node.number_or("memory_utilisation", 0.01, 1, job.memory_utilisation);
}

/// The value at a dotted path, present or not.
ConfigNode below(ConfigNode node, std::string_view path) {
  for (std::size_t dot; (dot = path.find('.')) != std::string_view::npos;
       path.remove_prefix(dot + 1))
    node = node.at(path.substr(0, dot));
  return node.at(path);
}

}  // namespace

void read_inference(const ConfigNode& root, InferenceJob& job) {
  if (job.gpus == 0) job.device.sm.count = INT32_MAX;  // its mistakes are reported already
  read_precision(root.object("precision"), job);
  read_parallelism(root.object("parallelism"), job);
  read_batch(root.object("batch"), job);
  read_serving(root.optional_object("serving"), job);
  read_choices(root.optional_object("routing"), job);
  if (!root.sound()) return;
  for (const serving::Contradiction& c : serving::contradictions(job)) {
    const ConfigNode where = below(root, c.key);
    if (c.against.empty() || !below(root, c.against).present())
      where.fail(c.reason);
    else
      where.fail_against(below(root, c.against), c.reason);
  }
}

}  // namespace tessera::app
