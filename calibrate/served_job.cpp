#include "calibrate/served_job.hpp"

#include <cmath>

#include "models/workload/architecture_file.hpp"

namespace tessera::calibrate {

using core::DataType;
using serving::InferenceJob;

namespace {

workload::InferencePrecision precision_of(const ServedPrecision& p,
                                          const workload::Architecture& architecture) {
  workload::InferencePrecision precision{.linear = p.gemm, .experts = p.experts};
  precision.query_key_value = p.query_key_value;
  precision.output = p.output;
  precision.kv_cache = p.cache;
  // TensorRT-LLM's kernels, on Blackwell every engine's, multiply an FP8 latent as it is.
  if (!architecture.grouped_query()) precision.attention = p.cache;
  return precision;
}

workload::InferenceSplit split_of(const ServedLayout& layout, bool has_experts) {
  return {.tensor = layout.tensor,
          .expert = layout.expert,
          .expert_tensor = has_experts ? layout.expert_tensor : 1,
          .path = workload::ExpertPath::replicated};
}

}  // namespace

serving::ReduceBy reduces_in(const std::string& framework) {
  if (framework == "trtllm") return serving::ReduceBy::trtllm;
  return framework == "sglang" ? serving::ReduceBy::sglang : serving::ReduceBy::vllm;
}

ServedJobs served_jobs(const ServedRow& row, const device::DeviceSpec& device,
                       const std::shared_ptr<const ServedMaps>& maps) {
  const ServedCheckpoint checkpoint = maps->served.checkpoint(row, device.generation);
  InferenceJob job;
  job.name = row.model;
  job.architecture = workload::load_architecture(checkpoint.architecture);
  job.precision = precision_of(checkpoint.precision, job.architecture);
  job.routing = workload::usual_routing(job.architecture.moe);
  job.independent_choices = true;
  job.device = device;
  job.gpus = row.layout.gpus();
  job.split = split_of(row.layout, job.architecture.has_experts());
  job.reduce_by = reduces_in(row.framework);
  job.must_fit = false;
  ServerKernels server = maps->served.server({.framework = row.framework,
                                              .version = row.version,
                                              .generation = device.generation,
                                              .architecture = checkpoint.architecture,
                                              .linear = checkpoint.precision.gemm,
                                              .experts = checkpoint.precision.experts,
                                              .replicas = row.layout.attention_ranks > 1,
                                              .tensor = row.layout.tensor});
  const std::optional<ServedDrafts> drafts = server.drafts;
  job.eager = server.eager;
  ServedJobs jobs{
      .decode = job, .drafting = {}, .prefill = {}, .mixes = server.prefill_with_decode};
  jobs.decode.engine = std::make_shared<ServedEngine>(std::move(server), device, maps);
  const std::int64_t prompt = row.mean_prompt();
  jobs.decode.sequences = row.batch();
  jobs.decode.context = prompt + std::llround(row.mean_output() / 2);
  if (drafts && job.architecture.mtp_modules > 0) {
    jobs.drafting = jobs.decode;
    jobs.drafting->speculation = {.tokens = drafts->tokens, .acceptance = drafts->acceptance};
  }
  jobs.prefill = jobs.decode;
  jobs.prefill.phase = serving::Phase::prefill;
  jobs.prefill.prompt = jobs.prefill.tokens = prompt;
  return jobs;
}

}  // namespace tessera::calibrate
