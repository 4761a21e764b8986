#include "models/fabric/collectives.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <numeric>

#include "sim/core/diagnostics.hpp"
#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using Catch::Matchers::WithinRel;
using core::literals::operator""_GiB;
using core::literals::operator""_KiB;

/// No latency, links at their full rate: what is left is the algorithm.
FabricParameters ideal() {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  for (auto* costs : {&p.ring, &p.tree})
    for (ProtocolCost& cost : *costs) cost = {0, 0, 0, 1, 0};
  p.ring_local_pass = 0;
  p.in_switch = {0, 0, 0, 1, 0};
  p.pairwise = p.send = {0, 0, 0, 1, 0};
  return p;
}

std::vector<int> first(int count, int stride = 1) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) ranks[static_cast<std::size_t>(i)] = i * stride;
  return ranks;
}

double seconds(const CollectiveResult& result) { return core::to_seconds(result.time).value(); }

TEST_CASE("a ring all-reduce moves 2(n-1)/n of its size over the link", "[collectives]") {
  const Topology topology{hopper_cluster(1)};
  CollectiveModel model{topology, ideal()};
  for (const int n : {2, 4, 8}) {
    const auto result = model.run({.kind = CollectiveKind::all_reduce,
                                   .ranks = first(n),
                                   .bytes = 1_GiB,
                                   .algorithm = Algorithm::ring});
    CHECK_THAT(seconds(result), WithinRel(0x1p30 * 2 * (n - 1) / n / 450e9, 0.01));
    CHECK_THAT(result.bus_bandwidth, WithinRel(450e9, 0.01));
    CHECK_THAT(result.bytes_per_rank.at(LinkClass::nvlink),
               WithinRel(0x1p30 * 2 * (n - 1) / n, 0.01));
    CHECK(result.binding == "nvlink");
  }
}

TEST_CASE("across nodes a ring uses every NIC of a node", "[collectives]") {
  const Topology topology{hopper_cluster(4)};
  CollectiveModel model{topology, ideal()};
  const auto all = model.run({.kind = CollectiveKind::all_gather,
                              .ranks = first(32),
                              .bytes = 1_GiB,
                              .algorithm = Algorithm::ring});
  // Eight rings of 50 GB/s; a node's eight GPUs pass 31/32 of the bytes each.
  CHECK_THAT(seconds(all), WithinRel(0x1p30 * 31 / 32 / 400e9, 0.01));
  CHECK(all.binding == "rdma");
  // One GPU a node: one NIC.
  const auto one = model.run({.kind = CollectiveKind::reduce_scatter,
                              .ranks = first(4, 8),
                              .bytes = 1_GiB,
                              .algorithm = Algorithm::ring});
  CHECK_THAT(seconds(one), WithinRel(0x1p30 * 3 / 4 / 50e9, 0.01));
}

TEST_CASE("groups that share NICs halve each other", "[collectives]") {
  TopologySpec spec = hopper_cluster(4);
  spec.gpus_per_nic = 2;
  spec.planes = 4;
  const Topology topology{spec};
  CollectiveModel model{topology, ideal()};
  CollectiveRequest request{.kind = CollectiveKind::all_gather,
                            .ranks = {0, 8, 16, 24},
                            .bytes = 1_GiB,
                            .algorithm = Algorithm::ring};
  const double alone = seconds(model.run(request));
  request.beside = {{1, 9, 17, 25}};  // the other GPU of each NIC
  CHECK_THAT(seconds(model.run(request)), WithinRel(2 * alone, 0.01));
  request.beside = {{2, 10, 18, 26}};  // another NIC
  CHECK_THAT(seconds(model.run(request)), WithinRel(alone, 0.01));
}

TEST_CASE("an all-to-all sends (n-1)/n of its size through the busiest link", "[collectives]") {
  const Topology node{hopper_cluster(1)};
  CollectiveModel inside{node, ideal()};
  const CollectiveRequest request{
      .kind = CollectiveKind::all_to_all, .ranks = first(8), .bytes = 1_GiB};
  CHECK_THAT(seconds(inside.run(request)), WithinRel(0x1p30 * 7 / 8 / 450e9, 0.01));
  const Topology nodes{hopper_cluster(32)};
  CollectiveModel across{nodes, ideal()};
  for (const int ranks : {64, 256}) {  // counted pair by pair, and folded to one node
    CollectiveRequest wide = request;
    wide.ranks = first(ranks);
    CHECK_THAT(core::to_microseconds(across.run(wide).time),
               WithinRel(0x1p30 * (ranks - 8) / ranks / 50e9 * 1e6, 0.01));
  }
}

TEST_CASE("a send takes the path's latency and its bytes over the NIC", "[collectives]") {
  const Topology topology{hopper_cluster(2)};
  CollectiveModel model{topology, ideal()};
  const auto result = model.run(
      {.kind = CollectiveKind::send_receive, .ranks = {0, 8}, .bytes = Bytes{50'000'000}});
  CHECK(result.time == Time{1'000'000'000} + topology.route(0, 8).latency);
  CHECK_THAT(result.bytes_per_rank.at(LinkClass::rdma), WithinRel(50e6, 1e-9));
}

TEST_CASE("NCCL takes low latency for small, rings for 8-bit, the switch for large 16-bit",
          "[collectives]") {
  const Topology topology{hopper_cluster(1)};
  CollectiveModel model{topology, prior_parameters(device::Generation::hopper)};
  CollectiveRequest request{.kind = CollectiveKind::all_reduce, .ranks = first(8), .bytes = 1_KiB};
  CHECK(model.run(request).protocol == Protocol::ll);
  request.bytes = 1_GiB;
  CHECK(model.run(request).algorithm == Algorithm::in_switch);
  request.type = core::DataType::int8;
  CHECK(model.run(request).algorithm == Algorithm::ring);
}

TEST_CASE("impossible requests are refused", "[collectives]") {
  const Topology topology{hopper_cluster(1)};
  CollectiveModel model{topology, ideal()};
  CHECK_THROWS_AS(model.run({.ranks = {0, 0}, .bytes = 1_KiB}), core::Refusal);
  CHECK_THROWS_AS(model.run({.ranks = {0, 8}, .bytes = 1_KiB}), core::Refusal);
  CHECK_THROWS_AS(model.run({.kind = CollectiveKind::all_gather,
                             .ranks = {0, 1},
                             .bytes = 1_KiB,
                             .algorithm = Algorithm::in_switch}),
                  core::Refusal);
}

TEST_CASE("1 GiB all-reduced over 2,048 GPUs meets the ring bound", "[collectives]") {
  const Topology topology{hopper_cluster(256)};
  CollectiveModel model{topology, ideal()};
  const auto result = model.run({.kind = CollectiveKind::all_reduce,
                                 .ranks = first(2048),
                                 .bytes = 1_GiB,
                                 .algorithm = Algorithm::ring});
  CHECK_THAT(seconds(result), WithinRel(0x1p30 * 2 * 2047 / 2048 / 400e9, 0.01));
}

TEST_CASE("LL pays for more channels once a rank's part outgrows one", "[collectives]") {
  const Topology topology{hopper_cluster(1)};
  FabricParameters p = ideal();
  p.ring[0].fan_out_us = 2;
  p.ring[0].fan_out_step_us = 0.5;
  CollectiveModel model{topology, p};
  // 4 KiB a rank: half way; four ranks gather in three steps. Half of LL's wire is flags elsewhere:
  // inside a node nvlink_fraction, here 1, holds that.
  const auto result =
      model.run({.kind = CollectiveKind::all_gather, .ranks = first(4), .bytes = 16_KiB});
  CHECK(result.protocol == Protocol::ll);
  CHECK_THAT(seconds(result), WithinRel((2 + 3 * 0.5) / 2 * 1e-6 + 12 * 1024 / 450e9, 0.01));
}

/// Four cards: NVLink bridges join 0 with 1 and 2 with 3, PCIe the pairs, two a socket.
TopologySpec bridged_pairs() {
  TopologySpec spec = hopper_cluster(1);
  spec.gpus_per_domain = 4;
  spec.gpus_per_nvlink = 2;
  spec.gpus_per_socket = 2;
  spec.network = NetworkKind::none;
  return spec;
}

TEST_CASE("bridged pairs: NVLink within a pair, PCIe and its shares across", "[collectives]") {
  const Topology topology{bridged_pairs()};
  FabricParameters p = ideal();
  for (ProtocolCost& cost : p.ring) {
    cost.host_share = 0.5;
    cost.socket_share = 0.8;
  }
  CollectiveModel model{topology, p};
  const auto rate = [&](std::vector<int> ranks) {
    return model
        .run({.kind = CollectiveKind::all_reduce,
              .ranks = std::move(ranks),
              .bytes = 1_GiB,
              .algorithm = Algorithm::ring})
        .bus_bandwidth;
  };
  CHECK_THAT(rate({0, 1}), WithinRel(450e9, 0.01));
  CHECK_THAT(rate({1, 2}), WithinRel(64e9 * 0.5 * 0.8, 0.01));
  CHECK_THAT(rate({0, 1, 2, 3}), WithinRel(64e9 * 0.5 * 0.8, 0.01));
}

TEST_CASE("two GPUs behind one PCIe switch share its way to the processor", "[collectives]") {
  TopologySpec spec = hopper_cluster(1);
  spec.nvlink_rate = BytesPerSecond{0};
  spec.gpus_per_nvlink = 1;
  spec.in_switch_reduction = false;
  const Topology topology{spec};
  FabricParameters p = ideal();
  p.pairwise.host_share = 1;
  CollectiveModel model{topology, p};
  const auto time = [&](int ranks) {
    return seconds(
        model.run({.kind = CollectiveKind::all_to_all, .ranks = first(ranks), .bytes = 1_GiB}));
  };
  CHECK_THAT(time(2), WithinRel(0x1p30 / 2 / 64e9, 0.01));
  // Each of two sends six of its eight parts up the one link.
  CHECK_THAT(time(8), WithinRel(0x1p30 * 2 * 6 / 8 / 64e9, 0.01));
}

}  // namespace
}  // namespace tessera::fabric
