#include "sim/app/fabric_network.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "models/device/cluster_file.hpp"

namespace tessera::app {
namespace {

TEST_CASE("a limit on nodes limits what a model without groups sends over the network",
          "[network]") {
  const workload::MixtureOfExperts moe{.experts = 384, .top_k = 8, .intermediate = 2048};
  const workload::RoutingSpec routing{.node_limit = 1};
  const device::ClusterSpec cluster = device::load_cluster("h800_2048_multiplane");
  FabricNetworkTimer network{cluster, moe, routing};
  constexpr std::int64_t kTokens = 4096, kHidden = 7168, kRanks = 32;
  const workload::RoutedLoad load = workload::route(moe, routing, kTokens, kRanks, 8);
  streams::ExpertExchange combine{.direction = workload::Exchange::Direction::combine,
                                  .tokens_per_rank = kTokens,
                                  .hidden = kHidden,
                                  .load = &load,
                                  .sms = 20};
  combine.gpus.resize(kRanks);
  std::iota(combine.gpus.begin(), combine.gpus.end(), 0);
  // A token's one node is another one for three of four tokens.
  CHECK(network.exchange(combine).rdma_bytes ==
        Catch::Approx(0.75 * kTokens * kHidden * 2).epsilon(0.01));
}

}  // namespace
}  // namespace tessera::app
