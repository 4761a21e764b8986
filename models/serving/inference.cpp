#include "models/serving/inference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/serving/iteration_model.hpp"
#include "models/serving/legality.hpp"
#include "models/serving/result_rows.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

double seconds(core::Time time) { return core::to_seconds(time).value(); }

/// Quantities under the names that scenarios use.
class QuantityWriter {
 public:
  QuantityWriter(const InferenceJob& job, const IterationEnsemble& ensemble,
                 InferenceResult& served)
      : job_(job), ensemble_(ensemble), served_(served) {}

  void write() {
    const auto time = [](const IterationRun& run) { return seconds(run.time); };
    const double iterations = static_cast<double>(passes_of(job_).size());
    served_.iteration = ensemble_.estimate(time, "s");
    add("iteration_time", "s", [&](const IterationRun& run) { return time(run) / iterations; });
    const double tokens = served_.tokens_per_gpu;
    add("tokens_per_second_per_gpu", "tokens/s",
        [&](const IterationRun& run) { return tokens / time(run); });
    if (job_.phase == Phase::prefill) {
      add("ttft", "s", time);
      return;
    }
    const double each = job_.speculation.tokens_per_iteration();
    const InferenceMemory memory(memory_job(job_));
    add("tpot", "s", [&](const IterationRun& run) { return time(run) / each; });
    add("tokens_per_second_per_user", "tokens/s",
        [&](const IterationRun& run) { return each / time(run); });
    counted("largest_batch", "sequences",
            static_cast<double>(memory.largest_batch(static_cast<double>(job_.context))));
  }
  void write_cache() {
    const MemoryJob memory = memory_job(job_);
    const workload::KvCache cache(job_.architecture, {.format = memory.cache,
                                                      .tensor = memory.tensor,
                                                      .block = memory.block,
                                                      .mtp = memory.mtp});
    counted("kv_cache_per_token", "B", cache.bytes_per_token());
  }

 private:
  /// What follows from shapes alone.
  void counted(const std::string& name, const std::string& unit, double value) {
    served_.result.quantities.emplace_back(
        name, core::Estimate{value, value, value, unit, core::Grade::transferred});
  }
  void add(const std::string& name, const std::string& unit,
           const std::function<double(const IterationRun&)>& of) {
    served_.result.quantities.emplace_back(name, ensemble_.estimate(of, unit));
  }

  const InferenceJob& job_;
  const IterationEnsemble& ensemble_;
  InferenceResult& served_;
};

/// New tokens of one GPU over the job's iterations.
double tokens_of(const InferenceJob& job) {
  double tokens = 0;
  for (const workload::ForwardPass& pass : passes_of(job))
    tokens += job.phase == Phase::prefill
                  ? static_cast<double>(pass.tokens())
                  : static_cast<double>(pass.sequences) * job.speculation.tokens_per_iteration();
  // GPUs that share an attention rank share its tokens, and so do all that hold other layers.
  return tokens / static_cast<double>(job.split.tensor * job.pipeline);
}

std::vector<std::string> assumptions(const InferenceJob& job) {
  std::vector<std::string> list;
  list.push_back(fmt::format(
      "An instance is {} GPUs with {} attention rank{}; instances beside it do the same.",
      job.instance_gpus(), job.split.attention_ranks(),
      job.split.attention_ranks() > 1 ? "s" : ""));
  list.push_back(
      fmt::format("Kernels are {}, one after the other; residuals are added by the norms that read "
                  "them, casts to narrower types are kernels of their own.",
                  job.eager ? "launched by the host" : "replayed from a graph"));
  if (job.engine)
    list.push_back(fmt::format(
        "Kernels of products, attention and experts that need no exchange, and what they fuse, are "
        "{}'s (calibrate/served_as.yaml).",
        job.engine->name()));
  if (job.host_overhead > core::Time{})
    list.push_back(fmt::format(
        "The host takes {:.3g} ms {}{}.", core::to_microseconds(job.host_overhead) / 1000,
        job.eager ? "to launch an iteration, which takes no less" : "of an iteration",
        job.host_overhead_of.empty()
            ? ""
            : fmt::format(", as fitted to measured servers of {}", job.host_overhead_of)));
  if (job.part_spread > 0 && job.instance_gpus() > 1)
    list.push_back(fmt::format(
        "Kernels at the power limit take as long as on the slowest of the instance's {} GPUs: "
        "{:.1f} % more than on the mean one.",
        job.instance_gpus(),
        100 * job.part_spread * streams::expected_largest(job.instance_gpus())));
  if (job.independent_choices)
    list.push_back(
        "Tokens choose experts independently of each other; the expected rows of the heaviest rank "
        "set the pace.");
  if (job.two_batch_overlap)
    list.push_back(
        "Two halves of the batch alternate as in SGLang's two-batch overlap, which follows "
        "DeepSeek's profile; layers before the first experts, embedding and head run for both.");
  if (job.architecture.has_experts())
    list.push_back(
        "The GPU with the most rows for its experts sets the pace of all. Where uniform routing "
        "leaves an expert fewer rows than one, as many experts are reached as independent choices "
        "reach on average.");
  if (job.phase == Phase::prefill && job.prefix > 0)
    list.push_back("Throughput counts new tokens; those that the cache holds already are free.");
  return list;
}

/// Sequences that an attention rank holds, and their mean length.
std::pair<std::int64_t, double> held(const InferenceJob& job) {
  if (job.phase == Phase::decode) return {job.sequences, static_cast<double>(job.context)};
  const std::int64_t fresh = std::max<std::int64_t>(1, job.prompt - job.prefix);
  return {std::max<std::int64_t>(1, job.tokens / fresh), static_cast<double>(job.prompt)};
}

}  // namespace

std::string to_string(Phase phase) { return phase == Phase::prefill ? "prefill" : "decode"; }

double Speculation::tokens_per_iteration() const {
  double sum = 1, chance = 1;
  for (std::int64_t i = 0; i < tokens; ++i) sum += chance *= acceptance;
  return sum;
}

std::vector<workload::ForwardPass> passes_of(const InferenceJob& job) {
  if (job.phase == Phase::decode)
    return {{.absorbed = true,
             .sequences = job.sequences,
             .queries = 1 + job.speculation.tokens,
             .context = std::max(job.context, 1 + job.speculation.tokens)}};
  const std::int64_t fresh = job.prompt - job.prefix;
  if (fresh <= job.tokens)
    return {{.absorbed = false,
             .sequences = job.tokens / fresh,
             .queries = fresh,
             .context = job.prompt}};
  std::vector<workload::ForwardPass> passes;
  for (std::int64_t done = 0; done < fresh; done += job.tokens) {
    const std::int64_t queries = std::min(job.tokens, fresh - done);
    passes.push_back({.absorbed = false,
                      .sequences = 1,
                      .queries = queries,
                      .context = job.prefix + done + queries});
  }
  return passes;
}

MemoryJob memory_job(const InferenceJob& job) {
  MemoryJob memory;
  memory.architecture = job.architecture;
  memory.linear = job.precision.linear;
  memory.experts = job.precision.experts;
  memory.query_key_value = job.precision.query_key_value;
  memory.output = job.precision.output;
  // A narrow cache of latents beside wider products is FlashMLA's, widened as it is read.
  const bool widened =
      job.precision.attention == core::DataType::bf16 && !job.architecture.grouped_query();
  if (job.precision.kv_cache == core::DataType::fp8)
    memory.cache = widened ? workload::CacheFormat::fp8_flashmla : workload::CacheFormat::fp8;
  memory.tensor = job.split.tensor;
  memory.expert = job.split.expert;
  memory.expert_tensor = job.split.expert_tensor;
  memory.pipeline = job.pipeline;
  memory.redundant_experts = job.routing.redundant_experts;
  if (job.split.path == workload::ExpertPath::low_latency && job.split.expert > 1)
    memory.exchange = ExchangeBuffers::deepep_low_latency;
  if (job.split.path == workload::ExpertPath::normal && job.split.expert > 1)
    memory.exchange = ExchangeBuffers::deepep_normal;
  memory.whole_shared_experts =
      job.split.path != workload::ExpertPath::replicated && job.split.gpus() > 1;
  memory.tokens_per_sequence = 1 + job.speculation.tokens;
  memory.mtp = job.speculation.tokens > 0;
  if (job.phase == Phase::prefill) {
    memory.prompt_tokens = job.tokens;
    memory.prompt_seen = held(job).first * job.prompt;
  }
  memory.block = job.kv_block;
  memory.memory_utilisation = job.memory_utilisation;
  memory.device_memory = job.device.hbm.size;
  memory.sms = job.device.sm.count;
  return memory;
}

std::vector<core::MemoryRow> memory_rows(const InferenceJob& job) {
  const auto [sequences, context] = held(job);
  const MemoryPlan plan = InferenceMemory(memory_job(job)).plan(sequences, context);
  std::vector<core::MemoryRow> rows;
  const std::string rank = std::to_string(plan.stage);
  for (const MemoryKind& kind : plan.kinds) rows.push_back({rank, kind.kind, kind.bytes});
  rows.push_back({rank, "free", static_cast<double>(job.device.hbm.size.value()) - plan.total()});
  return rows;
}

InferenceResult simulate_inference(const InferenceJob& job, gpu::KernelTimer& kernels,
                                   streams::NetworkTimer& network) {
  require_legal(job);
  if (job.must_fit) {
    const auto [sequences, context] = held(job);
    InferenceMemory(memory_job(job)).require_fit(sequences, context);
  }
  const IterationModel model(job, kernels, network);
  const IterationEnsemble ensemble = run_ensemble(model);
  InferenceResult served;
  served.tokens_per_gpu = tokens_of(job);
  served.joules_per_gpu = joules_per_gpu(model, ensemble.nominal, job.device.power.idle);
  QuantityWriter writer(job, ensemble, served);
  writer.write();
  writer.write_cache();
  served.result.memory = memory_rows(job);
  served.load = model.load();
  core::Result& result = served.result;
  result.job = to_string(job.phase);
  result.phases = phase_rows(ensemble);
  const std::vector<core::PhaseRow> bound = binding_rows(model, ensemble);
  result.binding = bound.front().phase.substr(std::string_view(core::kBoundBy).size());
  result.phases.insert(result.phases.end(), bound.begin(), bound.end());
  result.kernels = kernel_rows(model, job.device.sm.count);
  result.network = network_rows(model, ensemble.nominal);
  result.assumptions = assumptions(job);
  result.timeline = iteration_timeline(model, ensemble.nominal);
  return served;
}

}  // namespace tessera::serving
