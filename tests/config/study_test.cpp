#include "sim/app/study.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "tests/config/mistakes.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::app {
namespace {

/// A study file in a folder of its own, beside "base.yaml"; messages name it "s.yaml".
class StudyFile {
 public:
  explicit StudyFile(const std::string& text) {
    folder_.write("base.yaml", testing::kSmallTraining);
    folder_.write("s.yaml", text);
  }

  [[nodiscard]] Study read() const { return read_study(folder_.at("s.yaml").string()); }

  /// What reading says is wrong, one mistake a line.
  [[nodiscard]] std::string mistakes() const {
    return folder_.without_path(config_test::messages_of([&] { (void)read(); }));
  }

 private:
  testing::TemporaryFolder folder_;
};

/// Line 1 and 2 of every study; what follows begins on line 3.
std::string study(const std::string& rest) { return "job: study\nbase: base.yaml\n" + rest + "\n"; }

constexpr const char* kGrid = "axes:\n  - grid: {batch.micro_batch: [1, 2]}\n";

}  // namespace

TEST_CASE("the shipped studies are read", "[config][study]") {
  for (const std::string& name : core::names_in(kStudyFolder)) {
    INFO(name);
    const Study read = read_study(name);
    CHECK(read.name == name);
    CHECK_FALSE(read.kept().empty());
    CHECK(read.objective.has_value());
  }
}

TEST_CASE("grid, zip and list are nested loops, the last one fastest", "[config][study]") {
  const Study read = StudyFile{study(R"(axes:
  - grid: {batch.micro_batch: [1, 2], seed: {from: 1, to: 3, step: 1}}
  - zip: {parallelism.expert: [4, 8], routing.node_limit: [1, 2]}
  - list:
      - {recompute: none}
      - {recompute: [norm, mlp], precision.recipe: bf16})")}
                         .read();
  REQUIRE(read.combinations() == 2 * 3 * 2 * 2);
  const auto text = [&](std::size_t combination) {
    std::string line;
    for (const StudySetting* setting : read.settings(combination))
      line += (setting ? setting->change.value : "-") + " ";
    return line;
  };
  CHECK(text(0) == "1 1 4 1 none - ");
  CHECK(text(1) == "1 1 4 1 [norm, mlp] bf16 ");
  CHECK(text(2) == "1 1 8 2 none - ");
  CHECK(text(4) == "1 2 4 1 none - ");
  CHECK(text(23) == "2 3 8 2 [norm, mlp] bf16 ");
  REQUIRE(read.axes.size() == 6);
  CHECK(read.axes[1].values == std::vector<std::string>{"1", "2", "3"});
  CHECK(read.axes[4].values == std::vector<std::string>{"none", "[norm, mlp]"});
}

TEST_CASE("ranges grow by a factor or a step and keep their unit", "[config][study]") {
  const StudyFile file{study(R"(axes:
  - grid:
      cluster.node.device.hbm.peak_rate: {from: 2.5 TB/s, to: 10 TB/s, times: 2}
      cluster.node.device.hbm.size: {from: 80 GB, to: 120 GB, step: 20 GB})")};
  const Study read = file.read();
  CHECK(read.axes[0].values == std::vector<std::string>{"2.5 TB/s", "5 TB/s", "10 TB/s"});
  CHECK(read.axes[1].values == std::vector<std::string>{"80 GB", "100 GB", "120 GB"});
  const auto last = std::get<Scenario>(read.scenario(8));
  CHECK(last.cluster.node.device.hbm.peak_rate.value() == 10e12);
  CHECK(last.cluster.node.device.hbm.size.value() == 120'000'000'000);
}

TEST_CASE("where machines differ all points have the list's prices", "[config][study]") {
  const auto rent = [](const std::string& axes, std::size_t combination) {
    const Study read =
        StudyFile{"job: study\nbase: deepseek_v3_decode_h800\n" + axes + "\n"}.read();
    return parts_of(read.scenario(combination)).front()->cost.rental;
  };
  const std::string machines = "cluster: [h800_2048_multiplane, h200_2048_multiplane]";
  CHECK(rent("axes: [{grid: {batch.sequences: [64, 128]}}]", 0).source == "the scenario");
  CHECK(rent("axes: [{grid: {cluster: [h800_2048_multiplane]}}]", 0).source == "the scenario");
  for (const std::size_t point : {0, 1})
    CHECK_FALSE(rent("axes: [{grid: {" + machines + "}}]", point).date.empty());
  CHECK(rent("axes: [{grid: {" + machines + ", cost.rental: [9 USD/GPU/h]}}]", 1).value.value == 9);
}

TEST_CASE("a server price on an axis holds for every machine", "[config][study]") {
  const Study read = StudyFile{R"(job: study
base: deepseek_v3_decode_h800
axes:
  - grid:
      cluster: [h800_2048_multiplane, h20_2048_multiplane]
      cost.kind: [ownership]
      cost.server: [30000 USD/GPU, 60000 USD/GPU]
)"}
                         .read();
  const auto server = [&](std::size_t point) {
    const AnyScenario scenario = read.scenario(point);
    return parts_of(scenario).front()->cost.ownership->server.value.value;
  };
  CHECK(server(0) == 30000);
  CHECK(server(1) == 60000);
  CHECK(server(2) == 30000);
  CHECK(server(3) == 60000);
}

TEST_CASE("a study of two pools reaches into both, and prices them alike where machines differ",
          "[config][study]") {
  const auto decode_of = [](const std::string& axes, std::size_t point) {
    const Study read =
        StudyFile{"job: study\nbase: deepseek_v3_disaggregated_h800\naxes: [{grid: {" + axes +
                  "}}]\n"}
            .read();
    return std::get<DisaggregationScenario>(read.scenario(point));
  };
  const DisaggregationScenario longer = decode_of(
      "disaggregation.output: [256, 2048], disaggregation.decode.batch.sequences: [64, 96]", 3);
  CHECK(longer.output == 2048);
  CHECK(longer.decode.inference().context == 4096 + 1024);
  CHECK(longer.decode.inference().sequences == 96);
  CHECK(longer.decode.cost.rental.source == "the scenario");
  const DisaggregationScenario moved = decode_of(
      "disaggregation.decode.cluster: [h800_2048_multiplane, h20_2048_multiplane], "
      "disaggregation.prefill.cost.rental: [3 USD/GPU/h]",
      1);
  CHECK(moved.decode.device().name == "h20_sxm");
  CHECK_FALSE(moved.decode.cost.rental.date.empty());
  CHECK(moved.prefill.cost.rental.value.value == 3);
}

TEST_CASE("points reach into every file that the scenario names", "[config][study]") {
  const Study read = StudyFile{study(R"(axes:
  - grid:
      architecture.layers: [24]
      cluster.node.device.l2.size: [60 MiB]
      cluster.node.nic.efficiency: [0.5]
      cost.prices.pue.typical: [1.25]
      cluster.node.device.power.limit: [650 W])")}
                         .read();
  CHECK(read.combinations() == 1);
}

TEST_CASE("filters leave points out and the rest keep their order", "[config][study]") {
  const Study read = StudyFile{study(R"(axes:
  - grid:
      batch.micro_batch: [1, 2, 4]
      batch.sequences: [64, 128]
      precision.recipe: [bf16, fp8]
where:
  - batch.micro_batch * batch.sequences <= 128
  - precision.recipe != bf16
  - batch.sequence_length / 2 == 2048)")}
                         .read();
  CHECK(read.combinations() == 12);
  CHECK(read.kept() == std::vector<std::size_t>{1, 3, 5});
}

TEST_CASE("malformed studies are refused at the place of the mistake", "[config][study]") {
  struct Row {
    std::string text;
    std::string expected;
  };
  const std::vector<Row> rows = {
      {study(""), "s.yaml:1:1: error: axes: missing; expected a list of grid, zip and list"},
      {study("axes: 7"), "s.yaml:3:7: error: axes: expected a list of grid, zip and list"},
      {study("axes:\n  - [1, 2]"),
       "s.yaml:4:5: error: axes.0: found a list; expected one of grid, zip or list"},
      {study("axes:\n  - gird: {batch.micro_batch: [1]}"),
       "s.yaml:4:5: error: axes.0: found 'gird'; expected one of grid, zip or list"},
      {study("axes:\n  - grid: {batch.micro_batch: 1}"),
       "s.yaml:4:12: error: axes.0.grid.batch.micro_batch: found '1'; expected a list of values, "
       "or a range {from, to, times} or {from, to, step}"},
      {study("axes:\n  - grid: {batch.micro_batch: []}"),
       "s.yaml:4:31: error: axes.0.grid.batch.micro_batch: found an empty list; expected a list of "
       "values, or a range {from, to, times} or {from, to, step}"},
      {study("axes:\n  - grid: {batch.micro_batch: [1, 2, 1]}"),
       "s.yaml:4:38: error: axes.0.grid.batch.micro_batch: found '1' a second time"},
      {study("axes:\n  - grid: {batch..micro_batch: [1]}"),
       "s.yaml:4:12: error: axes.0.grid: found 'batch..micro_batch'; expected a path as --set "
       "takes"},
      {study("axes:\n  - grid: {job: [decode]}"),
       "s.yaml:4:12: error: axes.0.grid: found 'job', which cannot be varied"},
      {study("axes:\n  - grid: {seed: [1]}\n  - zip: {seed: [2]}"),
       "s.yaml:5:11: error: axes.1.zip: found 'seed' a second time; the first is at s.yaml:4:12"},
      {study("axes:\n  - zip: {seed: [1, 2], batch.micro_batch: [1, 2, 4]}"),
       "s.yaml:4:25: error: axes.0.zip.batch.micro_batch: found 3 values; expected 2 as seed has"},
      {study("axes:\n  - list: [3]"),
       "s.yaml:4:12: error: axes.0.list.0: found '3'; expected a map of paths to a value"},
      {study("axes:\n  - grid: {seed: {from: 1, to: 8}}"),
       "s.yaml:4:18: error: axes.0.grid.seed: found a range; expected times or step in it"},
      {study("axes:\n  - grid: {seed: {from: 8, to: 1, times: 2}}"),
       "s.yaml:4:32: error: axes.0.grid.seed.to: found less than from; expected at least that"},
      {study("axes:\n  - grid: {seed: {from: 1, to: 8, times: 1}}"),
       "s.yaml:4:42: error: axes.0.grid.seed.times: found no factor; expected a number above 1"},
      {study("axes:\n  - grid: {seed: {from: 1, to: 8 GB, step: 1}}"),
       "s.yaml:4:32: error: axes.0.grid.seed.to: found the unit 'GB'; expected '' as in from"},
      {study("axes:\n  - grid: {seed: {from: 1, to: 1e9, step: 1}}"),
       "s.yaml:4:43: error: axes.0.grid.seed: found a range of more than 10000 values"},
      {study("axes:\n  - grid: {batch.micro_batch: [1, x2]}"),
       "s.yaml:4:35: error: batch.micro_batch: found 'x2'; expected an integer in [1, 1000000000]"},
      {study("axes:\n  - grid: {batch.mikro_batch: [1, 2]}"),
       "s.yaml:4:12: error: batch.mikro_batch: found an unknown key (did you mean "
       "'micro_batch'?)"},
      {study("axes:\n  - grid: {cluster: [h100_sxm_16, h9000_16]}"),
       "s.yaml:4:35: error: cluster: found 'h9000_16'; expected one of"},
      {study("axes:\n  - grid: {cluster.node.device.hbm.size: [80 GB, 96]}"),
       "s.yaml:4:50: error: hbm.size: found '96', which has no unit; expected a size in B, KB, MB, "
       "GB, TB, KiB, MiB, GiB or TiB"},
      {study(std::string(kGrid) + "where: [batch.micro_batch]"),
       "s.yaml:5:9: error: where: found 'batch.micro_batch'; expected two products of paths and "
       "numbers with <, <=, ==, !=, >= or > between them"},
      {study(std::string(kGrid) + "where: [batch.macro_batch < 2]"),
       "s.yaml:5:9: error: where: found 'batch.macro_batch < 2'; names no path that the study sets "
       "or the base scenario has"},
      {study(std::string(kGrid) + "where: [batch.micro_batch < two]"),
       "s.yaml:5:9: error: where: found 'batch.micro_batch < two'; 'two' is neither a number nor a "
       "path that the study sets or the base scenario has"},
      {study(std::string(kGrid) + "where: [batch.micro_batch > 2]"),
       "s.yaml:5:1: error: where: found conditions that leave none of 2 points"},
      {study(std::string(kGrid) + "for_each: [batch.macro_batch]"),
       "s.yaml:5:12: error: for_each.0: found 'batch.macro_batch'; expected "
       "batch.micro_batch (did you mean 'batch.micro_batch'?)"},
      {study(std::string(kGrid) + "front: {x: step_time, y: step_time}"),
       "s.yaml:5:26: error: front.y: found the quantity of x; expected another (front.x: "
       "s.yaml:5:12)"},
      {study(std::string(kGrid) + "slo: {step_tim: 3 s}"),
       "s.yaml:5:17: error: slo.step_tim: found 'step_tim'; expected one of"},
      {study(std::string(kGrid) + "slo: {step_time: 3 GB}"),
       "s.yaml:5:18: error: slo.step_time: found '3 GB'; expected a number above 0 in s, ms or us"},
      {study(std::string(kGrid) + "objective: mfu"),
       "s.yaml:5:12: error: objective: found 'mfu'; expected one of"},
      {study(std::string(kGrid) + "front: {x: step_time}"),
       "s.yaml:5:1: error: front.y: missing; expected text"},
      {study(std::string(kGrid) + "fidelity: exact"),
       "s.yaml:5:11: error: fidelity: found 'exact'; expected one of analytical or cycle"},
      {study(std::string(kGrid) + "quantitys: [step_time]"),
       "s.yaml:5:1: error: quantitys: found an unknown key (did you mean 'quantities'?)"},
      {"job: study\nbase: nowhere\n" + std::string(kGrid),
       "s.yaml:2:7: error: base: found 'nowhere'; expected one of"},
      {"job: study\nbase: other.yaml\n" + std::string(kGrid),
       "s.yaml:2:7: error: base: found 'other.yaml', which does not exist"},
      {"job: decode\nbase: base.yaml\n" + std::string(kGrid),
       "s.yaml:1:6: error: job: found 'decode'; expected study"},
  };
  for (const Row& row : rows) {
    INFO("study:\n" << row.text);
    const std::string found = StudyFile{row.text}.mistakes();
    // Lists of known names grow with what the program knows.
    const bool open = row.expected.ends_with("expected one of");
    if (open)
      CHECK(found.substr(0, row.expected.size()) == row.expected);
    else
      CHECK(found == row.expected);
  }
}

TEST_CASE("a contradiction between settings is a refused point, not a mistake", "[config][study]") {
  // 64 sequences over 2 x 8 ranks leave too few for micro-batches of 16; 1 is fine with both.
  const StudyFile file{
      study("axes:\n  - grid: {batch.micro_batch: [1, 16], batch.sequences: [64, 256]}")};
  CHECK(file.mistakes().empty());
}

}  // namespace tessera::app
