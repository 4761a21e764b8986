#include <rapidcheck.h>

#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/stream.hpp"
#include "tests/property/holds.hpp"

/// Is each kernel family physically possible for any shape?
namespace tessera {
namespace {

using core::DataType;
using workload::Operator;

/// A whole number in [low, high].
std::int64_t any(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

const std::vector<std::string> kDevices = {"a100_sxm", "h800_sxm", "b200_sxm"};

gpu::Gpu& on(const std::string& device, gpu::Fidelity fidelity) {
  static std::map<std::pair<std::string, gpu::Fidelity>, gpu::Gpu> gpus;
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  const auto key = std::pair{device, fidelity};
  if (const auto found = gpus.find(key); found != gpus.end()) return found->second;
  return gpus.emplace(key, gpu::Gpu{device::load_device(device), {}, kLibrary, fidelity})
      .first->second;
}

gpu::Fidelity any_fidelity() {
  return any(0, 1) == 0 ? gpu::Fidelity::cycle : gpu::Fidelity::analytical;
}

double seconds(gpu::Gpu& gpu, const Operator& op) {
  return core::to_seconds(gpu.run(op, {}).time).value();
}

/// Time that no kernel with these operations and compulsory bytes can beat.
double roofline(const device::DeviceSpec& device, double flops, DataType type, double bytes) {
  const double peak =
      device.sm.tensor_flops.at(type) * device.sm.count * device.clock.boost.value();
  // What is written may stay in L2.
  const double over_hbm = bytes - static_cast<double>(device.l2.size.value());
  return std::max(flops / peak, over_hbm / device.hbm.peak_rate.value());
}

workload::GroupedGemm any_grouped() {
  workload::GroupedGemm grouped{.n = 128 * any(1, 24), .fixed = 128 * any(1, 16)};
  const bool depth = any(0, 1) == 1;
  if (depth) grouped.varying = workload::GroupedGemm::Varying::depth;
  for (std::int64_t g = any(1, 6); g > 0; --g) grouped.sizes.push_back(any(0, 3) * any(0, 600));
  grouped.sizes.push_back(any(1, 300));
  return grouped;
}

workload::Attention any_attention() {
  const std::int64_t group = std::int64_t{1} << any(0, 2);
  const std::int64_t kv_heads = any(1, 8);
  const std::int64_t dim = std::vector<std::int64_t>{64, 128, 192}[any(0, 2)];
  const std::int64_t queries = any(1, 2000);
  return {.batch = any(1, 2),
          .q_length = queries,
          .kv_length = queries + any(0, 1) * any(0, 1000),
          .heads = kv_heads * group,
          .kv_heads = kv_heads,
          .qk_dim = dim,
          .v_dim = std::min<std::int64_t>(dim, 128),
          .causal = any(0, 1) == 1};
}

workload::Stream any_stream() {
  const auto kind = static_cast<workload::StreamKind>(
      any(0, static_cast<int>(workload::StreamKind::compute_scale)));
  return {.kind = kind,
          .rows = any(1, 5000),
          .columns = 128 * any(1, 64),
          .output = any(0, 1) == 0 ? DataType::bf16 : DataType::fp8_block,
          .fan = static_cast<int>(any(1, 8))};
}

}  // namespace

TEST_CASE("grouped products stay above the roofline and grow with a group", "[property]") {
  CHECK(holds("grouped", [] {
    const std::string& device = kDevices[any(0, 2)];
    gpu::Gpu& gpu = on(device, any_fidelity());
    const workload::GroupedGemm grouped = any_grouped();
    const double time = seconds(gpu, grouped);
    RC_ASSERT(time >= roofline(gpu.device(), workload::flops(grouped).value(), grouped.type, 0));
    workload::GroupedGemm larger = grouped;
    larger.sizes.back() += 2048;
    // The closed form picks the tile: of two that it ranks alike the slower one may run.
    RC_ASSERT(seconds(gpu, larger) >= 0.95 * time);
  }));
}

TEST_CASE("attention stays above the roofline and grows with its length", "[property]") {
  CHECK(holds("attention", [] {
    const std::string& device = kDevices[any(0, 2)];
    gpu::Gpu& gpu = on(device, any_fidelity());
    workload::Attention attention = any_attention();
    attention.backward = any(0, 2) == 0;
    const double time = seconds(gpu, attention);
    RC_ASSERT(time >=
              roofline(gpu.device(), workload::flops(attention).value(), attention.type, 0));
    workload::Attention longer = attention;
    longer.q_length += 2048;
    longer.kv_length += 2048;
    RC_ASSERT(seconds(gpu, longer) >= 0.97 * time);
  }));
}

TEST_CASE("streams stay above HBM's roofline and grow with their rows", "[property]") {
  CHECK(holds("streams", [] {
    const std::string& device = kDevices[any(0, 2)];
    gpu::Gpu& gpu = on(device, any_fidelity());
    const workload::Stream stream = any_stream();
    const auto facts = kernels::stream_facts(stream);
    const double elements = static_cast<double>(stream.rows * stream.columns);
    const double time = seconds(gpu, stream);
    RC_ASSERT(time >= roofline(gpu.device(), 0, DataType::bf16,
                               elements * (facts.read_bytes + facts.write_bytes)));
    workload::Stream larger = stream;
    larger.rows = 2 * stream.rows + 64;
    RC_ASSERT(seconds(gpu, larger) >= 0.97 * time);
  }));
}

TEST_CASE("equal kernels take equal times", "[property]") {
  CHECK(holds("again", [] {
    gpu::Gpu& gpu = on(kDevices[any(0, 2)], gpu::Fidelity::cycle);
    const workload::Attention attention = any_attention();
    RC_ASSERT(gpu.run(attention, {}).time == gpu.run(attention, {}).time);
  }));
}

}  // namespace tessera
