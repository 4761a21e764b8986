#include "sim/app/published_runs.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "sim/core/data_root.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using Catch::Matchers::ContainsSubstring;

constexpr const char* kHeader =
    "id,source,recipe,architecture,device,gpus,cluster,tensor,virtual,recompute,not_stated,"
    "tokens_per_s_per_gpu,repeat_spread,settings\n";

/// A file of published results that goes away with the test.
struct ResultsFile {
  explicit ResultsFile(const std::string& rows) {
    std::string name = std::filesystem::temp_directory_path() / "tessera_results_XXXXXX";
    REQUIRE(mkstemp(name.data()) >= 0);
    path = name;
    std::ofstream(path) << kHeader << rows;
  }
  ~ResultsFile() { std::filesystem::remove(path); }
  std::string path;
};

TEST_CASE("a published row becomes the settings of its recipe", "[published]") {
  const ResultsFile file{
      "r1,a paper,a_recipe,llama,h100_sxm,64,h100_sxm_64,8,,\"[mlp, rms_norm]\",recompute "
      "sharding,321.5,0.02,a.b=1;c=x\n"};
  const std::vector<PublishedRun> runs = read_published_runs(file.path);
  REQUIRE(runs.size() == 1);
  const PublishedRun& run = runs.front();
  CHECK(run.id == "r1");
  CHECK(run.source == "a paper");
  CHECK(run.recipe == "a_recipe");
  CHECK(run.gpus == 64);
  CHECK(run.tokens_per_gpu == 321.5);
  CHECK(run.repeat_spread == 0.02);
  CHECK(run.not_stated == std::vector<std::string>{"recompute", "sharding"});
  // Empty columns leave the recipe's value.
  CHECK(run.set == std::vector<std::string>{"architecture=llama", "cluster=h100_sxm_64",
                                            "parallelism.tensor=8", "recompute=[mlp, rms_norm]",
                                            "a.b=1", "c=x"});
}

TEST_CASE("mistakes in published rows name file, line and column", "[published]") {
  const auto message = [](const std::string& row) -> std::string {
    const ResultsFile file{row};
    try {
      (void)read_published_runs(file.path);
    } catch (const core::ConfigError& error) {
      return error.what();
    }
    return "";
  };
  CHECK_THAT(message("r1,p,r,llama,h100_sxm,none,c,,,,,5,,\n"),
             ContainsSubstring(":2:1: ") &&
                 ContainsSubstring("column gpus: found 'none'; expected a number above 0"));
  CHECK_THAT(message("r1,p,r,llama,h100_sxm,8,c,,,,,-5,,\n"),
             ContainsSubstring("column tokens_per_s_per_gpu: found '-5'"));
  CHECK_THAT(message("r1,p,,llama,h100_sxm,8,c,,,,,5,,\n"),
             ContainsSubstring("column recipe: found ''; expected a value"));
}

TEST_CASE("every shipped row has an id of its own and a recipe that is there", "[published]") {
  const std::vector<PublishedRun> runs = read_published_runs(shipped_training_results());
  CHECK(runs.size() == 109);
  std::set<std::string> ids;
  for (const PublishedRun& run : runs) {
    INFO(run.id);
    CHECK(ids.insert(run.id).second);
    const auto file = run.recipe + ".yaml";
    CHECK((std::filesystem::exists(core::data_root() / "workloads" / "published" / file) ||
           std::filesystem::exists(core::data_root() / "workloads" / "scenarios" / file)));
    for (const std::string& choice : run.not_stated)
      CHECK((choice == "recompute" || choice == "sharding"));
  }
}

}  // namespace
}  // namespace tessera::app
