#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

constexpr const char* kPools = "run deepseek_v3_disaggregated_h800 --fidelity analytical";

nlohmann::json quantities(const std::string& command) {
  return printed_json(command)["quantities"];
}

double value(const nlohmann::json& quantities, const char* name) {
  return quantities[name]["value"].get<double>();
}

TEST_CASE("two pools balance what each of them takes for a request", "[disaggregation]") {
  const auto pools = quantities(kPools);
  const auto prefill = quantities("run deepseek_v3_prefill_h800 --fidelity analytical");
  // The mean context of a request under way: 4096 + 1024 / 2.
  const auto decode =
      quantities("run deepseek_v3_decode_pool_h800 --fidelity analytical --set batch.context=4608");
  const double p = value(prefill, "tokens_per_second_per_gpu");
  const double d = value(decode, "tokens_per_second_per_gpu");
  CHECK(value(pools, "prefill_gpus_per_decode_gpu") == Approx((4096 / p) / (1023 / d)));
  const double waiting = value(pools, "prefill_gpus") * p / 4096;
  const double serving = value(pools, "decode_gpus") * d / 1023;
  CHECK(value(pools, "requests_per_second") == Approx(std::min(waiting, serving)));
  CHECK(value(pools, "ttft") ==
        Approx(value(prefill, "ttft") + value(pools, "kv_transfer_exposed")));
  CHECK(value(pools, "tpot") == Approx(value(decode, "tpot")));
  // 61 layers and what an MTP module that drafts adds, of 1,152 bytes a token; four prompts of an
  // iteration leave a GPU over 400 Gb/s.
  const double bytes = value(decode, "kv_cache_per_token") * 4096;
  CHECK(bytes >= 61.0 * 1152 * 4096);
  CHECK(value(pools, "kv_transfer_bytes") == bytes);
  CHECK(value(pools, "kv_transfer_time") > 4 * bytes / 50e9);
  CHECK(value(pools, "kv_transfer_exposed") < value(pools, "kv_transfer_time") / 50);
}

TEST_CASE("the result says what both pools were", "[disaggregation]") {
  const auto pools = printed_json(
      std::string(kPools) + " --set disaggregation.decode.batch.sequences=96")["scenario"]["pools"];
  CHECK(pools["prefill"]["batch"]["tokens"]["value"] == 16384);
  CHECK(pools["prefill"]["batch"]["prompt"]["value"] == 4096);
  CHECK(pools["decode"]["batch"]["sequences"]["value"] == 96);
  CHECK(pools["decode"]["batch"]["context"]["value"] == 4096 + 512);
}

TEST_CASE("a cache that leaves after the prefill is waited for", "[disaggregation]") {
  const auto pools =
      quantities(std::string(kPools) + " --set disaggregation.transfer=after_prefill");
  CHECK(value(pools, "kv_transfer_exposed") == value(pools, "kv_transfer_time"));
}

TEST_CASE("too few GPUs for an instance of each pool are refused", "[disaggregation]") {
  const Outcome run = run_tessera(std::string(kPools) + " --set disaggregation.gpus=100");
  CHECK(run.exit_code == 1);
  CHECK_THAT(run.errors,
             ContainsSubstring("100 GPUs hold no prefill instance of 32 beside a decode instance "
                               "of 128; expected at least 160"));
}

TEST_CASE("a decode pool that one cluster cannot keep busy waits", "[disaggregation]") {
  const auto pools = quantities(std::string(kPools) + " --set disaggregation.output=8");
  CHECK(value(pools, "prefill_gpus") + value(pools, "decode_gpus") == 2048);
  CHECK(value(pools, "decode_busy") < 0.5);
  CHECK(value(pools, "prefill_busy") == 1);
}

TEST_CASE("a pool that does not fit is named after the kind of refusal", "[disaggregation]") {
  CHECK_THAT(
      refusal_of(std::string(kPools) + " --set disaggregation.decode.batch.sequences=100000"),
      ContainsSubstring("(does_not_fit: decode: 100000 sequences"));
}

TEST_CASE("a sweep of two pools gives what runs of them give", "[disaggregation][sweep]") {
  const testing::TemporaryFolder folder;
  folder.write("pools.yaml", R"(job: study
base: deepseek_v3_disaggregated_h800
axes:
  - grid:
      disaggregation.output: [8, 1024]
      disaggregation.decode.cluster: [h800_2048_multiplane, h20_2048_multiplane]
objective: requests_per_second
slo: {ttft: 3 s}
)");
  const Outcome swept =
      run_tessera("sweep " + folder.at("pools.yaml").string() + " --store " +
                  folder.at("s.sqlite").string() + " --out " + folder.at("out").string());
  INFO(swept.errors);
  REQUIRE(swept.exit_code == 0);
  const auto json = nlohmann::json::parse(testing::bytes_of(folder.at("out") / "result.json"));
  const auto& points = json["points"];
  REQUIRE(points.size() == 4);
  const auto run = quantities(std::string(kPools) + " --set disaggregation.output=8");
  const auto& first = points[0]["quantities"];
  CHECK(value(first, "requests_per_second") == value(run, "requests_per_second"));
  CHECK(value(first, "ttft") == value(run, "ttft"));
  // The most requests are the best, and each pool has its own binding and bill.
  double most = 0;
  for (const auto& point : points)
    most = std::max(most, value(point["quantities"], "requests_per_second"));
  const auto& best = points[json["best"][0]["number"].get<std::size_t>()];
  CHECK(value(best["quantities"], "requests_per_second") == most);
  CHECK_THAT(best["facts"]["binding"].get<std::string>(),
             ContainsSubstring("prefill ") && ContainsSubstring(", decode "));
  CHECK(points[1]["facts"]["device"] == "h800_sxm and h20_sxm");
  CHECK_THAT(testing::bytes_of(folder.at("out") / "study.html"),
             ContainsSubstring("prefill: attention core"));
}

TEST_CASE("caches that the network cannot carry are refused", "[disaggregation]") {
  const std::string reason =
      refusal_of(std::string(kPools) +
                 " --set disaggregation.output=2 --set disaggregation.prefill.batch.prefix=4000 "
                 "--set disaggregation.prefill.batch.tokens=960");
  CHECK_THAT(reason, ContainsSubstring("saturated: "));
  CHECK_THAT(reason, ContainsSubstring("prefill and 128 decode GPUs carry"));
}

}  // namespace
}  // namespace tessera::end_to_end
