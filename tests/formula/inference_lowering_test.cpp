#include <catch2/catch_test_macros.hpp>
#include <map>

#include "models/workload/architecture_file.hpp"
#include "models/workload/inference_lowering.hpp"
#include "sim/core/diagnostics.hpp"

/// FLOPs and shapes of one layer's forward pass, counted by hand from published configurations.
namespace tessera::workload {
namespace {

std::map<std::string, double> flops_by_name(const ForwardPart& part) {
  std::map<std::string, double> flops;
  for (const Steps* list : part.lists())
    for (const Step& step : *list)
      if (step.work()) flops[step.work()->name] += workload::flops(step.work()->op).value();
  return flops;
}

std::map<std::string, Transfer> transfers(const ForwardPart& part) {
  std::map<std::string, Transfer> found;
  for (const Steps* list : part.lists())
    for (const Step& step : *list)
      if (step.transfer()) found[step.transfer()->name] = *step.transfer();
  return found;
}

const Operator& op_of(const ForwardPart& part, const std::string& name) {
  for (const Steps* list : part.lists())
    for (const Step& step : *list)
      if (step.work() && step.work()->name == name) return step.work()->op;
  FAIL("no kernel is called " << name);
  throw std::logic_error(name);
}

InferencePrecision fp8_block() {
  return {.linear = DataType::fp8_block,
          .experts = DataType::fp8_block,
          .dispatch = DataType::fp8_block};
}

TEST_CASE("a decode layer of DeepSeek-V3 has the FLOPs of its published shapes", "[lowering]") {
  const InferenceLowering lowering{{load_architecture("deepseek_v3"),
                                    fp8_block(),
                                    {.expert = 128, .path = ExpertPath::low_latency},
                                    {.absorbed = true, .sequences = 64, .context = 4096},
                                    {256, 256}}};
  const ForwardPart layer = lowering.layer(10);
  CHECK(layer.exchanges);
  CHECK(lowering.sent_tokens() == 64);
  const auto flops = flops_by_name(layer);
  CHECK(flops.at("qkv_down") == 2.0 * 64 * 2112 * 7168);
  CHECK(flops.at("q_up") == 2.0 * 64 * (128 * 192) * 1536);
  CHECK(flops.at("q_absorb") == 2.0 * 128 * 64 * 512 * 128);
  CHECK(flops.at("attention") == 2.0 * 64 * 128 * 4096 * (576 + 512));
  CHECK(flops.at("v_absorb") == 2.0 * 128 * 64 * 128 * 512);
  CHECK(flops.at("o") == 2.0 * 64 * 7168 * (128 * 128));
  CHECK(flops.at("gate") == 2.0 * 64 * 256 * 7168);
  CHECK(flops.at("shared_gate_up") == 2.0 * 64 * 4096 * 7168);
  CHECK(flops.at("shared_down") == 2.0 * 64 * 7168 * 2048);
  CHECK(flops.at("expert_gate_up") == 2.0 * 512 * 4096 * 7168);
  CHECK(flops.at("expert_down") == 2.0 * 512 * 7168 * 2048);
  CHECK(std::get<GroupedGemm>(op_of(layer, "expert_down")).masked);
  CHECK(transfers(layer).empty());
}

TEST_CASE("prefill of DeepSeek-V3 expands keys and values of all tokens that are seen",
          "[lowering]") {
  const auto layer = [](std::int64_t context) {
    return InferenceLowering{
        {load_architecture("deepseek_v3"),
         fp8_block(),
         {.expert = 32, .path = ExpertPath::normal},
         {.absorbed = false, .sequences = 2, .queries = 4096, .context = context},
         std::vector<std::int64_t>(8, 8192)}}
        .layer(10);
  };
  const auto whole = flops_by_name(layer(4096));
  CHECK(whole.at("kv_up") == 2.0 * 8192 * (128 * 256) * 512);
  // Every query sees itself and those before it: n (n + 1) / 2 pairs.
  CHECK(whole.at("attention") == 2.0 * 2 * 128 * (4096.0 * 4097 / 2) * (192 + 128));
  CHECK(whole.at("expert_gate_up") == 2.0 * 8 * 8192 * 4096 * 7168);
  CHECK_FALSE(std::get<GroupedGemm>(op_of(layer(4096), "expert_down")).masked);
  // After a prefix of as many tokens, it is expanded again and seen by all queries.
  const auto later = flops_by_name(layer(8192));
  CHECK(later.at("kv_up") == 2 * whole.at("kv_up"));
  CHECK(later.at("attention") ==
        whole.at("attention") + 2.0 * 2 * 128 * (4096.0 * 4096) * (192 + 128));
  CHECK(later.at("o") == whole.at("o"));
}

TEST_CASE("tensor ranks of Llama 3.1 70B share heads and columns and sum twice a layer",
          "[lowering]") {
  const InferenceLowering lowering{{load_architecture("llama3.1_70b"),
                                    {},
                                    {.tensor = 8, .path = ExpertPath::replicated},
                                    {.absorbed = true, .sequences = 16, .context = 2000},
                                    {}}};
  const ForwardPart layer = lowering.layer(0);
  const auto flops = flops_by_name(layer);
  CHECK(flops.at("qkv") == 2.0 * 16 * (8 + 1 + 1) * 128 * 8192);
  CHECK(flops.at("attention") == 2.0 * 16 * 8 * 2000 * (128 + 128));
  CHECK(flops.at("o") == 2.0 * 16 * 8192 * 1024);
  CHECK(flops.at("mlp_gate_up") == 2.0 * 16 * (2 * 28672 / 8) * 8192);
  CHECK(flops.at("mlp_down") == 2.0 * 16 * 8192 * (28672 / 8));
  const auto sums = transfers(layer);
  REQUIRE(sums.size() == 2);
  for (const auto& [name, sum] : sums) {
    CHECK(sum.kind == Transfer::Kind::all_reduce);
    CHECK(sum.bytes == 16 * 8192 * 2);
  }
  const auto& attention = std::get<Attention>(op_of(layer, "attention"));
  CHECK(attention.heads == 8);
  CHECK(attention.kv_heads == 1);
  CHECK(flops_by_name(lowering.head(16)).at("head") == 2.0 * 16 * (128256 / 8) * 8192);
}

TEST_CASE("experts of Qwen3 235B on eight GPUs of one tensor group are summed with its MLPs",
          "[lowering]") {
  const InferenceLowering lowering{{load_architecture("qwen3_235b_a22b"),
                                    {.linear = DataType::fp8_block, .experts = DataType::fp8_block},
                                    {.tensor = 8, .expert = 8, .path = ExpertPath::replicated},
                                    {.absorbed = true, .sequences = 32, .context = 1024},
                                    std::vector<std::int64_t>(16, 2)}};
  const ForwardPart layer = lowering.layer(0);
  CHECK_FALSE(layer.exchanges);
  const auto flops = flops_by_name(layer);
  CHECK(flops.at("qkv") == 2.0 * 32 * (8 + 1 + 1) * 128 * 4096);
  CHECK(flops.at("expert_gate_up") == 2.0 * 32 * (2 * 1536) * 4096);
  CHECK(flops.at("expert_down") == 2.0 * 32 * 4096 * 1536);
  const auto sums = transfers(layer);
  REQUIRE(sums.size() == 2);
  CHECK(sums.at("mlp sum").group == Transfer::Group::expert);
  CHECK(sums.at("mlp sum").bytes == 32 * 4096 * 2);
}

TEST_CASE("tensor ranks that exchange with experts send tokens of their own", "[lowering]") {
  const InferenceLowering lowering{{load_architecture("deepseek_v3"),
                                    fp8_block(),
                                    {.tensor = 4, .expert = 32, .path = ExpertPath::low_latency},
                                    {.absorbed = true, .sequences = 64, .context = 4096},
                                    std::vector<std::int64_t>(8, 16)}};
  CHECK(lowering.sent_tokens() == 16);
  const ForwardPart layer = lowering.layer(10);
  const auto moved = transfers(layer);
  CHECK(moved.at("attention sum").kind == Transfer::Kind::reduce_scatter);
  CHECK(moved.at("token gather").kind == Transfer::Kind::all_gather);
  CHECK(flops_by_name(layer).at("gate") == 2.0 * 16 * 256 * 7168);
  CHECK(flops_by_name(layer).at("attention") == 2.0 * 64 * 32 * 4096 * (576 + 512));
}

TEST_CASE("windows shorten what attention reads", "[lowering]") {
  const InferenceLowering lowering{{load_architecture("gpt_oss_120b"),
                                    {},
                                    {.tensor = 1, .path = ExpertPath::replicated},
                                    {.absorbed = true, .sequences = 4, .context = 4096},
                                    std::vector<std::int64_t>(128, 1)}};
  CHECK(std::get<Attention>(op_of(lowering.layer(0), "attention")).window == 128);
  CHECK(std::get<Attention>(op_of(lowering.layer(1), "attention")).window == 0);
}

TEST_CASE("splits that do not divide the model are refused", "[lowering]") {
  const auto lower = [](const char* model, const InferenceSplit& split) {
    return InferenceLowering{{load_architecture(model), {}, split, {}, {}}};
  };
  const auto reason = [&](const char* model, const InferenceSplit& split) {
    try {
      (void)lower(model, split);
    } catch (const core::Refusal& refusal) {
      return std::string(refusal.what());
    }
    return std::string("accepted");
  };
  CHECK(reason("llama3.1_8b", {.tensor = 3, .path = ExpertPath::replicated}) ==
        "32 attention heads do not divide over 3 tensor ranks");
  CHECK(reason("llama3.1_8b", {.expert = 4, .path = ExpertPath::replicated}) ==
        "llama3.1_8b has no experts to share");
  CHECK(reason("deepseek_v3", {.expert = 8, .expert_tensor = 3}) ==
        "an expert of 2048 does not divide over 3 expert-tensor ranks");
}

}  // namespace
}  // namespace tessera::workload
