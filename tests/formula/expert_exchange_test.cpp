#include "models/fabric/expert_exchange.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <numeric>

#include "sim/core/diagnostics.hpp"
#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

/// DeepSeek-V3 on `nodes` nodes: 256 experts, 8 of them a token, at most 4 of its 8 groups.
ExchangeRequest deepseek(int nodes) {
  ExchangeRequest request;
  request.ranks.resize(static_cast<std::size_t>(nodes) * 8);
  std::iota(request.ranks.begin(), request.ranks.end(), 0);
  request.tokens = 4096;
  request.hidden = 7168;
  request.routing = {.experts = 256, .top_k = 8, .groups = 8, .group_limit = 4};
  return request;
}

FabricParameters wires_only() {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  for (ExchangeCost* cost : {&p.dispatch, &p.combine}) {
    *cost = {};
    cost->nvlink_sm_rate = cost->forward_sm_rate = cost->rdma_sm_rate = cost->token_sm_rate = 1e15;
    cost->nvlink_fraction = cost->network_fraction = 1;
    cost->sharpness = cost->network_sharpness = 1000;  // the slowest resource alone
  }
  return p;
}

std::vector<int> domains_of(int ranks) {
  std::vector<int> domains;
  for (int r = 0; r < ranks; ++r) domains.push_back(r / 8);
  return domains;
}

TEST_CASE("tokens without a limit reach what drawing without replacement says",
          "[expert_exchange]") {
  const TokenReach reach = reach_of_tokens({.experts = 16, .top_k = 2}, domains_of(8));
  // Two of sixteen experts, two a rank: both on one rank with 1/15.
  CHECK_THAT(reach.ranks(), WithinAbs(2 - 1.0 / 15, 1e-12));
  CHECK_THAT(reach.domains(), WithinAbs(1, 1e-12));
}

TEST_CASE("a sampled gate without a binding limit agrees with the closed form",
          "[expert_exchange]") {
  TokenRouting routing{.experts = 256, .top_k = 8};
  const TokenReach exact = reach_of_tokens(routing, domains_of(64));
  routing.expert_load.assign(256, 1.0);  // equal, but takes the sampled way
  const TokenReach sampled = reach_of_tokens(routing, domains_of(64));
  CHECK_THAT(sampled.ranks(), WithinRel(exact.ranks(), 0.01));
  CHECK_THAT(sampled.domains(), WithinRel(exact.domains(), 0.01));
}

TEST_CASE("node-limited tokens reach at most four nodes", "[expert_exchange]") {
  const TokenReach limited = reach_of_tokens(deepseek(8).routing, domains_of(64));
  CHECK(limited.domains() <= 4);
  CHECK(limited.domains() > 3.5);  // 8 experts seldom miss one of four nodes
  TokenRouting open = deepseek(8).routing;
  open.group_limit = 0;
  CHECK(reach_of_tokens(open, domains_of(64)).domains() > 5);
}

TEST_CASE("uniform routing: NICs carry remote nodes, NVLink the ranks behind them",
          "[expert_exchange]") {
  const Topology topology{hopper_cluster(8)};
  ExchangeModel model{topology, wires_only()};
  const ExchangeRequest request = deepseek(8);
  const ExchangeResult result = model.run(request);
  const double bytes = 4096.0 * 7168 * (1 + 4.0 / 128);
  CHECK_THAT(result.demand.network, WithinRel(bytes * result.domains_reached * 7 / 8 / 50e9, 1e-9));
  CHECK_THAT(result.demand.nvlink, WithinRel(bytes * result.ranks_reached * 7 / 8 / 450e9, 1e-9));
  CHECK_THAT(core::to_seconds(result.time).value(), WithinRel(result.demand.network, 0.01));
  CHECK(result.binding == "rdma");
}

TEST_CASE("folded and flow by flow agree", "[expert_exchange]") {
  const Topology topology{hopper_cluster(8)};
  ExchangeModel model{topology, wires_only()};
  for (const auto direction : {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
    ExchangeRequest request = deepseek(8);
    request.direction = direction;
    CHECK_THAT(core::to_seconds(model.simulate_wires(request)).value(),
               WithinRel(core::to_seconds(model.run(request).time).value(), 0.01));
  }
}

TEST_CASE("combine in bf16 takes the bytes' ratio longer on the wires", "[expert_exchange]") {
  const Topology topology{hopper_cluster(8)};
  ExchangeModel model{topology, wires_only()};
  ExchangeRequest request = deepseek(8);
  const double dispatch = core::to_seconds(model.run(request).time).value();
  request.direction = ExchangeDirection::combine;
  request.type = core::DataType::bf16;
  CHECK_THAT(core::to_seconds(model.run(request).time).value() / dispatch,
             WithinRel(2 / (1 + 4.0 / 128), 1e-3));
}

TEST_CASE("the hottest rank sets the pace", "[expert_exchange]") {
  const Topology topology{hopper_cluster(8)};
  ExchangeModel model{topology, wires_only()};
  ExchangeRequest request = deepseek(8);
  const auto even = model.run(request);
  request.routing.expert_load.assign(256, 1.0);
  for (int e = 0; e < 4; ++e) request.routing.expert_load[static_cast<std::size_t>(e)] = 20;
  const auto skewed = model.run(request);
  CHECK(skewed.hottest_rank > 2);
  CHECK(skewed.time > even.time);
}

TEST_CASE("SMs are the limit when few are given", "[expert_exchange]") {
  const Topology topology{hopper_cluster(1)};
  ExchangeModel model{topology, prior_parameters(device::Generation::hopper)};
  ExchangeRequest request = deepseek(1);
  request.sms = 4;
  const auto few = model.run(request);
  CHECK(few.binding == "sms");
  request.sms = 8;
  CHECK(core::to_seconds(few.time).value() >
        1.7 * core::to_seconds(model.run(request).time).value());
}

TEST_CASE("low latency: SMs are free once rows are posted, written to peers and counted",
          "[expert_exchange]") {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  p.low_latency_combine.post_ns = 40;
  p.low_latency_combine.expert_ns = 10;
  p.low_latency_combine.nvlink_fraction = 0.5;
  const auto sending_of = [&](int nodes) {
    const Topology topology{hopper_cluster(nodes)};
    ExchangeRequest request = deepseek(nodes);
    request.kind = ExchangeKind::low_latency;
    request.direction = ExchangeDirection::combine;
    request.type = core::DataType::bf16;
    request.routing = {.experts = 256, .top_k = 8};
    request.tokens = 64;
    request.sms = 132;
    const ExchangeResult result = ExchangeModel{topology, p}.run(request);
    CHECK(result.sending < result.time);
    CHECK(result.sending_lower < result.sending);
    CHECK(result.sending < result.sending_upper);
    return std::pair{core::to_microseconds(result.sending), result.demand.nvlink * 1e6};
  };
  // 512 rows of which 7 in 8 leave the node: 448 posts; 256 counters.
  const auto [posted, few_in_node] = sending_of(8);
  CHECK_THAT(posted, WithinRel(448 * 0.040 + 2.56, 0.01));
  CHECK(few_in_node < 448 * 0.040);
  // In one node 448 rows of 14,336 bytes and a header pass half of 450 GB/s.
  const auto [written, in_node] = sending_of(1);
  CHECK_THAT(written, WithinRel(in_node + 2.56, 1e-6));
  CHECK_THAT(in_node, WithinRel(448 * 14336 / 225e9 * 1e6, 0.02));
}

TEST_CASE("unequal shares of a domain are refused", "[expert_exchange]") {
  const Topology topology{hopper_cluster(2)};
  ExchangeModel model{topology, wires_only()};
  ExchangeRequest request = deepseek(1);
  request.ranks = {0, 1, 2, 3, 4, 5, 6, 8};
  CHECK_THROWS_AS(model.run(request), core::Refusal);
}

}  // namespace
}  // namespace tessera::fabric
