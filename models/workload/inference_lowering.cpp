#include "models/workload/inference_lowering.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/workload/forward_builder.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using std::int64_t;

[[noreturn]] void outside(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::outside_model, reason);
}
[[noreturn]] void illegal(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

void check_heads(int64_t heads, int64_t kv_heads, int64_t tensor) {
  if (heads % tensor != 0)
    illegal(fmt::format("{} attention heads do not divide over {} tensor ranks", heads, tensor));
  if (kv_heads % tensor != 0 && tensor % kv_heads != 0)
    illegal(fmt::format("{} key heads neither divide over {} tensor ranks nor repeat evenly",
                        kv_heads, tensor));
}

void check_layer(const InferenceLowering::Job& job, const LayerSpec& layer) {
  const InferenceSplit& s = job.split;
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&layer.attention)) {
    check_heads(grouped->heads, grouped->kv_heads, s.tensor);
  } else {
    const auto& latent = std::get<LatentAttention>(layer.attention);
    if (latent.heads % s.tensor != 0)
      illegal(fmt::format("{} attention heads do not divide over {} tensor ranks", latent.heads,
                          s.tensor));
  }
  if (const auto* dense = std::get_if<DenseFeedForward>(&layer.feed_forward)) {
    if (dense->intermediate % s.tensor != 0)
      illegal(fmt::format("an MLP of {} does not divide over {} tensor ranks", dense->intermediate,
                          s.tensor));
    return;
  }
  const auto& moe = std::get<MixtureOfExperts>(layer.feed_forward);
  if (moe.intermediate % s.expert_tensor != 0)
    illegal(fmt::format("an expert of {} does not divide over {} expert-tensor ranks",
                        moe.intermediate, s.expert_tensor));
}

void check_split(const Architecture& a, const InferenceSplit& s) {
  if (a.has_experts() && (s.expert * s.expert_tensor) % s.tensor != 0)
    illegal(fmt::format("{} GPUs that share the experts are not a multiple of {} tensor ranks",
                        s.expert * s.expert_tensor, s.tensor));
  if (!a.has_experts() && s.expert * s.expert_tensor > 1)
    illegal(fmt::format("{} has no experts to share", a.name));
  if (s.path != ExpertPath::replicated && s.expert == 1 && s.attention_ranks() > 1)
    illegal("attention ranks of their own need expert ranks or a replicated path to experts");
}

}  // namespace

std::string to_string(ExpertPath path) {
  switch (path) {
    case ExpertPath::low_latency:
      return "deepep_low_latency";
    case ExpertPath::normal:
      return "deepep_normal";
    case ExpertPath::all_to_all:
      return "all_to_all";
    case ExpertPath::replicated:
      return "all_reduce";
  }
  return "all_reduce";
}

bool needs_cast(DataType type) { return core::activation_bits(type) < 16; }

std::vector<const Steps*> ForwardPart::lists() const {
  return {&project, &attend, &send, &shared, &received, &experts, &returning, &returned, &finish};
}

InferenceLowering::InferenceLowering(Job job) : job_(std::move(job)) {
  if (job_.architecture.vision)
    outside(fmt::format("the vision encoder of {} is not modelled in inference",
                        job_.architecture.name));
  check_split(job_.architecture, job_.split);
  for (int64_t n = 0; n < job_.architecture.layers; ++n)
    if (job_.architecture.first_like(n) == n) check_layer(job_, job_.architecture.layer(n));
}

int64_t InferenceLowering::sent_tokens() const {
  const int64_t tensor = job_.split.path == ExpertPath::replicated ? 1 : job_.split.tensor;
  return (job_.pass.tokens() + tensor - 1) / tensor;
}

ForwardPart InferenceLowering::layer(int64_t number) const {
  const LayerSpec spec = job_.architecture.layer(number);
  ForwardBuilder builder(job_, fmt::format("layer {}", number));
  builder.attention(spec.attention);
  builder.feed_forward(spec.feed_forward);
  return builder.take();
}

ForwardPart InferenceLowering::embedding() const {
  ForwardBuilder builder(job_, "embedding");
  builder.embedding();
  return builder.take();
}

ForwardPart InferenceLowering::head(int64_t rows) const {
  ForwardBuilder builder(job_, "head");
  builder.head(rows);
  return builder.take();
}

ForwardPart InferenceLowering::mtp() const {
  const LayerSpec spec = job_.architecture.mtp_layer();
  ForwardBuilder builder(job_, "mtp");
  builder.mtp_entry();
  builder.attention(spec.attention);
  builder.feed_forward(spec.feed_forward);
  return builder.take();
}

}  // namespace tessera::workload
