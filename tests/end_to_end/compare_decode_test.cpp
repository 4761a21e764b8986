#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

namespace fs = std::filesystem;

const std::string kCompare = "compare deepseek_v3_decode_h800 --fidelity analytical --no-cache ";

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// Lines that begin with a word.
std::string line_of(const std::string& text, const std::string& word, std::size_t from = 0) {
  const std::size_t at = text.find("\n" + word + " ", from);
  return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

}  // namespace

TEST_CASE("decode is compared at the largest batch within the limits", "[compare]") {
  std::string folder = (fs::temp_directory_path() / "tessera_XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const fs::path out = fs::path(folder) / "out";
  const Outcome run =
      run_tessera(kCompare + "--clusters h800_2048_multiplane,h20_2048_multiplane " +
                  "--slo tpot=50ms --slo tpot=25ms --out " + out.string());
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK_FALSE(line_of(run.output, "h800_2048_multiplane").empty());
  CHECK(run.output.find("gives the most tokens a second and GPU") != std::string::npos);
  CHECK(run.output.find("interval") != std::string::npos);
  const auto json = nlohmann::json::parse(text_of(out / "result.json"));
  CHECK(json.at("kind") == "comparison");
  CHECK_FALSE(json.at("front").at("points").empty());
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
  fs::remove_all(folder);
}

TEST_CASE("a cluster that cannot keep the limits is listed with the reason", "[compare]") {
  const Outcome run = run_tessera(kCompare + "--slo tpot=1ms");
  CHECK(
      run.output.find("h800_2048_multiplane: not even 2 sequences a rank keep the limits: tpot") !=
      std::string::npos);
  CHECK(run.output.find("no cluster answers") != std::string::npos);
}

TEST_CASE("wrong limits and clusters are named", "[compare]") {
  const auto errors = [](const std::string& more) {
    const Outcome run = run_tessera(kCompare + more);
    CHECK(run.exit_code == 2);
    return run.errors;
  };
  CHECK(errors("--slo tpot").find("expected quantity=limit, as tpot=50ms") != std::string::npos);
  CHECK(errors("--slo tpot=50GB").find("found '50GB'; expected a number above 0 in s, ms or us") !=
        std::string::npos);
  CHECK(errors("--slo tpott=50ms").find("did you mean 'tpot'?") != std::string::npos);
  CHECK(errors("--clusters h9000_8 --slo tpot=50ms").find("h9000_8") != std::string::npos);
  const Outcome training =
      run_tessera("compare qwen3_30b_a3b_h100 --fidelity analytical --slo tpot=50ms");
  CHECK(training.exit_code == 2);
}

}  // namespace tessera::end_to_end
