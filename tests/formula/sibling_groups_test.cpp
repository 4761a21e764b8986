#include "models/fabric/sibling_groups.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

#include "models/fabric/collectives.hpp"
#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using Catch::Matchers::WithinRel;
using core::literals::operator""_GiB;
using Groups = std::vector<std::vector<int>>;

FabricParameters ideal() {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  for (auto* costs : {&p.ring, &p.tree})
    for (ProtocolCost& cost : *costs) cost = {0, 0, 0, 1, 0};
  p.ring_local_pass = 0;
  p.in_switch = {0, 0, 0, 1, 0};
  p.pairwise = p.send = {0, 0, 0, 1, 0};
  return p;
}

double seconds(const CollectiveResult& result) { return core::to_seconds(result.time).value(); }

TEST_CASE("siblings tile the domains of a group and share no GPU", "[sibling_groups]") {
  const Topology topology{hopper_cluster(2)};
  CHECK(sibling_groups(topology, {0, 1, 2, 3}) == Groups{{4, 5, 6, 7}});
  CHECK(sibling_groups(topology, {1, 5, 9, 13}) ==
        Groups{{2, 6, 10, 14}, {3, 7, 11, 15}, {4, 0, 12, 8}});
  CHECK(sibling_groups(topology, {0, 8}).size() == 7);
  CHECK(sibling_groups(topology, {0, 1, 2, 3, 4, 5, 6, 7}).empty());
}

TEST_CASE("data parallel groups beside each other: each has its rail, or its part of a NIC",
          "[sibling_groups]") {
  const auto time = [](int gpus_per_nic) {
    TopologySpec spec = hopper_cluster(4);
    spec.gpus_per_nic = gpus_per_nic;
    spec.planes = 8 / gpus_per_nic;
    const Topology topology{spec};
    CollectiveModel model{topology, ideal()};
    CollectiveRequest request{.kind = CollectiveKind::all_reduce,
                              .ranks = {0, 8, 16, 24},
                              .bytes = 1_GiB,
                              .algorithm = Algorithm::ring};
    request.beside = sibling_groups(topology, request.ranks);
    return seconds(model.run(request));
  };
  const double alone = 0x1p30 * 2 * 3 / 4 / 50e9;
  CHECK_THAT(time(1), WithinRel(alone, 0.01));
  CHECK_THAT(time(2), WithinRel(2 * alone, 0.01));
  CHECK_THAT(time(4), WithinRel(4 * alone, 0.01));
}

TEST_CASE("a ring shift takes as long as its slowest message", "[sibling_groups]") {
  const Topology topology{hopper_cluster(2)};
  CollectiveModel model{topology, ideal()};
  CollectiveRequest request{
      .kind = CollectiveKind::ring_shift, .ranks = {0, 1, 2, 3}, .bytes = 1_GiB};
  CHECK_THAT(seconds(model.run(request)), WithinRel(0x1p30 / 450e9, 0.01));
  request.ranks = {0, 1, 2, 3, 8, 9, 10, 11};  // 3 -> 8 and 11 -> 0 cross
  CHECK_THAT(seconds(model.run(request)), WithinRel(0x1p30 / 50e9, 0.01));
  CHECK_THAT(model.run(request).bytes_per_rank.at(LinkClass::rdma),
             WithinRel(0x1p30 * 2 / 8, 1e-9));
}

}  // namespace
}  // namespace tessera::fabric
