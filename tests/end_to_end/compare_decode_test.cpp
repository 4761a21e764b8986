#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

const std::string kCompare = "compare deepseek_v3_decode_h800 --fidelity analytical --no-cache ";

/// Lines that begin with a word.
std::string line_of(const std::string& text, const std::string& word, std::size_t from = 0) {
  const std::size_t at = text.find("\n" + word + " ", from);
  return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

}  // namespace

TEST_CASE("decode is compared at the largest batch within the limits", "[compare]") {
  const testing::TemporaryFolder folder;
  const auto out = folder.at("out");
  const Outcome run =
      run_tessera(kCompare + "--clusters h800_2048_multiplane,h20_2048_multiplane " +
                  "--slo tpot=50ms --slo tpot=25ms --out " + out.string());
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK_FALSE(line_of(run.output, "h800_2048_multiplane").empty());
  CHECK(run.output.find("gives the most tokens a second and GPU") != std::string::npos);
  CHECK(run.output.find("for sure") != std::string::npos);
  const auto json = nlohmann::json::parse(testing::bytes_of(out / "result.json"));
  CHECK(json.at("kind") == "comparison");
  CHECK_FALSE(json.at("front").at("points").empty());
  // The page explains what the chosen points cost.
  const std::string page = testing::bytes_of(out / "study.html");
  CHECK(page.find("Cost of the best points") != std::string::npos);
  CHECK(page.find("What the answer rests on") != std::string::npos);
  // What the table shows is the largest batch of all that were tried that keeps the limit, and the
  // next larger one was tried and does not keep it.
  std::map<int, double> tpot;
  for (const auto& point : json.at("points"))
    if (point.at("name") == "h800_2048_multiplane" && point.contains("quantities"))
      tpot[std::stoi(point.at("settings").at("batch.sequences").get<std::string>())] =
          point.at("quantities").at("tpot").at("value");
  REQUIRE(tpot.size() > 4);
  int best = 0;
  for (const auto& [batch, seconds] : tpot)
    if (seconds <= 0.050) best = batch;
  std::istringstream row(line_of(run.output, "h800_2048_multiplane"));
  std::string name;
  int shown = 0;
  row >> name >> shown;
  CHECK(shown == best);
  const auto next = tpot.upper_bound(best);
  if (next != tpot.end()) CHECK(next->first == best + 1);
}

TEST_CASE("what binds a point is what bounds most of its iteration", "[compare]") {
  const auto json = printed_json(kCompare + "--clusters b200_2048_multiplane");
  const auto run = printed_json("run deepseek_v3_decode_b200 --fidelity analytical --no-cache");
  CHECK(json.at("points").size() > 4);
  std::string most;
  double longest = 0;
  for (const auto& phase : run.at("phases")) {
    const std::string name = phase.at("phase");
    const double seconds = phase.at("time").at("value");
    if (!name.starts_with("bound by ") || seconds <= longest) continue;
    longest = seconds;
    most = name.substr(9);
  }
  std::size_t compared = 0;
  for (const auto& point : json.at("points")) {
    if (point.at("settings").at("batch.sequences") != "128") continue;
    ++compared;
    CHECK(point.at("facts").at("binding").get<std::string>().starts_with(most + " "));
  }
  CHECK(compared == 1);
}

TEST_CASE("a cluster that cannot keep the limits is listed with the reason", "[compare]") {
  const Outcome run = run_tessera(kCompare + "--slo tpot=1ms");
  CHECK(
      run.output.find("h800_2048_multiplane: not even 2 sequences a rank keep the limits: tpot") !=
      std::string::npos);
  CHECK(run.output.find(" ms\n") != std::string::npos);  // as the limit is written
  CHECK(run.output.find("no cluster answers") != std::string::npos);
}

TEST_CASE("wrong limits and clusters are named", "[compare]") {
  const auto errors = [](const std::string& more) { return mistake_in(kCompare + more); };
  CHECK(errors("--slo tpot").find("expected quantity=limit, as tpot=50ms") != std::string::npos);
  CHECK(errors("--slo tpot=50GB").find("found '50GB'; expected a number above 0 in s, ms or us") !=
        std::string::npos);
  CHECK(errors("--slo tpott=50ms").find("did you mean 'tpot'?") != std::string::npos);
  CHECK(errors("--clusters h9000_8 --slo tpot=50ms").find("h9000_8") != std::string::npos);
  const Outcome training =
      run_tessera("compare qwen3_30b_a3b_h100 --fidelity analytical --slo tpot=50ms");
  CHECK(training.exit_code == 2);
}

TEST_CASE("all devices of a comparison are priced alike unless it is said otherwise", "[compare]") {
  const std::string both =
      kCompare + "--clusters h800_2048_multiplane,h200_2048_multiplane --slo tpot=50ms ";
  const Outcome listed = run_tessera(both);
  CHECK(listed.output.find("h800_sxm 2.00 (1.70 to 3.42), 2025-02; h200_sxm 3.50 (2.25 to 7.00)") !=
        std::string::npos);
  CHECK(listed.output.find("states a rent of 2.00 USD/GPU/h for its own cluster, which is not") !=
        std::string::npos);
  const Outcome stated = run_tessera(both + "--price stated");
  CHECK(stated.output.find("h800_sxm 2.00, the scenario; h200_sxm 3.50 (2.25 to 7.00)") !=
        std::string::npos);
  CHECK(stated.output.find("is not taken") == std::string::npos);
  const Outcome owned = run_tessera(both + "--set cost.kind=ownership");
  CHECK(owned.output.find("Owned servers in USD/GPU, with their ranges and dates: h800_sxm "
                          "33800.00 (28750.00 to 44750.00), 2025-02; h200_sxm") !=
        std::string::npos);
  const auto json = printed_json(both + "--price 'h200_sxm=1.5 USD/GPU/h'");
  CHECK(json.at("best").size() == 2);
  for (const auto& point : json.at("points")) {
    if (point.at("name") != "h200_2048_multiplane" || !point.contains("quantities")) continue;
    const auto& quantities = point.at("quantities");
    const double rate = quantities.at("tokens_per_second_per_gpu").at("value");
    const double dollars = quantities.at("dollars_per_million_tokens").at("value");
    CHECK(std::abs(dollars * rate * 3600e-6 / 1.5 - 1) < 1e-9);
  }
}

TEST_CASE("wrong prices are named", "[compare]") {
  const auto errors = [](const std::string& more) { return mistake_in(kCompare + more); };
  CHECK(errors("--price 2")
            .find("expected stated, or a device's rent from 0.001 to 1000 "
                  "USD/GPU/h, as 'h800_sxm=2 USD/GPU/h'") != std::string::npos);
  CHECK(errors("--price h800_sxm=2").find("found 'h800_sxm=2'") != std::string::npos);
  CHECK(errors("--price 'h80_sxm=2 USD/GPU/h'").find("found 'h80_sxm'") != std::string::npos);
  CHECK(errors("--set cost.kind=ownership --price 'h800_sxm=2 USD/GPU/h'")
            .find("found a rent of h800_sxm, whose GPUs are owned") != std::string::npos);
  CHECK(errors("--set 'cost.rental=3 USD/GPU/h'")
            .find("found cost.rental, which prices one cluster only") != std::string::npos);
}

}  // namespace tessera::end_to_end
