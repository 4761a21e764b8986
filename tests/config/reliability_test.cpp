#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "sim/app/reliability_section.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::app {
namespace {

using core::ConfigDocument;

training::ReliabilitySpec read(const std::string& text) {
  const ConfigDocument document = ConfigDocument::from_text(text, "s.yaml", {});
  const training::ReliabilitySpec spec =
      read_reliability(document.root(), training::deepseek_job());
  document.finish();
  return spec;
}

std::string mistakes(const std::string& text) {
  try {
    (void)read(text);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

const std::string kParts = "components: [{name: node, per: node, mtbf: 4000 h}]\n";
const std::string kRest = "restart: 10 min\ncheckpoint: {write: 30 s}\n";

TEST_CASE("a reliability block counts parts over the job's machine", "[config][reliability]") {
  const training::ReliabilitySpec spec = read(
      "components:\n- {name: gpu, per: gpu, mtbf: 50000 h}\n- {name: node, per: node, mtbf: 400 "
      "d}\n"
      "- {name: fabric, per: job, mtbf: 30 d, removes_node: false}\n"
      "- {name: switch, count: 96, mtbf: 1000 d}\n"
      "restart: 5 min\ncheckpoint: {storage: 1 TB/s, interval: 15 min}\n");
  REQUIRE(spec.components.size() == 4);
  CHECK(spec.components[0].count == 2048);
  CHECK(spec.components[0].mtbf.value() == 50000 * 3600.0);
  CHECK(spec.components[1].count == 256);
  CHECK(spec.components[2].count == 1);
  CHECK_FALSE(spec.components[2].removes_node);
  CHECK(spec.components[3].count == 96);
  CHECK(spec.rule == training::CheckpointInterval::fixed);
  CHECK(spec.interval.value() == 900);
  // FP32 master weights and two BF16 moments of 671 B parameters and one MTP module at 1 TB/s.
  CHECK(spec.write.value() == Catch::Approx(8 * 0.6826).epsilon(0.01));
}

TEST_CASE("mistakes in a reliability block are named where they are", "[config][reliability]") {
  CHECK(mistakes(kParts + kRest).empty());
  struct Row {
    std::string text;
    std::string message;
  };
  const std::vector<Row> rows = {
      {kRest, "s.yaml:1:1: error: components: missing; expected a list"},
      {"components: [{per: node, mtbf: 1 h}]\n" + kRest,
       "s.yaml:1:14: error: components.0.name: missing; expected text"},
      {"components: [{name: a, per: rack, mtbf: 1 h}]\n" + kRest,
       "s.yaml:1:29: error: components.0.per: found 'rack'; expected one of gpu, node or job"},
      {"components: [{name: a, per: gpu, count: 4, mtbf: 1 h}]\n" + kRest,
       "s.yaml:1:29: error: components.0.per: found beside count; expected one of them "
       "(components.0.count: s.yaml:1:41)"},
      {kParts + "checkpoint: {write: 30 s, storage: 1 TB/s}\nrestart: 1 min\n",
       "s.yaml:2:21: error: checkpoint.write: found beside storage; expected one "
       "(checkpoint.storage: s.yaml:2:36)"},
      {kParts + "restart: 10 min\n", "s.yaml:1:1: error: checkpoint: missing; expected a map"},
      {kParts + kRest + "spares: -1\n",
       "s.yaml:4:9: error: spares: found '-1'; expected an integer in [0, 1000000]"},
      {kParts + kRest + "spare: 1\n",
       "s.yaml:4:1: error: spare: found an unknown key (did you mean 'spares'?)"},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(mistakes(row.text) == row.message);
  }
}

TEST_CASE("a zero MTBF is no lifetime", "[config][reliability]") {
  CHECK(mistakes("components: [{name: a, per: gpu, mtbf: 0 h}]\n" + kRest)
            .starts_with("s.yaml:1:40: error: components.0.mtbf: found '0 h'; expected"));
}

}  // namespace
}  // namespace tessera::app
