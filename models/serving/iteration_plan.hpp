#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/serving/inference.hpp"
#include "models/serving/iteration_costs.hpp"
#include "models/serving/pass_loads.hpp"
#include "models/streams/lanes.hpp"
#include "models/workload/inference_lowering.hpp"
#include "models/workload/routing.hpp"

/// What one GPU runs in one iteration, in order: one batch, or two halves of it that alternate.
namespace tessera::serving {

/// A pass with everything that its parts and exchanges need.
struct LoweredPass {
  workload::ForwardPass pass;
  workload::RoutedLoad load;  ///< Empty without experts.
  std::vector<workload::ForwardPart> layers;
  std::int64_t sent_tokens = 0;  ///< That this GPU sends to experts.
};

/// Routes the pass's tokens and lowers it for the GPU whose experts get most of them. Layers that
/// compute the same are lowered once and copied. Throws core::Refusal.
[[nodiscard]] LoweredPass lower_pass(const InferenceJob& job, const workload::ForwardPass& pass,
                                     PassLoads& loads);

struct IterationPlan {
  streams::ChunkPlan chunk;
  std::vector<std::string> groups;  ///< Of every node: which operators of the model it belongs to.
  workload::RoutedLoad load;        ///< Of a layer; empty without experts.
};

/// Two halves of a pass that alternate, so that one computes while the other exchanges. As many
/// sequences each where there are two, else both halves of every sequence's queries, the later one
/// seeing the earlier one's tokens.
[[nodiscard]] std::vector<workload::ForwardPass> halves(const workload::ForwardPass& pass);

/// One iteration on the GPU whose experts get most tokens. Throws core::Refusal. With
/// `two_batch_overlap` the layers before the first mixture of experts, embedding and head run for
/// the whole batch; then stages of the halves alternate.
///
/// Low latency, a layer's stages: projections | core of attention to gate | dispatch leaves, shared
/// experts | experts, combine leaves | combine arrives; the second half runs two stages behind, so
/// that a dispatch lies beside shared experts and the other half's projections, a combine beside
/// its core attention. Otherwise: attention to gate, dispatch leaves | experts, combine leaves |
/// shared experts, combine arrives and the next layer's attention; the second half follows the
/// first at once. Source: SGLang, python/sglang/srt/batch_overlap/operations_strategy.py, which
/// follows deepseek-ai/profile-data.
[[nodiscard]] IterationPlan plan_iteration(const InferenceJob& job,
                                           const workload::ForwardPass& pass, IterationCosts& costs,
                                           PassLoads& loads);

}  // namespace tessera::serving
