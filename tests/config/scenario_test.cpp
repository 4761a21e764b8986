#include "sim/app/scenario.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "models/serving/legality.hpp"
#include "models/training/legality.hpp"
#include "sim/app/disaggregation_scenario.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"
#include "tests/config/mistakes.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::app {
namespace {

/// What the malformed scenarios differ from, on line 2 and below.
constexpr const char* kBase = R"(job: training
architecture: deepseek_v3
cluster: h800_2048_multiplane
precision: {recipe: fp8_block}
batch: {sequences: 15360, sequence_length: 4096, micro_batch: 1}
parallelism: {tensor: 1, pipeline: 16, expert: 64, context: 1, data: {sharding: zero1}}
schedule: {kind: dualpipe, communication_sms: 20}
routing: {kind: uniform, node_limit: 4}
cost: {prices: prices.yaml}
published:
  - {quantity: step_time, value: 19.926 s, source: a paper}
)";

/// A scenario file in a folder of its own, beside "base.yaml"; messages name it "s.yaml".
class ScenarioFile {
 public:
  explicit ScenarioFile(const std::string& text) {
    beside("base.yaml", kBase);
    beside("s.yaml", text);
  }

  [[nodiscard]] std::string path() const { return folder_.at("s.yaml").string(); }
  void beside(const std::string& name, const std::string& text) const { folder_.write(name, text); }

  /// What reading says is wrong, one mistake a line.
  [[nodiscard]] std::string mistakes(const std::vector<std::string>& set = {}) const {
    return folder_.without_path(config_test::messages_of([&] {
      (void)read_scenario(path(), {set, std::nullopt});
    }));
  }

 private:
  testing::TemporaryFolder folder_;
};

std::string changed(const std::string& lines) { return "extends: base\n" + lines + "\n"; }

/// Sixteen stages of DeepSeek-V3 with line breaks, so that columns stay small.
std::string stages(const std::string& first, const std::string& last) {
  std::string text = "schedule:\n  stages:\n  - " + first + "\n";
  for (int s = 0; s < 14; ++s) {
    text += "  - [";
    for (int i = 0; i < 4; ++i) text += (i ? ", " : "") + std::to_string(4 + 4 * s + i);
    text += "]\n";
  }
  return text + "  - " + last;
}

}  // namespace

TEST_CASE("the shipped scenarios are read and agree with themselves", "[config][scenario]") {
  for (const std::string& name : core::names_in("workloads/scenarios")) {
    INFO(name);
    if (is_disaggregation(name, {})) continue;
    const Scenario scenario = read_scenario(name);
    CHECK(scenario.name == name);
    CHECK(scenario.cost.rental.value.value > 0);
    CHECK_FALSE(scenario.title.empty());
    if (!scenario.trains()) {
      CHECK(serving::contradictions(scenario.inference()).empty());
      continue;
    }
    CHECK(training::contradictions(scenario.training()).empty());
    if (name.starts_with("deepseek_v3")) {
      CHECK(scenario.training().gpus == 2048);
      CHECK(scenario.training().sequences == 15360);
    }
  }
  const Scenario main = read_scenario("deepseek_v3_pretrain_h800");
  CHECK(main.stated_rental == 2);
  CHECK(main.cost.rental.value.value == 2);
  CHECK(main.training().precision.linear == core::DataType::fp8_block);
  CHECK(main.training().precision.moments == core::DataType::bf16);
  CHECK(main.training().recompute.mla_up_projection);
  CHECK(main.training().tokens == 14.8e12);
  REQUIRE(main.published.size() >= 9);
  CHECK(main.published[0].quantity == "step_time");
  CHECK(main.published[0].published == 19.926);
  const training::TrainingJob llama = read_scenario("llama3_405b_h100").training();
  CHECK(llama.precision.linear == core::DataType::fp8);
  CHECK(llama.sequence_parallel);
  CHECK(llama.virtual_stages == 8);
  CHECK(llama.reduction == training::ReductionOverlap::bucketed);
  CHECK(llama.gather == training::GatherOverlap::overlapped);
  const training::TrainingJob mpt = read_scenario("mpt_30b_fsdp_h100").training();
  CHECK(mpt.sharding == training::Sharding::fsdp);
  CHECK(mpt.recompute.full);
  CHECK(mpt.reduce_in == core::DataType::fp32);
  const Scenario h20 = read_scenario("deepseek_v3_pretrain_h20");
  CHECK_FALSE(h20.stated_rental);
  CHECK(h20.published.empty());
  CHECK(h20.cluster.name == "h20_2048_multiplane");
}

TEST_CASE("another cluster brings its own prices", "[config][scenario]") {
  const Scenario moved = read_scenario("deepseek_v3_pretrain_h800", {{}, "b200_2048_multiplane"});
  CHECK(moved.training().device.name == "b200_sxm");
  CHECK(moved.stated_rental == 2);  // but not taken
  CHECK(moved.cost.rental.value.value > 2);
}

TEST_CASE("changes reach through names into descriptions", "[config][scenario]") {
  const Scenario scenario =
      read_scenario("deepseek_v3_pretrain_h800",
                    {{"cluster.node.nic.efficiency=0.5", "architecture.layers=62"}, std::nullopt});
  CHECK(scenario.cluster.node.nic.efficiency == 0.5);
  CHECK(scenario.training().architecture.layers == 62);
  CHECK(scenario.resolved.find("cluster.node.nic.efficiency") != std::string::npos);
}

TEST_CASE("a table of learned positions is as long as the sequences", "[config][scenario]") {
  const auto rows = [](const std::string& length) {
    const ScenarioFile file{
        changed("architecture: mpt_7b\n"
                "parallelism: {tensor: 1, pipeline: 1, expert: 1, context: 1}\n"
                "schedule: {kind: 1f1b}")};
    return read_scenario(file.path(), {{"batch.sequence_length=" + length, "batch.sequences=16384"},
                                       std::nullopt})
        .training()
        .architecture.learned_positions;
  };
  CHECK(rows("1024") == 2048);  // mpt_7b.yaml
  CHECK(rows("2048") == 2048);
  CHECK(rows("65536") == 65536);
}

TEST_CASE("an architecture is imported from a configuration beside the scenario",
          "[config][scenario]") {
  const std::string config =
      "{\"model_type\": \"mixtral\", \"hidden_size\": 4096, \"num_hidden_layers\": 32,\n"
      "\"vocab_size\": 32000, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,\n"
      "\"num_local_experts\": 64, \"num_experts_per_tok\": 2, \"intermediate_size\": 14336}";
  const ScenarioFile file{changed("architecture: {import: config.json}")};
  file.beside("config.json", config);
  const Scenario scenario = read_scenario(file.path(), {{"architecture.layers=30"}, std::nullopt});
  CHECK(scenario.training().architecture.layers == 30);
  CHECK(scenario.training().architecture.moe.experts == 64);
  CHECK(scenario.training().architecture.grouped_query());
  file.beside("config.json",
              "{\"model_type\": \"mixtral\",\n" + config.substr(config.find("\"vocab")));
  CHECK(file.mistakes() ==
        "config.json:1:1: error: hidden_size: missing; expected an integer in [1, 16777216]\n"
        "config.json:1:1: error: num_hidden_layers: missing; expected an integer in [1, "
        "4096]");
  const ScenarioFile missing{changed("architecture: {import: none.json}")};
  CHECK(missing.mistakes() ==
        "s.yaml:2:24: error: architecture.import: found 'none.json', which does not exist");
  file.beside("config.json", "{\"model_type\": \"deepseek_v4\"}");
  CHECK_THROWS_AS(read_scenario(file.path()), core::Refusal);
}

TEST_CASE("stages are read in order", "[config][scenario]") {
  const ScenarioFile file{changed(stages("[embedding, 0, 1, 2, 3]", "[60, mtp, head]"))};
  const Scenario scenario = read_scenario(file.path());
  REQUIRE(scenario.training().stages.size() == 16);
  CHECK(scenario.training().stages[0].size() == 5);
  CHECK(training::to_string(scenario.training().stages[15][1]) == "mtp");
}

TEST_CASE("jobs that are not simulated are refused", "[config][scenario]") {
  for (const char* job : {"serving", "study"}) {
    const ScenarioFile file{"job: " + std::string(job) + "\n"};
    try {
      (void)read_scenario(file.path());
      FAIL("not refused");
    } catch (const core::Refusal& refusal) {
      CHECK(refusal.kind() == core::RefusalKind::outside_model);
      CHECK(refusal.what() == "job " + std::string(job) +
                                  " is not simulated by itself; training, prefill and decode are");
    }
  }
}

TEST_CASE("each mistake in a scenario is reported at its place", "[config][scenario]") {
  struct Row {
    std::string text;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"extends: base\n"
       "job: trainig\n",
       "s.yaml:2:6: error: job: found 'trainig'; expected one of training, prefill, decode, "
       "serving, study or disaggregation (did you mean 'training'?)"},
      {"extends: base\n"
       "job: null\n",
       "s.yaml:1:1: error: job: missing; expected one of training, prefill, decode, "
       "serving, study or disaggregation"},
      {"extends: base\n"
       "shedule: {kind: dualpipe}\n",
       "s.yaml:2:1: error: shedule: found an unknown key (did you mean 'schedule'?)"},
      {"extends: base\n"
       "precision: {recipe: fp7}\n",
       "s.yaml:2:21: error: precision.recipe: found 'fp7'; expected one of bf16, fp8, fp8_block, "
       "mxfp8 or nvfp4 (did you mean 'fp8'?)"},
      {"extends: base\n"
       "precision: {dispatch: mxfp4}\n",
       "s.yaml:2:23: error: precision.dispatch: found 'mxfp4'; expected one of bf16 or fp8_block"},
      {"extends: base\n"
       "batch: {sequences: 15361}\n",
       "s.yaml:2:20: error: batch.sequences: found 15361; expected a multiple of 128: 128 "
       "data-parallel ranks x micro_batch 1; nearest legal: 15360 or 15488 (parallelism: "
       "base.yaml:6:1)"},
      {"extends: base\n"
       "batch: {micro_batch: 0}\n",
       "s.yaml:2:22: error: batch.micro_batch: found '0'; expected an integer in [1, 1000000000]"},
      {"extends: base\n"
       "batch: {sequence_length: 4k}\n",
       "s.yaml:2:26: error: batch.sequence_length: found '4k'; expected an integer in [1, "
       "100000000]"},
      {"extends: base\n"
       "parallelism: {expert: 48}\n",
       "s.yaml:2:23: error: parallelism.expert: found 48, which does not divide the 128 GPUs of a "
       "pipeline rank; nearest legal: 32 or 64\n"
       "s.yaml:2:23: error: parallelism.expert: found 48, which does not divide the 256 experts of "
       "deepseek_v3; nearest legal: 32 or 64 (architecture: base.yaml:2:15)"},
      {"extends: base\n"
       "parallelism: {pipeline: 15}\n",
       "s.yaml:2:1: error: parallelism: tensor 1 x pipeline 15 x context 1 = 15 GPUs hold one copy "
       "of the model, which does not divide the cluster's 2048 GPUs; nearest legal: 2040 or 2055 "
       "GPUs (cluster: base.yaml:3:10)"},
      {"extends: base\n"
       "parallelism: {data: {degree: 64}}\n",
       "s.yaml:2:30: error: parallelism.data.degree: found 64; expected 128: tensor 1 x pipeline "
       "16 x context 1 x data must be the cluster's 2048 GPUs (cluster: base.yaml:3:10)"},
      {"extends: base\n"
       "parallelism: {data: {sharding: zero9}}\n",
       "s.yaml:2:32: error: parallelism.data.sharding: found 'zero9'; expected one of none, zero1, "
       "zero2, zero3, fsdp or hsdp (did you mean 'zero1'?)"},
      {"extends: base\n"
       "parallelism: {virtual: 0}\n",
       "s.yaml:2:24: error: parallelism.virtual: found '0'; expected an integer in [1, 10000000]"},
      {"extends: base\n"
       "parallelism: {sequence: maybe}\n",
       "s.yaml:2:25: error: parallelism.sequence: found 'maybe'; expected true or false"},
      {"extends: base\n"
       "parallelism: {context_kind: tree}\n",
       "s.yaml:2:29: error: parallelism.context_kind: found 'tree'; expected one of ring or "
       "all_to_all"},
      {"extends: base\n"
       "parallelism: {data: {overlap: {gradients: always}}}\n",
       "s.yaml:2:43: error: parallelism.data.overlap.gradients: found 'always'; expected one of "
       "exposed, overlapped or bucketed"},
      {"extends: base\n"
       "parallelism: {data: {reduce_in: fp8}}\n",
       "s.yaml:2:33: error: parallelism.data.reduce_in: found 'fp8'; expected one of fp32 or "
       "bf16"},
      {"extends: base\n"
       "parallelism: {data: {sharding: fsdp}}\n",
       "s.yaml:2:32: error: parallelism.data.sharding: found fsdp with pipeline 16: weights and "
       "gradients would move for every micro-batch of every stage; nearest legal: zero1, or "
       "pipeline 1 (parallelism.pipeline: base.yaml:6:36)"},
      {"extends: base\n"
       "schedule: {balance: even}\n",
       "s.yaml:2:21: error: schedule.balance: found 'even'; expected one of automatic, layers or "
       "work"},
      {"extends: base\n"
       "architecture: deepseek_v4\n",
       "s.yaml:2:15: error: architecture: " +
           core::unknown_name("deepseek_v4", core::names_in("workloads/architectures"))},
      {"extends: base\n"
       "cluster: h8000_2048_multiplane\n",
       "s.yaml:2:10: error: cluster: found 'h8000_2048_multiplane'; expected one of "
       "b200_2048_multiplane, gb200_32x64_nvl72, h200_2048_multiplane, h20_2048_multiplane or "
       "h800_2048_multiplane (did you mean 'h800_2048_multiplane'?), or GPUs of a device, as "
       "h800_64 or gb200_32x64_nvl72"},
      {"extends: base\n"
       "schedule: {kind: zerobubble}\n",
       "s.yaml:2:18: error: schedule.kind: found 'zerobubble'; expected one of dualpipe, "
       "dualpipev, 1f1b, interleaved, zb_h1, zb_v, gpipe or custom"},
      {"extends: base\n"
       "schedule: {communication_sms: 132}\n",
       "s.yaml:2:31: error: schedule.communication_sms: found '132'; expected an integer in [0, "
       "131]"},
      {"extends: base\n"
       "recompute: [layer_norm]\n",
       "s.yaml:2:13: error: recompute.0: found 'layer_norm'; expected one of norm, "
       "rms_norm, mla_up_projection, activation, swiglu, core_attention or mlp"},
      {"extends: base\n"
       "kernels: [deepgemm_hoper]\n",
       "s.yaml:2:11: error: kernels.0: found 'deepgemm_hoper'; expected one of those that `tessera "
       "list kernels` names"},
      {"extends: base\n"
       "routing: {kind: recorded}\n",
       "s.yaml:2:1: error: routing.file: missing; expected text"},
      {"extends: base\n"
       "routing: {kind: recorded, file: nowhere.csv}\n",
       "s.yaml:2:33: error: routing.file: found 'nowhere.csv', which does not exist"},
      {"extends: base\n"
       "routing: {kind: published, mean: 128, standard_deviation: 164, ranks: 32}\n",
       "s.yaml:2:71: error: routing.ranks: found without rank_standard_deviation; expected both or "
       "none"},
      {"extends: base\n"
       "routing: {kind: published, mean: 128, standard_deviation: 164, rank_standard_deviation: "
       "490, "
       "ranks: 33}\n",
       "s.yaml:2:101: error: routing.ranks: found '33'; expected a divisor of the 256 experts"},
      {"extends: base\n"
       "routing: {kind: uniform, redundant_experts: 32}\n",
       "s.yaml:2:45: error: routing.redundant_experts: found with linear placement; expected "
       "placement: eplb"},
      {"extends: base\n"
       "routing: {kind: power_law, alpha: 1.2, placement: eplb, placement_seed: 2, "
       "placement_window: "
       "4096}\n",
       "s.yaml:2:51: error: routing.placement: found 'eplb' in training; expected linear, since "
       "optimizer states stay where they are\n"
       "s.yaml:2:73: error: routing.placement_seed: found two things that the balancer knows; "
       "expected one of them (routing.placement_window: s.yaml:2:94)"},
      {"extends: base\n"
       "routing: {kind: uniform, placement: eplb, redundant_experts: 32}\n",
       "s.yaml:2:37: error: routing.placement: found 'eplb' in training; expected linear, since "
       "optimizer states stay where they are"},
      {"extends: base\n"
       "routing: {kind: power_law}\n",
       "s.yaml:2:1: error: routing.alpha: missing; expected a number in [0.01, 10]"},
      {"extends: base\n"
       "routing: {kind: power_law, alpha: -1}\n",
       "s.yaml:2:35: error: routing.alpha: found '-1'; expected a number in [0.01, 10]"},
      {"extends: base\n"
       "run: {tokens: lots}\n",
       "s.yaml:2:15: error: run.tokens: found 'lots'; expected a number in [1, 1e+18]"},
      {"extends: base\n"
       "cost: {rental: 2}\n",
       "s.yaml:2:16: error: cost.rental: found '2', which has no unit; expected a quantity in "
       "USD/GPU/h"},
      {"extends: base\n"
       "cost: {rental: 2 EUR/GPU/h}\n",
       "s.yaml:2:16: error: cost.rental: found '2 EUR/GPU/h', whose unit 'EUR/GPU/h' is not "
       "accepted; expected a quantity in USD/GPU/h"},
      {"extends: base\n"
       "cost: {electricity: 0.08}\n",
       "s.yaml:2:21: error: cost.electricity: found '0.08', which has no unit; expected a quantity "
       "in USD/kWh"},
      {"extends: base\n"
       "cost: {pue: 0.9}\n",
       "s.yaml:2:13: error: cost.pue: found '0.9'; expected a number in [1, 10]"},
      {"extends: base\n"
       "cost: {prices: nowhere}\n",
       "s.yaml:2:16: error: cost.prices: found 'nowhere'; expected one of export_rules or prices"},
      {"extends: base\n"
       "memory: {reserved: 4}\n",
       "s.yaml:2:20: error: memory.reserved: found '4', which has no unit; expected a size in B, "
       "KB, MB, GB, TB, KiB, MiB, GiB or TiB"},
      {"extends: base\n"
       "memory: {reserved: 4 Gib}\n",
       "s.yaml:2:20: error: memory.reserved: found '4 Gib', whose unit 'Gib' is not accepted; "
       "expected a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB"},
      {"extends: base\n"
       "seed: 010\n",
       "s.yaml:2:7: error: seed: found '010'; expected an integer in [0, 9223372036854775807]"},
      {"extends: base\n"
       "published: [{quantity: step_time, value: 19.9, source: x}]\n",
       "s.yaml:2:42: error: published.0.value: found '19.9'; expected a number with a unit: s, ms, "
       "us, tokens/s, GPU-h, USD, %, TFLOP/s, MWh, W, d or times"},
      {"extends: base\n"
       "published: [{quantity: step_time, value: 19.9 s}]\n",
       "s.yaml:2:13: error: published.0.source: missing; expected text"},
      {"extends: base\n"
       "batch: {sequences: 1, sequences: 2}\n",
       "s.yaml:2:23: error: batch.sequences: found a duplicate key; the first is on line 2"},
      {"extends: base\n"
       "batch: [1, 2]\n",
       "s.yaml:2:1: error: batch: found a list; expected a map"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [60, mtp, head]\n",
       "s.yaml:3:3: error: schedule.stages: layer 56 is on no stage\n"
       "s.yaml:3:3: error: schedule.stages: layer 57 is on no stage\n"
       "s.yaml:3:3: error: schedule.stages: layer 58 is on no stage\n"
       "s.yaml:3:3: error: schedule.stages: layer 59 is on no stage"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59, 60, mtp, head]\n",
       "s.yaml:3:3: error: schedule.stages: found 15 stages; expected 16, one a pipeline rank "
       "(parallelism.pipeline: base.yaml:6:36)"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3, 4]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, mtp, head]\n",
       "s.yaml:5:6: error: schedule.stages.1.0: layer 4 is placed twice (schedule.stages.0.5: "
       "s.yaml:4:29)"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, mtp, head]\n",
       "s.yaml:3:3: error: schedule.stages: layer 3 is on no stage"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 3, 2]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, mtp, head]\n",
       "s.yaml:4:26: error: schedule.stages.0.4: found layer 2 after layer 3; expected the order "
       "of the forward pass"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, 61, mtp, head]\n",
       "s.yaml:19:10: error: schedule.stages.15.1: found '61'; expected a layer number in [0, 60], "
       "embedding, mtp or head"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, mpt, head]\n",
       "s.yaml:19:10: error: schedule.stages.15.1: found 'mpt'; expected a layer number in [0, "
       "60], embedding, mtp or head"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [embedding, 0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, head]\n",
       "s.yaml:3:3: error: schedule.stages: mtp is on no stage"},
      {"extends: base\n"
       "schedule:\n"
       "  stages:\n"
       "  - [0, 1, 2, 3]\n"
       "  - [4, 5, 6, 7]\n"
       "  - [8, 9, 10, 11]\n"
       "  - [12, 13, 14, 15]\n"
       "  - [16, 17, 18, 19]\n"
       "  - [20, 21, 22, 23]\n"
       "  - [24, 25, 26, 27]\n"
       "  - [28, 29, 30, 31]\n"
       "  - [32, 33, 34, 35]\n"
       "  - [36, 37, 38, 39]\n"
       "  - [40, 41, 42, 43]\n"
       "  - [44, 45, 46, 47]\n"
       "  - [48, 49, 50, 51]\n"
       "  - [52, 53, 54, 55]\n"
       "  - [56, 57, 58, 59]\n"
       "  - [60, mtp, mtp, head]\n",
       "s.yaml:19:15: error: schedule.stages.15.2: found more mtp entries than the 1 that "
       "deepseek_v3 has"},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(ScenarioFile{row.text}.mistakes() == row.message);
  }
}

TEST_CASE("each mistake in --set is reported at its place", "[config][scenario]") {
  struct Row {
    std::string set;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"batch.sequences", "--set:1:1: error: found 'batch.sequences'; expected path=value"},
      {"batch.sequences=15361",
       "--set:1:17: error: batch.sequences: found 15361; expected a multiple of 128: 128 "
       "data-parallel ranks x micro_batch 1; nearest legal: 15360 or 15488 (parallelism: "
       "base.yaml:6:1)"},
      {"batch.sequense=1",
       "--set:1:1: error: batch.sequense: found an unknown key (did you mean 'sequences'?)"},
      {"cluster.node.nic.efficiency=2",
       "--set:1:29: error: nic.efficiency: found '2'; expected a number in [0.01, 1]"},
      {"cluster.node.gpus=0",
       "--set:1:19: error: gpus: found '0'; expected an integer in [1, 1024]"},
      {"parallelism.expert=48",
       "--set:1:20: error: parallelism.expert: found 48, which does not divide the 128 GPUs of a "
       "pipeline rank; nearest legal: 32 or 64\n"
       "--set:1:20: error: parallelism.expert: found 48, which does not divide the 256 experts of "
       "deepseek_v3; nearest legal: 32 or 64 (architecture: base.yaml:2:15)"},
      {"schedule.stages.0=[1]", "--set:1:1: error: schedule.stages: found a map; expected a list"},
      {"published.99.value=1 s",
       "--set:1:1: error: published.99: found '99' as an index into a list of 1"},
      {"batch.sequences.x=1",
       "--set:1:1: error: batch.sequences.x: found a path into '15360', which has no keys"},
      {"seed=: :", "--set:1:6: error: found nothing as a key; expected a name"},
      {"architecture.layers=0",
       "--set:1:21: error: layers: found '0'; expected an integer in [1, 4096]"},
      {"=3", "--set:1:1: error: found '=3'; expected path=value"},
  };
  const ScenarioFile file{"extends: base\n"};
  for (const Row& row : rows) {
    INFO(row.set);
    CHECK(file.mistakes({row.set}) == row.message);
  }
}

}  // namespace tessera::app
