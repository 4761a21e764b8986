#include "models/gpu/activity_recorder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <numeric>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::gpu {
namespace {

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

const core::ActivityTrack& track(const core::Activity& activity, const std::string& name) {
  for (const core::ActivityTrack& each : activity.tracks)
    if (each.name == name) return each;
  FAIL("no track " << name);
  return activity.tracks.front();
}

/// Cycles that a part was busy: its shares times the width of their bins.
double busy(const core::Activity& activity, const std::vector<float>& part) {
  double sum = 0;
  for (std::size_t bin = 0; bin < part.size(); ++bin) {
    const double from = static_cast<double>(bin) * activity.bin_cycles;
    sum += part[bin] * std::min(activity.bin_cycles, activity.cycles - from);
  }
  return sum;
}

Gpu h100(Fidelity fidelity) {
  const auto device = device::load_device("h100_sxm");
  return Gpu{device, device::load_fit_for(device), kernels::ImplementationLibrary::load(),
             fidelity};
}

}  // namespace

TEST_CASE("bins widen as time goes on and lose nothing", "[timeline]") {
  ActivityRecorder recorder{2};
  recorder.tensor(0, 0, 10);
  recorder.tensor(1, 5.25, 6);
  recorder.tensor(0, 1000, 1500);
  recorder.waited(1, Resource::hbm, 100, 90'000);
  recorder.hbm(99'999, 100'000);
  const core::Activity seen = recorder.activity(100'000);
  CHECK(seen.tracks.size() == 3);
  const core::ActivityTrack& tensor = track(seen, "tensor pipe");
  CHECK_THAT(busy(seen, tensor.parts[0]), WithinRel(510, 1e-4));
  CHECK_THAT(busy(seen, tensor.parts[1]), WithinRel(0.75, 1e-4));
  CHECK_THAT(busy(seen, track(seen, "waiting for hbm").parts[1]), WithinRel(89'900, 1e-4));
  CHECK_THAT(busy(seen, track(seen, "HBM").parts[0]), WithinRel(1, 1e-3));
  CHECK(seen.bin_cycles * static_cast<double>(tensor.parts[0].size()) >= 100'000);
}

TEST_CASE("a timeline holds the cycles that the counters hold", "[timeline]") {
  Gpu gpu = h100(Fidelity::cycle);
  const workload::Gemm gemm{.m = 2048, .n = 4096, .k = 1024};
  const ExecutionContext exact{.exact = true};
  const KernelResult result = gpu.run(gemm, exact);
  const core::Activity activity = gpu.activity(gemm, exact);
  CHECK_THAT(activity.cycles, WithinAbs(static_cast<double>(result.cycles.value()), 1));
  const core::ActivityTrack& tensor = track(activity, "tensor pipe");
  CHECK(tensor.parts.size() == 132);
  double cycles = 0;
  for (const auto& part : tensor.parts) cycles += busy(activity, part);
  CHECK_THAT(100 * cycles / 132 / activity.cycles,
             WithinRel(result.counters.at("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_"
                                          "elapsed"),
                       1e-3));
  CHECK_THAT(
      100 * busy(activity, track(activity, "HBM").parts[0]) / activity.cycles,
      WithinRel(result.counters.at("dram__throughput.avg.pct_of_peak_sustained_elapsed"), 0.02));
  for (const core::ActivityTrack& each : activity.tracks)
    for (const auto& part : each.parts)
      for (const float share : part)
        if (each.unit != "warp roles per SM") CHECK(share <= 1.001);
}

TEST_CASE("the closed form has no timeline", "[timeline]") {
  CHECK_THROWS_AS(
      h100(Fidelity::analytical).activity(workload::Gemm{.m = 64, .n = 64, .k = 64}, {}),
      core::Refusal);
}

}  // namespace tessera::gpu
