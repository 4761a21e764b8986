#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinRel;

/// DeepSeek-V3 on GPUs with room for 512 of them to hold it.
const std::string kRun =
    "run deepseek_v3_pretrain_h800 --set batch.sequences=3840 --fidelity analytical --format json "
    "--set sensitivity=false --set parallelism.expert=32 --set ";

double step_time(const Outcome& outcome) {
  REQUIRE(outcome.exit_code == 0);
  return nlohmann::json::parse(outcome.output)["quantities"]["step_time"]["value"];
}

TEST_CASE("a folded step equals the unfolded one within 0.1 % on 512 GPUs", "[unfold]") {
  const std::string alike = kRun + "cluster=h200_sxm_512_rail";
  const Outcome folded = run_tessera(alike), unfolded = run_tessera(alike + " --unfold");
  CHECK_THAT(step_time(folded), WithinRel(step_time(unfolded), 0.001));
  CHECK_THAT(folded.output, ContainsSubstring("Network traffic is folded"));
  CHECK_THAT(unfolded.output, ContainsSubstring("Network traffic of every GPU is routed."));
}

TEST_CASE("where domains differ nothing is folded, and what is lost shows", "[unfold]") {
  const std::string alike = kRun + "cluster=h200_sxm_512_rail";
  const Outcome hashed = run_tessera(alike + " --set cluster.fabric.routing=ecmp");
  CHECK_THAT(hashed.output, ContainsSubstring("is routed, since paths follow a hash."));
  CHECK(step_time(hashed) >= step_time(run_tessera(alike)));
  const Outcome faulty =
      run_tessera(alike + " --set 'cluster.links={degraded: [{link: nic17, rate: 0.1}]}'");
  CHECK_THAT(faulty.output, ContainsSubstring("since links are degraded or down."));
  CHECK(step_time(faulty) > step_time(run_tessera(alike)));
}

}  // namespace
}  // namespace tessera::end_to_end
