#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

TEST_CASE("export-check says class, margins and what would change it", "[procurement]") {
  const std::string one = printed("export-check h20_sxm --date 2023-10-17");
  CHECK_THAT(one, StartsWith("h20_sxm on 2023-10-17: not controlled\n"));
  CHECK_THAT(one, ContainsSubstring("at least       2,400:       2,368    -1.3 %  no"));
  CHECK_THAT(one, ContainsSubstring("TPP from 2,400 (bf16 from 150.0, fp8 from 300.0 TFLOP/s): "
                                    "3A090.b"));
  CHECK_THAT(one, ContainsSubstring("Information, not legal advice"));
  CHECK_THAT(printed("export-check h20_sxm,h800_sxm --date 2023-10-17"),
             ContainsSubstring("\nh20_sxm    2,368") && ContainsSubstring("\nh800_sxm  15,831"));
  // sixteen devices by two days
  CHECK(printed_json("export-check all --date 2022-10-07,2026-01-15")["checks"].size() == 32);
}

TEST_CASE("an architect asks export-check about a chip that is not built", "[procurement]") {
  // 40 of H100's SMs: 4,797; its density on 814 mm2 is 5.89, just below 5.92
  CHECK_THAT(printed("export-check h100_sxm --date 2023-10-17 --set sm.count=40 --set "
                     "\"sm.gpc_sizes=[20,20]\""),
             StartsWith("h100_sxm on 2023-10-17: 3A090.b"));
}

TEST_CASE("mistakes of export-check are told", "[procurement]") {
  CHECK(mistake_in("export-check h20_sxm --date 2023-13-01") ==
        "tessera: error: --date: found '2023-13-01'; expected a date such as 2026-01-15\n");
  CHECK_THAT(mistake_in("export-check h2_sxm"), ContainsSubstring("did you mean 'h20_sxm'?"));
}

TEST_CASE("show price sets renting beside owning", "[procurement]") {
  const std::string h100 = printed("show price h100_sxm");
  CHECK_THAT(h100, ContainsSubstring("GPU-hour, owned         1.68    2.08"));
  CHECK_THAT(h100, ContainsSubstring("neocloud    1.69 an hour owned, -0.6 % here"));
  const auto json = printed_json("show price all --set ownership.utilisation.typical=0.9");
  CHECK(json.size() == 16);
  CHECK(json[0]["utilisation"] == 0.9);
  CHECK_THAT(mistake_in("show price h100_sxm --format svg"),
             ContainsSubstring("prices are shown as text or json"));
}

TEST_CASE("a training run can be billed as owned", "[procurement]") {
  const auto json =
      printed_json("run deepseek_v3_pretrain_h800 --fidelity analytical --set cost.kind=ownership");
  bool capital = false;
  double hour = 0;
  for (const auto& row : json["cost"]) {
    capital |= row["item"] == "cost of capital";
    if (row["item"] == "GPU-hour, owned") hour = row["amount"]["value"];
  }
  CHECK(capital);
  const double hours = json["quantities"]["gpu_hours"]["value"];
  const double dollars = json["quantities"]["dollars"]["value"];
  CHECK(dollars > 0.999 * hour * hours);
  CHECK(dollars < 1.001 * hour * hours);
}

}  // namespace
}  // namespace tessera::end_to_end
