#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <set>

#include "calibrate/probes/arithmetic_reference.hpp"
#include "calibrate/probes/chase_chain.hpp"
#include "calibrate/probes/sizes.hpp"
#include "calibrate/probes/test_pattern.hpp"

namespace tessera::calibrate::probes {

TEST_CASE("a chase visits every line once before it returns", "[probes]") {
  for (const std::int64_t lines : {2, 3, 64, 1000}) {
    const auto next = random_cycle(lines, 1);
    std::set<std::uint32_t> visited;
    std::uint32_t place = 0;
    for (std::int64_t i = 0; i < lines; ++i) {
      CHECK(visited.insert(place).second);
      place = next[place];
    }
    CHECK(place == 0);
  }
}

TEST_CASE("a chase does not go from line to neighbouring line", "[probes]") {
  const auto next = random_cycle(4096, 1);
  int neighbours = 0;
  for (std::uint32_t i = 0; i < next.size(); ++i)
    if (next[i] == i + 1 || next[i] + 1 == i) ++neighbours;
  CHECK(neighbours < 10);
}

TEST_CASE("the place after some loads is counted around the cycle", "[probes]") {
  const auto next = random_cycle(10, 1);
  CHECK(place_after(next, 0) == 0);
  CHECK(place_after(next, 1) == next[0]);
  CHECK(place_after(next, 10) == 0);
  CHECK(place_after(next, 1'000'000'000'003) == place_after(next, 3));
}

TEST_CASE("chains of arithmetic go where their instruction takes them", "[probes]") {
  // x / 2 + 1 has the fixed point 2 in both precisions; 2^-x its own; 1 / x returns after two.
  const auto number = [](Arithmetic kind, int steps) {
    return arithmetic_number(kind, arithmetic_result(kind, 3, 1, steps));
  };
  CHECK(number(Arithmetic::ffma, 60) == 2);
  CHECK(number(Arithmetic::fma_bf16x2, 60) == 1024 * 2 + 2);
  CHECK(std::abs(number(Arithmetic::ex2, 200) - 0.6411857445) < 1e-6);
  CHECK(std::abs(number(Arithmetic::rsqrt, 200) - 1) < 1e-6);
  CHECK(std::abs(number(Arithmetic::rcp, 2) - number(Arithmetic::rcp, 0)) < 1e-6);
  CHECK(number(Arithmetic::imad, 1) ==
        static_cast<std::uint32_t>(1664525U * (3 * 8 + 1 + 1) + 1013904223U));
  CHECK(number(Arithmetic::cvt_bf16x2, 1) == number(Arithmetic::cvt_bf16x2, 5));
}

TEST_CASE("chains of different threads start at different values", "[probes]") {
  for (const Arithmetic kind : kArithmeticKinds) {
    std::set<std::uint32_t> starts;
    for (int thread = 0; thread < 4; ++thread)
      for (int chain = 0; chain < 8; ++chain) starts.insert(arithmetic_start(kind, thread, chain));
    CHECK(starts.size() == 32);
  }
}

TEST_CASE("lanes of a stride read the banks that it says", "[probes]") {
  const auto banks = [](int stride) {
    std::set<unsigned> hit;
    for (unsigned lane = 0; lane < 32; ++lane) hit.insert(shared_word(lane, stride, 0) % 32);
    return hit.size();
  };
  CHECK(banks(1) == 32);
  CHECK(banks(2) == 16);
  CHECK(banks(3) == 32);
  CHECK(banks(32) == 1);
  std::uint32_t expected = 0;
  for (int load = 0; load < kSharedLoads; ++load)
    for (int word = 0; word < 2; ++word)
      expected += static_cast<std::uint32_t>(
          scrambled(0, static_cast<std::uint64_t>(5 * 4 + 32 * load + word)));
  CHECK(shared_sum(5, 4, 2, 3) == 3 * expected);
}

TEST_CASE("reads of L2 use all SMs over footprints, and some over one", "[probes]") {
  const SizeLimits limits{.l2_bytes = 50LL << 20, .memory_bytes = 80LL << 30};
  std::set<int> partial;
  for (const L2Read& read : l2_reads(limits, 132)) {
    CHECK(read.passes >= 1);
    CHECK(read.footprint_bytes % 16 == 0);
    if (read.sms != 132) partial.insert(read.sms);
  }
  CHECK(partial == std::set<int>{1, 2, 4, 8, 16, 32, 64, 128});
  CHECK(chase_footprints(limits).front() == 4096);
  CHECK(chase_footprints(limits).back() == 8 * limits.l2_bytes);
}

}  // namespace tessera::calibrate::probes
