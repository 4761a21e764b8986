#include "sim/app/preferred_kernels.hpp"

#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"

namespace tessera::app {
namespace {

/// Tells which implementation it was asked for.
class EchoTimer : public gpu::KernelTimer {
 public:
  gpu::KernelResult run(const workload::Operator&, const gpu::ExecutionContext&,
                        const std::string& implementation) override {
    gpu::KernelResult result;
    result.implementation = implementation;
    return result;
  }
};

std::string asked(const std::string& device, const workload::Operator& op,
                  const std::string& named = {}) {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  const device::DeviceSpec spec = device::load_device(device);
  EchoTimer echo;
  PreferringKernelTimer timer{
      echo, kLibrary, spec, {"flash_attention_2_hopper", "cutlass_block_2024_hopper"}};
  return timer.run(op, {}, named).implementation;
}

TEST_CASE("the first preferred kernel that can run an operator is asked for", "[kernels]") {
  const workload::Attention forward{.q_length = 128, .kv_length = 128};
  workload::Attention backward = forward;
  backward.backward = true;
  const workload::Gemm block{.m = 128, .n = 128, .k = 128, .type = core::DataType::fp8_block};
  const workload::Gemm plain{.m = 128, .n = 128, .k = 128};
  CHECK(asked("h800_sxm", forward) == "flash_attention_2_hopper");
  CHECK(asked("h800_sxm", block) == "cutlass_block_2024_hopper");
  CHECK(asked("h800_sxm", backward).empty());
  CHECK(asked("h800_sxm", plain).empty());
  CHECK(asked("b200_sxm", forward).empty());
  CHECK(asked("h800_sxm", forward, "flash_attention_3") == "flash_attention_3");
}

TEST_CASE("a report says which preferred kernels the device cannot run", "[kernels]") {
  const auto library = kernels::ImplementationLibrary::load();
  const std::vector<std::string> names = {"flash_attention_2_hopper", "cublas_blackwell"};
  const auto notes = kernel_notes(library, device::load_device("b200_sxm"), names);
  REQUIRE(notes.size() == 2);
  CHECK(notes[0] == "Kernels that the scenario asks for: cublas_blackwell.");
  CHECK(notes[1] ==
        "Not made for blackwell, whose own kernels run instead: flash_attention_2_hopper.");
  CHECK(kernel_notes(library, device::load_device("b200_sxm"), {}).empty());
}

}  // namespace
}  // namespace tessera::app
