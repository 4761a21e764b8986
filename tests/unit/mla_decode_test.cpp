#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <map>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/mla_decode.hpp"

namespace tessera {
namespace {

using core::DataType;
using kernels::LatentPart;
using kernels::LatentSchedule;
using workload::AbsorbedAttention;

const kernels::ImplementationLibrary& library() {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return kLibrary;
}

double time_us(const std::string& device, const AbsorbedAttention& op, gpu::Fidelity fidelity,
               const gpu::ExecutionContext& context = {}) {
  gpu::Gpu on{device::load_device(device), {}, library(), fidelity};
  return core::to_microseconds(on.run(op, context).time);
}

/// Blocks that `schedule` visits of each (sequence, tile), and whether none is visited twice.
bool covers(const LatentSchedule& schedule, std::int64_t blocks) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<int>> visits;
  for (const auto& parts : schedule.ctas)
    for (const LatentPart& part : parts) {
      auto& count = visits[{part.sequence, part.tile}];
      count.resize(static_cast<std::size_t>(blocks));
      for (std::int64_t b = part.first; b < part.last; ++b) ++count.at(static_cast<std::size_t>(b));
    }
  if (static_cast<std::int64_t>(visits.size()) != schedule.sequences * schedule.row_tiles)
    return false;
  for (const auto& [tile, count] : visits)
    for (const int times : count)
      if (times != 1) return false;
  return true;
}

}  // namespace

TEST_CASE("every library visits each block of each sequence once for every tile of rows",
          "[mla_decode]") {
  const auto* name = GENERATE("flashmla_hopper", "flash_attention_3_mla", "trtllm_mla_blackwell",
                              "fmha_mla", "xqa_mla_client");
  const kernels::Implementation& implementation = *library().find(name);
  for (const std::int64_t batch : {1, 3, 64, 300})
    for (const std::int64_t kv : {1, 64, 65, 5000})
      for (const std::int64_t heads : {1, 16, 32, 128}) {
        const LatentSchedule schedule = kernels::latent_schedule(
            {.batch = batch, .kv_length = kv, .heads = heads}, implementation, 132);
        CAPTURE(batch, kv, heads);
        CHECK(covers(schedule, (kv + schedule.tile.n - 1) / schedule.tile.n));
      }
}

TEST_CASE("FlashMLA deals out equal ranges", "[mla_decode]") {
  const kernels::Implementation& flashmla = *library().find("flashmla_hopper");
  // 128 heads are two tiles of 64 rows, so 66 ranges each: (10 x (64 + 5) / 66) + 5 = 16 blocks, of
  // which each part costs 5.
  const LatentSchedule schedule =
      kernels::latent_schedule({.batch = 10, .kv_length = 4096, .heads = 128}, flashmla, 132);
  CHECK(schedule.row_tiles == 2);
  for (const auto& parts : schedule.ctas) {
    std::int64_t payload = 0;
    for (const LatentPart& part : parts) payload += part.last - part.first + 5;
    CHECK(payload <= 16);
  }
}

TEST_CASE("parts fill the SMs as each library counts them", "[mla_decode]") {
  const auto parts = [&](const char* name, std::int64_t batch, std::int64_t kv, std::int64_t sms) {
    return kernels::latent_schedule({.batch = batch, .kv_length = kv, .heads = 16},
                                    *library().find(name), sms)
        .most_parts;
  };
  // FlashAttention-3: 64 tiles twice are 128 of 132; four blocks are never cut; 106 tiles nearly
  // fill the machine.
  CHECK(parts("flash_attention_3_mla", 64, 8192, 132) == 2);
  CHECK(parts("flash_attention_3_mla", 64, 256, 132) == 1);
  CHECK(parts("flash_attention_3_mla", 106, 8192, 132) == 1);
  // TensorRT-LLM: 148 SMs hold 9 parts of 16 sequences; a part has at least 256 tokens.
  CHECK(parts("trtllm_mla_blackwell", 16, 8192, 148) == 9);
  CHECK(parts("trtllm_mla_blackwell", 16, 512, 148) == 2);
  CHECK(parts("trtllm_mla_blackwell", 16, 256, 148) == 1);
}

TEST_CASE("a tile holds as many heads as fill it", "[mla_decode]") {
  const auto rows = [](std::int64_t heads) {
    return kernels::latent_schedule({.kv_length = 64, .heads = heads},
                                    *library().find("trtllm_mla_blackwell"), 148)
        .tile.m;
  };
  CHECK(rows(1) == 16);
  CHECK(rows(63) == 16);
  CHECK(rows(64) == 64);
  CHECK(rows(128) == 128);
}

TEST_CASE("bytes of a cached token and operations of a pair", "[mla_decode]") {
  CHECK(kernels::latent_token_bytes({}) == 1152);
  CHECK(kernels::latent_token_bytes({.type = DataType::fp8, .cache_type = DataType::fp8}) == 576);
  CHECK(kernels::latent_token_bytes({.cache_type = DataType::fp8}) == 656);  // FlashMLA
  CHECK(workload::flops(AbsorbedAttention{.batch = 2, .kv_length = 100, .heads = 3}).value() ==
        2.0 * 2 * 3 * 100 * (576 + 512));
  // Two queries: the first does not see the last token.
  CHECK(workload::flops(AbsorbedAttention{.q_length = 2, .kv_length = 100}).value() ==
        2.0 * 199 * (576 + 512));
  CHECK(workload::flops(AbsorbedAttention{.kv_length = 9000, .selected = 2048}).value() ==
        2.0 * 2048 * (576 + 512));
}

TEST_CASE("absorbed decode takes at least its cache over HBM and its products", "[mla_decode]") {
  const auto fidelity = GENERATE(gpu::Fidelity::cycle, gpu::Fidelity::analytical);
  const AbsorbedAttention few{.batch = 64, .kv_length = 16384, .heads = 16};
  const AbsorbedAttention many{.batch = 64, .kv_length = 16384, .heads = 128};
  const double cache_us = 64.0 * 16384 * 1152 / 3.35e12 * 1e6;
  CHECK(time_us("h100_sxm", few, fidelity) > cache_us);
  CHECK(time_us("h100_sxm", few, fidelity) < 1.5 * cache_us);
  const double products_us = workload::flops(many).value() / 1070e12 * 1e6;  // at 1.98 GHz
  CHECK(time_us("h100_sxm", many, fidelity) > products_us);
  CHECK(time_us("h100_sxm", many, fidelity) < 2.2 * products_us);
  // A cache that stays in L2 is read faster.
  const AbsorbedAttention small{.batch = 8, .kv_length = 2048, .heads = 16};
  CHECK(time_us("h100_sxm", small, fidelity, {.warm_activations = true}) <
        time_us("h100_sxm", small, fidelity));
}

TEST_CASE("long ranges in coarse boxes take as long as their blocks", "[mla_decode]") {
  // From 96 blocks a CTA on, boxes grow; time stays proportional on both sides of the change.
  const auto time = [](std::int64_t kv) {
    return time_us("h100_sxm", {.batch = 132, .kv_length = kv, .heads = 64}, gpu::Fidelity::cycle);
  };
  const double step = (time(64 * 96) - time(64 * 48)) / 48;
  CHECK((time(64 * 192) - time(64 * 96)) / 96 == Catch::Approx(step).epsilon(0.03));
  CHECK((time(64 * 384) - time(64 * 192)) / 192 == Catch::Approx(step).epsilon(0.03));
}

}  // namespace tessera
