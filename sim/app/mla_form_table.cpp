#include "sim/app/mla_form_table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/serving/mla_forms.hpp"
#include "reports/format.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::DataType;
using std::int64_t;

/// Sequences that are answered together: one long prompt, or a batch of decode.
constexpr int64_t kSequences[] = {1, 32};

std::string microseconds(core::Time time) {
  return fmt::format("{} us", reports::number(core::to_microseconds(time)));
}

std::string cell(const serving::FormQuestion& question, gpu::KernelTimer& kernels) {
  try {
    const auto from = serving::expanding_wins_from(question, kernels);
    const serving::FormTimes one = serving::form_times(question, 1, kernels);
    const std::string decode =
        fmt::format("1: {} / {}", microseconds(one.absorbed), microseconds(one.expanded));
    if (!from) return decode + "; never";
    const serving::FormTimes there = serving::form_times(question, *from, kernels);
    return fmt::format("{}; from {}: {} / {}", decode, *from, microseconds(there.absorbed),
                       microseconds(there.expanded));
  } catch (const core::Refusal& refusal) {
    return refusal.what();
  }
}

gpu::Gpu analytical_gpu(const std::string& name) {
  const device::DeviceSpec device = device::load_device(name);
  return {device, device::load_fit_for(device), kernels::ImplementationLibrary::load(),
          gpu::Fidelity::analytical};
}

}  // namespace

std::string mla_form_text(const workload::Architecture& architecture,
                          const CacheQuestion& question) {
  const auto* latent = std::get_if<workload::LatentAttention>(&architecture.attention);
  if (latent == nullptr) return "";
  if (latent->sparse)
    return "Sparse attention chooses latents and absorbs its projections at any length.\n";
  const DataType linear = core::parse_data_type(question.weights).value();
  std::string text = fmt::format(
      "A layer's attention with its projections ({}), absorbed / expanded, by new tokens of a\n"
      "sequence; \"from\": where expanding starts to win. Kernels at analytical fidelity.\n",
      question.weights);
  for (const std::string& device : question.devices) {
    gpu::Gpu gpu = analytical_gpu(device);
    for (const int64_t context : question.contexts) {
      for (const int64_t sequences : kSequences) {
        const serving::FormQuestion form{.architecture = architecture,
                                         .precision = {.linear = linear, .experts = linear},
                                         .sequences = sequences,
                                         .context = context};
        text += fmt::format("  {:<10} {:>7} tokens x {:>2}  {}\n", device, context, sequences,
                            cell(form, gpu));
      }
    }
  }
  return text;
}

}  // namespace tessera::app
