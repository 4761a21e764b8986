#include "sim/app/preferred_kernels.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tessera::app {

PreferringKernelTimer::PreferringKernelTimer(gpu::KernelTimer& timer,
                                             const kernels::ImplementationLibrary& library,
                                             const device::DeviceSpec& device,
                                             const std::vector<std::string>& names)
    : timer_(timer), device_(device) {
  for (const std::string& name : names)
    if (const kernels::Implementation* found = library.find(name)) preferred_.push_back(found);
}

gpu::KernelResult PreferringKernelTimer::run(const workload::Operator& op,
                                             const gpu::ExecutionContext& context,
                                             const std::string& implementation) {
  if (!implementation.empty()) return timer_.run(op, context, implementation);
  for (const kernels::Implementation* each : preferred_)
    if (each->can_run(op, device_)) return timer_.run(op, context, each->name);
  return timer_.run(op, context, {});
}

std::vector<std::string> kernel_notes(const kernels::ImplementationLibrary& library,
                                      const device::DeviceSpec& device,
                                      const std::vector<std::string>& names) {
  std::vector<std::string> used;
  std::vector<std::string> other;
  for (const std::string& name : names) {
    const kernels::Implementation* found = library.find(name);
    if (found == nullptr) continue;
    (found->generations.contains(device.generation) ? used : other).push_back(name);
  }
  std::vector<std::string> notes;
  if (!used.empty())
    notes.push_back(fmt::format("Kernels that the scenario asks for: {}.", fmt::join(used, ", ")));
  if (!other.empty())
    notes.push_back(fmt::format("Not made for {}, whose own kernels run instead: {}.",
                                device::to_string(device.generation), fmt::join(other, ", ")));
  return notes;
}

}  // namespace tessera::app
