#include "models/fabric/direct_reduce.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "sim/core/diagnostics.hpp"
#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using Catch::Approx;

constexpr double kMiB = 1 << 20;
constexpr BytesPerSecond kMemory{3e12};

std::vector<int> first(int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

/// Round figures for one library; the others stay at their priors.
FabricParameters round_figures() {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  p.direct[0] = {.base_us = 4,
                 .peer_us = 0.5,
                 .exchange_us = 2,
                 .one_shot_rate = 250e9,
                 .peer_rate = 200e9,
                 .two_shot_rate = 300e9,
                 .link_fraction = 0.8,
                 .ramp_us = 0,
                 .staging_us = 5,
                 .multicast_rate = 320e9,
                 .host_us = 25};
  return p;
}

double microseconds(DirectReduceModel& model, int ranks, double bytes, bool eager = false) {
  return core::to_microseconds(
      model.run({ReduceLibrary::vllm, first(ranks), Bytes{bytes}, eager}).time);
}

TEST_CASE("one shot: flags, and every peer's buffer at what the SMs have in flight",
          "[direct_reduce]") {
  const Topology topology{hopper_cluster(1)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  CHECK(microseconds(model, 2, 1e6) == Approx(4 + 1e6 / 200e9 * 1e6));
  // Six more peers' flags, seven buffers; seven peers keep more in flight than one, up to the SMs'.
  CHECK(microseconds(model, 8, 1e5) == Approx(4 + 6 * 0.5 + 7 * 1e5 / 250e9 * 1e6));
}

TEST_CASE("two shot: barriers by doublings of ranks, and 2 (n-1)/n of the buffer",
          "[direct_reduce]") {
  const Topology topology{hopper_cluster(1)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  CHECK(microseconds(model, 4, 4e6) == Approx(4 + 2 * 0.5 + 2 * 2 + 1.5 * 4e6 / 300e9 * 1e6));
}

TEST_CASE("on symmetric memory two copies come on top, and the switch reduces", "[direct_reduce]") {
  const Topology topology{hopper_cluster(1)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  const double bytes = 32 * kMiB;
  CHECK(microseconds(model, 8, bytes) ==
        Approx(4 + 6 * 0.5 + 5 + 4 * bytes / 3e12 * 1e6 + 1.125 * bytes / 320e9 * 1e6));
  // Two ranks have no use for the switch.
  CHECK(microseconds(model, 2, bytes) ==
        Approx(4 + 5 + 4 * bytes / 3e12 * 1e6 + bytes / 300e9 * 1e6));
}

TEST_CASE("a narrower link sets the pace once it is slower than the SMs", "[direct_reduce]") {
  TopologySpec spec = hopper_cluster(1);
  spec.nvlink_rate = BytesPerSecond{200e9};
  const Topology narrow{spec};
  DirectReduceModel model{narrow, round_figures(), kMemory};
  CHECK(microseconds(model, 2, 1e6) == Approx(4 + 1e6 / (0.8 * 200e9) * 1e6));
}

TEST_CASE("an eager call copies its input and is never shorter than the host", "[direct_reduce]") {
  const Topology topology{hopper_cluster(1)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  CHECK(microseconds(model, 2, 1024, true) == Approx(25));
  const double bytes = 7 * kMiB;
  CHECK(microseconds(model, 2, bytes, true) ==
        Approx(microseconds(model, 2, bytes) + 2 * bytes / 3e12 * 1e6));
}

ReduceMethod method(ReduceLibrary library, int ranks, double bytes,
                    device::Generation generation = device::Generation::hopper,
                    bool nvlink = true) {
  const bool in_switch = nvlink && generation != device::Generation::ampere;
  return choose_reduce_method({library, generation, ranks, bytes, nvlink, in_switch});
}

TEST_CASE("each library's thresholds, on both sides", "[direct_reduce]") {
  using enum ReduceMethod;
  const auto ampere = device::Generation::ampere;
  CHECK(method(ReduceLibrary::vllm, 8, kMiB / 4 - 2, ampere) == one_shot);
  CHECK(method(ReduceLibrary::vllm, 8, kMiB / 4, ampere) == two_shot);
  CHECK(method(ReduceLibrary::vllm, 4, 8 * kMiB - 2, ampere) == two_shot);
  CHECK(method(ReduceLibrary::vllm, 4, 8 * kMiB, ampere) == nccl);
  CHECK(method(ReduceLibrary::vllm, 8, kMiB / 4) == staged_multicast);
  CHECK(method(ReduceLibrary::vllm, 8, 64 * kMiB) == staged_multicast);
  CHECK(method(ReduceLibrary::vllm, 8, 64 * kMiB + 2) == nccl);
  CHECK(method(ReduceLibrary::vllm, 2, 8 * kMiB) == staged_two_shot);
  CHECK(method(ReduceLibrary::sglang, 8, 160 * 1024) == one_shot);
  CHECK(method(ReduceLibrary::sglang, 8, 160 * 1024 + 2) == two_shot);
  CHECK(method(ReduceLibrary::sglang, 2, 16 * kMiB) == one_shot);
  CHECK(method(ReduceLibrary::sglang, 2, 16 * kMiB + 2) == nccl);
  CHECK(method(ReduceLibrary::sglang, 8, 8 * kMiB, ampere) == two_shot);
  CHECK(method(ReduceLibrary::trtllm, 8, kMiB / 2 - 2) == one_shot);
  CHECK(method(ReduceLibrary::trtllm, 8, kMiB / 2) == two_shot);
  CHECK(method(ReduceLibrary::trtllm, 8, 8e6 + 2) == nccl);
}

TEST_CASE("without NVLink only two ranks have a kernel of their own", "[direct_reduce]") {
  const auto client = device::Generation::blackwell_client;
  CHECK(method(ReduceLibrary::vllm, 2, kMiB, client, false) == ReduceMethod::one_shot);
  CHECK(method(ReduceLibrary::vllm, 4, kMiB, client, false) == ReduceMethod::nccl);
  CHECK(method(ReduceLibrary::sglang, 2, kMiB, client, false) == ReduceMethod::one_shot);
  CHECK(method(ReduceLibrary::trtllm, 2, kMiB, client, false) == ReduceMethod::nccl);
}

TEST_CASE("what is left to NCCL takes NCCL's time", "[direct_reduce]") {
  const Topology topology{hopper_cluster(1)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  CollectiveModel nccl{topology, round_figures()};
  const Bytes bytes{256 * kMiB};
  CHECK(model.run({ReduceLibrary::vllm, first(8), bytes, false}).time ==
        nccl.run({.ranks = first(8), .bytes = bytes}).time);
}

TEST_CASE("ranks of several nodes are refused", "[direct_reduce]") {
  const Topology topology{hopper_cluster(2)};
  DirectReduceModel model{topology, round_figures(), kMemory};
  CHECK_THROWS_AS(model.run({ReduceLibrary::vllm, {0, 8}, Bytes{1024}, false}), core::Refusal);
  CHECK_THROWS_AS(model.run({ReduceLibrary::vllm, {0}, Bytes{1024}, false}), core::Refusal);
}

}  // namespace
}  // namespace tessera::fabric
