#include "models/serving/disaggregation.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using Catch::Approx;
using core::Time;
using namespace core::literals;

PoolRate pool(std::int64_t gpus, double rate) {
  return {gpus, {rate, rate / 1.1, rate * 1.1, "tokens/s", core::Grade::fitted}};
}

TEST_CASE("a cache sent after the prefill is exposed as a whole", "[disaggregation]") {
  const CacheTransfer transfer{.layer = 100_us, .whole = 6_ms, .layers = 61};
  CHECK(exposed_transfer(transfer, 500_ms, TransferOverlap::after_prefill) == 6_ms);
}

TEST_CASE("a cache sent layer by layer leaves its last layer, and what layers cannot hide",
          "[disaggregation]") {
  const CacheTransfer transfer{.layer = 100_us, .whole = 6_ms, .layers = 60};
  // A layer takes 1 ms: every send but the last is hidden.
  CHECK(exposed_transfer(transfer, 60_ms, TransferOverlap::layer_wise) == 100_us);
  // A layer takes 40 us: 60 sends end to end begin 40 us after the start.
  const Time end = 40_us + 60 * 100_us;
  CHECK(exposed_transfer(transfer, 60 * 40_us, TransferOverlap::layer_wise) == end - 60 * 40_us);
}

TEST_CASE("sends layer by layer never end later than one send after the prefill of as many bytes",
          "[disaggregation]") {
  for (const Time prefill : {1_us, 1_ms, 1_s}) {
    const CacheTransfer transfer{.layer = 100_us, .whole = 61 * 100_us, .layers = 61};
    CHECK(exposed_transfer(transfer, prefill, TransferOverlap::layer_wise) <= transfer.whole);
  }
}

TEST_CASE("pools balance where both take as long for a request", "[disaggregation]") {
  // 4,096 new tokens at 8,192 a second and GPU: 0.5 GPU-seconds; 1,024 decoded at 2,048: 0.5.
  const RequestShape request{.new_prompt_tokens = 4096, .output_tokens = 1025};
  const core::Estimate even = balancing_ratio(pool(32, 8192), pool(128, 2048), request);
  CHECK(even.value == Approx(1.0));
  CHECK(even.upper == Approx(std::exp(std::sqrt(2.0) * std::log(1.1))));
  CHECK(even.lower == Approx(1 / even.upper));
  // Twice as fast a prefill needs half of the GPUs.
  CHECK(balancing_ratio(pool(32, 16'384), pool(128, 2048), request).value == Approx(0.5));
}

/// One cluster for both pools.
PoolRoom shared(std::int64_t gpus) { return {gpus, gpus, gpus}; }

TEST_CASE("whole instances share out the GPUs", "[disaggregation]") {
  const RequestShape request{.new_prompt_tokens = 4096, .output_tokens = 1025};
  // An instance of 32 prefills 64 requests a second, one of 128 decodes 256: four to one.
  const PoolSizes sizes = size_pools(pool(32, 8192), pool(128, 2048), request, shared(256));
  CHECK(sizes.prefill_instances == 4);
  CHECK(sizes.decode_instances == 1);
  CHECK(sizes.requests_per_second == Approx(256));
  CHECK(sizes.prefill_busy == Approx(1));
  CHECK(sizes.decode_busy == Approx(1));
  // With 64 GPUs left over nothing is gained, so they stay free.
  CHECK(size_pools(pool(32, 8192), pool(128, 2048), request, shared(320))
            .gpus(pool(32, 8192), pool(128, 2048)) == 256);
  CHECK_THROWS_AS(size_pools(pool(32, 8192), pool(128, 2048), request, shared(159)), core::Refusal);
  CHECK(size_pools(pool(32, 8192), pool(128, 2048), request, shared(160)).prefill_binds);
}

TEST_CASE("each pool stays within its own cluster", "[disaggregation]") {
  const RequestShape request{.new_prompt_tokens = 4096, .output_tokens = 1025};
  // Four prefill instances would keep a decode instance busy; a cluster of 96 GPUs holds three.
  const PoolSizes prefill_bound =
      size_pools(pool(32, 8192), pool(128, 2048), request, {96, 2048, 2048 + 96});
  CHECK(prefill_bound.prefill_instances == 3);
  CHECK(prefill_bound.decode_instances == 1);
  CHECK(prefill_bound.decode_busy == Approx(0.75));
  const PoolSizes decode_bound =
      size_pools(pool(32, 8192), pool(128, 2048), request, {2048, 300, 2048 + 300});
  CHECK(decode_bound.decode_instances == 2);
  CHECK(decode_bound.prefill_instances == 8);
  CHECK_THROWS_AS(size_pools(pool(32, 8192), pool(128, 2048), request, {16, 2048, 2064}),
                  core::Refusal);
}

TEST_CASE("more GPUs never serve fewer requests", "[disaggregation]") {
  const RequestShape request{.new_prompt_tokens = 3000, .output_tokens = 700};
  double before = 0;
  for (std::int64_t gpus = 160; gpus <= 2048; gpus += 16) {
    const double now =
        size_pools(pool(32, 7000), pool(128, 2300), request, shared(gpus)).requests_per_second;
    CHECK(now >= before);
    before = now;
  }
}

}  // namespace
}  // namespace tessera::serving
