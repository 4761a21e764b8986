#include "models/kernels/implementation.hpp"

namespace tessera::kernels {

std::string to_string(GemmSchedule schedule) {
  switch (schedule) {
    case GemmSchedule::multistage:
      return "multistage";
    case GemmSchedule::cooperative:
      return "cooperative";
    case GemmSchedule::pingpong:
      return "pingpong";
    case GemmSchedule::tmem:
      return "tmem";
  }
  return "cooperative";
}

bool Implementation::can_run(const workload::Operator& op, const device::DeviceSpec& device) const {
  if (workload::family(op) != family || !generations.contains(device.generation)) return false;
  const auto runs = [&](core::DataType type) {
    return types.contains(type) && device.sm.tensor_flops.contains(type);
  };
  if (const auto* gemm = std::get_if<workload::Gemm>(&op)) return runs(gemm->type);
  if (const auto* grouped = std::get_if<workload::GroupedGemm>(&op)) return runs(grouped->type);
  if (const auto* attention = std::get_if<workload::Attention>(&op)) return runs(attention->type);
  return true;
}

}  // namespace tessera::kernels
