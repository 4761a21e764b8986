#include "models/serving/legality.hpp"

#include <fmt/format.h>

#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using workload::ExpertPath;

/// The largest degree up to `wanted` that divides `whole`.
std::int64_t nearest_divisor(std::int64_t whole, std::int64_t wanted) {
  std::int64_t best = 1;
  for (std::int64_t d = 1; d <= wanted && d <= whole; ++d)
    if (whole % d == 0) best = d;
  return best;
}

class Finder {
 public:
  explicit Finder(const InferenceJob& job) : job_(job) {}

  std::vector<Contradiction> all() {
    precision();
    split();
    batch();
    overlap();
    dispatcher();
    speculation();
    return std::move(found_);
  }

 private:
  void add(std::string key, std::string against, std::string reason) {
    found_.push_back({std::move(key), std::move(against), std::move(reason)});
  }

  void precision() {
    const workload::InferencePrecision& p = job_.precision;
    if (job_.phase == Phase::decode && p.attention == core::DataType::fp8 &&
        p.kv_cache != core::DataType::fp8)
      add("precision.attention", "precision.kv_cache",
          fmt::format("found fp8; expected {}, as decode multiplies what the cache holds",
                      core::to_string(p.kv_cache)));
  }

  void split() {
    const workload::InferenceSplit& s = job_.split;
    const std::int64_t heads = job_.architecture.heads();
    if (heads % s.tensor != 0)
      add("parallelism.tensor", "architecture",
          fmt::format("found {}; expected a divisor of the {} attention heads, for example {}",
                      s.tensor, heads, nearest_divisor(heads, s.tensor)));
    const workload::MixtureOfExperts& moe = job_.architecture.moe;
    if (moe.experts == 0 && s.expert * s.expert_tensor > 1)
      add("parallelism.expert", "architecture",
          fmt::format("found {}; expected 1, as {} has no experts", s.expert * s.expert_tensor,
                      job_.architecture.name));
    const std::int64_t slots = moe.experts + job_.routing.redundant_experts;
    if (moe.experts > 0 && slots % s.expert != 0)
      add("parallelism.expert", "architecture",
          fmt::format("found {}; expected a divisor of the {} experts{}, for example {}", s.expert,
                      slots, slots > moe.experts ? ", redundant ones included" : "",
                      nearest_divisor(slots, s.expert)));
    if (moe.experts > 0 && (s.expert * s.expert_tensor) % s.tensor != 0)
      add("parallelism.tensor", "parallelism.expert",
          fmt::format("found {}; expected a divisor of the {} GPUs that share the experts",
                      s.tensor, s.expert * s.expert_tensor));
    if (job_.gpus > 0 && job_.instance_gpus() > job_.gpus)
      add(moe.experts > 0 ? "parallelism.expert" : "parallelism.tensor", "cluster",
          fmt::format("an instance of {} GPUs does not fit the cluster's {}", job_.instance_gpus(),
                      job_.gpus));
  }

  void batch() {
    if (job_.phase == Phase::decode) return;
    if (job_.prefix >= job_.prompt) {
      add("batch.prefix", "batch.prompt",
          fmt::format("found {}; expected fewer than the {} tokens of the prompt", job_.prefix,
                      job_.prompt));
      return;
    }
    const std::int64_t fresh = job_.prompt - job_.prefix;
    if (fresh <= job_.tokens && job_.tokens % fresh != 0)
      add("batch.tokens", "batch.prompt",
          fmt::format("found {}; expected whole prompts of {} new tokens, for example {}",
                      job_.tokens, fresh, job_.tokens / fresh * fresh));
  }

  void overlap() {
    if (!job_.two_batch_overlap) return;
    if (!job_.architecture.has_experts() || job_.split.path == ExpertPath::replicated ||
        job_.split.expert == 1)
      add("serving.two_batch_overlap", "parallelism.expert",
          "found true; expected false where no expert ranks exchange tokens");
    if (job_.phase == Phase::decode && job_.sequences < 2)
      add("serving.two_batch_overlap", "batch.sequences",
          "found true; expected at least 2 sequences to make two batches of");
  }

  void dispatcher() {
    const workload::InferenceSplit& s = job_.split;
    if (!job_.architecture.has_experts() || s.gpus() == 1) return;
    const std::string path = workload::to_string(s.path);
    if (s.path != ExpertPath::replicated && s.expert == 1)
      add("serving.dispatcher", "parallelism.expert",
          fmt::format("found {}; expected {} where no expert ranks exchange tokens", path,
                      workload::to_string(ExpertPath::replicated)));
    const bool takes = s.path == ExpertPath::normal;
    if (takes != (job_.communication_sms > 0))
      add("serving.communication_sms", "serving.dispatcher",
          fmt::format("found {}; expected {}, as exchanges of {} take {}", job_.communication_sms,
                      takes ? "at least 1" : "0", path, takes ? "SMs" : "none"));
  }

  void speculation() {
    if (job_.speculation.tokens == 0) return;
    if (job_.phase == Phase::prefill)
      add("serving.speculation", "job", "found in a prefill; expected in a decode");
    else if (job_.architecture.mtp_modules == 0)
      add("serving.speculation", "architecture",
          fmt::format("{} has no module that predicts several tokens", job_.architecture.name));
  }

  const InferenceJob& job_;
  std::vector<Contradiction> found_;
};

}  // namespace

std::vector<Contradiction> contradictions(const InferenceJob& job) { return Finder{job}.all(); }

void require_legal(const InferenceJob& job) {
  if (job.pipeline > 1)
    throw core::Refusal(core::RefusalKind::outside_model,
                        "pipeline parallelism of inference is not modelled; expected pipeline: 1");
  const std::vector<Contradiction> found = contradictions(job);
  if (!found.empty())
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        found.front().key + ": " + found.front().reason);
}

}  // namespace tessera::serving
