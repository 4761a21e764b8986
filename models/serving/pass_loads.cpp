#include "models/serving/pass_loads.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <tuple>

#include "models/workload/uniform_draw.hpp"

namespace tessera::serving {
namespace {

using workload::ExpertPath;
using workload::RoutedLoad;

/// Where tokens of uniform routing go is the same for any number of them, and dear to sample; runs
/// of one process share it. Rows follow from expectations (expert_rows); these are as many for
/// every expert.
RoutedLoad uniform_load(const InferenceJob& job, std::int64_t of_node) {
  const workload::MixtureOfExperts& moe = job.architecture.moe;
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::int64_t, std::uint64_t>;
  static std::mutex mutex;
  static std::map<Key, RoutedLoad> known;
  const std::lock_guard lock(mutex);
  const Key key{moe.experts,      moe.top_k, moe.groups,      job.routing.node_limit,
                job.split.expert, of_node,   job.routing.seed};
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  const RoutedLoad load = workload::route(moe, job.routing, moe.experts, job.split.expert, of_node);
  return known.emplace(key, load).first->second;
}

RoutedLoad routed(const InferenceJob& job, std::int64_t sent) {
  const workload::InferenceSplit& s = job.split;
  // Nodes hold as many ranks each; a group smaller than a node is one.
  const std::int64_t of_node =
      std::gcd(s.expert, std::max<std::int64_t>(1, job.gpus_per_node / s.expert_tensor));
  if (job.routing.kind == workload::RoutingSpec::Kind::uniform &&
      job.routing.placement == workload::RoutingSpec::Placement::linear)
    return uniform_load(job, of_node);
  // Ranks of experts get what all their expert-tensor ranks send. Where tokens are everywhere, each
  // rank stands for its share of all attention ranks' tokens, at least one.
  std::int64_t each = sent * s.expert_tensor;
  if (s.path == ExpertPath::replicated)
    each = std::max<std::int64_t>(1, (sent * s.attention_ranks() + s.expert - 1) / s.expert);
  return workload::route(job.architecture.moe, job.routing, each, s.expert, of_node);
}

/// Of the heaviest rank when every token chooses its experts by itself, expected.
std::vector<std::int64_t> independent_rows(const InferenceJob& job,
                                           const workload::ForwardPass& pass) {
  constexpr int kDraws = 64;  // the mean is known to an eighth of a draw's spread
  const workload::MixtureOfExperts& moe = job.architecture.moe;
  const workload::UniformDraw draw{.tokens = pass.tokens() * job.split.attention_ranks(),
                                   .top_k = moe.top_k,
                                   .experts = moe.experts,
                                   .ranks = job.split.expert,
                                   .groups = moe.groups,
                                   .group_limit = std::min(job.routing.node_limit, moe.groups)};
  static std::mutex mutex;
  static std::map<workload::UniformDraw, std::vector<std::int64_t>> known;
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = known.try_emplace(draw);
  if (is_new) found->second = workload::mean_of(draw_uniform_ranks(draw, kDraws)).rows;
  return found->second;
}

}  // namespace

std::vector<std::int64_t> expert_rows(const workload::MixtureOfExperts& moe, const RoutedLoad& load,
                                      bool uniform, double tokens_of_all) {
  std::vector<std::int64_t> rows = load.rows_on(load.hottest_rank);
  if (!uniform) return rows;
  const auto experts = static_cast<double>(moe.experts);
  const auto local = static_cast<double>(rows.size());
  const double top_k = static_cast<double>(moe.top_k);
  const double hit = 1 - std::pow(1 - top_k / experts, tokens_of_all);
  const auto slots = static_cast<double>(load.rows.size());
  const double total = tokens_of_all * top_k / slots * local;
  const auto reached = std::clamp<std::int64_t>(std::llround(local * hit), 1,
                                                static_cast<std::int64_t>(rows.size()));
  const auto whole = std::max<std::int64_t>(reached, std::llround(total));
  std::fill(rows.begin(), rows.end(), 0);
  for (std::int64_t i = 0; i < reached; ++i)
    rows[static_cast<std::size_t>(i)] = whole / reached + (i < whole % reached ? 1 : 0);
  return rows;
}

const RoutedLoad& PassLoads::of(std::int64_t sent) {
  const auto found = loads_.find(sent);
  if (found != loads_.end()) return found->second;
  return loads_.emplace(sent, routed(job_, sent)).first->second;
}

std::vector<std::int64_t> PassLoads::hottest_rows(const workload::ForwardPass& pass,
                                                  std::int64_t sent) {
  if (job_.independent_choices) return independent_rows(job_, pass);
  return expert_rows(job_.architecture.moe, of(sent),
                     job_.routing.kind == workload::RoutingSpec::Kind::uniform,
                     static_cast<double>(pass.tokens() * job_.split.attention_ranks()));
}

}  // namespace tessera::serving
