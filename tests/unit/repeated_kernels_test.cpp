#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "sim/app/gpu_timer.hpp"

namespace tessera::app {

TEST_CASE("kernels run again when a fit changes more than what harnesses add", "[repeated]") {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  const device::DeviceSpec h100 = device::load_device("h100_sxm");
  const std::vector<calibrate::KernelQuery> queries = {
      {workload::Stream{.rows = 1000, .columns = 4096}, {}, {}}};
  RepeatedKernels kernels;
  const auto time = [&](const device::FitSet& fits) {
    gpu::Gpu gpu{h100, fits, kLibrary, gpu::Fidelity::analytical};
    return kernels.run(gpu, fits, gpu::Fidelity::analytical, queries, 1).front().result->time;
  };
  device::FitSet fits;
  fits.parameters["launch_us"] = {.value = 1};
  fits.parameters["harness.gemm.trtllm"] = {.value = 1};
  const core::Time first = time(fits);
  fits.parameters["harness.gemm.trtllm"].value = 5;
  CHECK(time(fits) == first);
  fits.parameters["launch_us"].value = 2;
  CHECK(time(fits) == first + core::Time{1'000'000});  // one microsecond later
  fits.parameters["launch_us"].value = 1;
  CHECK(time(fits) == first);
}

}  // namespace tessera::app
