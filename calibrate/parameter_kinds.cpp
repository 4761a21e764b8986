#include "calibrate/parameter_kinds.hpp"

#include <algorithm>
#include <map>

#include "calibrate/parameters.hpp"

namespace tessera::calibrate {
namespace {

/// By full name for a GPU's, by what follows the implementation for the others.
const std::map<std::string, std::string> kMeanings = {
    {"launch_us", "from one kernel's end to the next one's first CTA"},
    {"hbm.reachable", "part of HBM's peak rate that reads reach"},
    {"hbm.write_reachable", "part of HBM's peak rate that writes reach"},
    {"hbm.latency_cycles", "an L2 miss beyond an L2 hit, on an idle device"},
    {"l2.reachable", "part of L2's peak rate that loads reach"},
    {"l2.latency_cycles", "an L2 hit, request to data"},
    {"l2.merged", "part of a read that its merging with an equal read under way saves"},
    {"l2.dirty", "part of L2 that written data occupies before it leaves"},
    {"l2.capacity", "part of L2 that reused data can occupy"},
    {"sm_port_bytes", "from L2 into one SM"},
    {"tensor_scale", "tensor pipe cycles per ideal cycle"},
    {"power.burst", "power that a burst may draw, over the limit"},
    {"power.idle_w", "power without work"},
    {"power.active_w", "power of SMs that have work, beside its operations"},
    {"power.tensor_energy", "energy of tensor operations, over the description's"},
    {"prologue", "CTA start to its first load"},
    {"epilogue", "draining accumulators, beside pipes and stores"},
    {"step", "tensor pipe cycles lost per main-loop step"},
    {"chain", "least time of a step: dependent MMAs and a barrier"},
    {"issue", "copy engine, per load"},
    {"reduction", "hand-over between the CTAs of a split tile"},
    {"mma_latency", "from an MMA's end to the warps that wait for it"},
    {"softmax_fp32", "FP32 instructions per score of a softmax"},
    {"polynomial_share", "part of exponentials computed on FP32 lanes"},
    {"box_bytes", "bytes that a CTA of a row kernel has in flight"},
    {"issue_per_element", "instructions per element, beside arithmetic"},
    {"cta_launch", "between the starts of two CTAs of an SM"},
    {"gather", "of the producer, for four rows gathered by index"},
    {"sum_traffic", "of L2's rate per byte added there, beside read and write"},
};

std::string after_first_dot(const std::string& name) {
  const std::size_t at = name.find('.');
  return at == std::string::npos ? name : name.substr(at + 1);
}

std::string meaning_of(const std::string& name, ParameterKind kind) {
  const bool own = kind == ParameterKind::implementation && !kMeanings.contains(name);
  if (const auto found = kMeanings.find(own ? after_first_dot(name) : name);
      found != kMeanings.end())
    return found->second;
  if (kind == ParameterKind::harness) return "added to every call of the file";
  if (kind != ParameterKind::gap) return "as hw_configs/kernels says";
  if (name.ends_with(".packing.row"))
    return "packing the scales of 1,000 rows of activations, one after the other";
  if (name.find(".prepare") != std::string::npos)
    return "preparing scales that the call packs anew";
  return "added between two kernels of a call";
}

std::map<std::string, double> priors(const device::DeviceSpec& device,
                                     const kernels::ImplementationLibrary& library) {
  std::map<std::string, double> known;
  for (const FreeParameter& p : gpu_parameters(device)) known[p.name] = p.prior;
  for (const FreeParameter& p : power_parameters(device)) known[p.name] = p.prior;
  for (const kernels::Implementation& implementation : library.all())
    for (const FreeParameter& p : implementation_parameters(implementation))
      known[p.name] = p.prior;
  return known;
}

}  // namespace

ParameterKind kind_of(const std::string& name) {
  if (name.starts_with("residual.")) return ParameterKind::residual;
  if (name.starts_with("harness."))
    return std::count(name.begin(), name.end(), '.') == 2 ? ParameterKind::harness
                                                          : ParameterKind::gap;
  if (name.starts_with("power.") && name != "power.burst") return ParameterKind::energy;
  if (kMeanings.contains(name)) return ParameterKind::gpu;
  return ParameterKind::implementation;
}

std::string owner_of(const std::string& name) {
  switch (kind_of(name)) {
    case ParameterKind::gpu:
    case ParameterKind::energy:
      return "gpu";
    case ParameterKind::harness:
      return name;
    case ParameterKind::gap: {
      const std::size_t file_end = name.find('.', std::string{"harness."}.size());
      return name.substr(0, name.find('.', file_end + 1));
    }
    default:
      return name.substr(0, name.find('.'));
  }
}

std::vector<DescribedParameter> describe_parameters(const FitRecord& record,
                                                    const device::DeviceSpec& device,
                                                    const kernels::ImplementationLibrary& library) {
  const auto known = priors(device, library);
  std::vector<DescribedParameter> described;
  for (const auto& [name, parameter] : record.fits.parameters) {
    const ParameterKind kind = kind_of(name);
    if (kind == ParameterKind::residual) continue;
    DescribedParameter d{.name = name,
                         .kind = kind,
                         .owner = owner_of(name),
                         .meaning = meaning_of(name, kind),
                         .fitted = parameter};
    if (kind == ParameterKind::harness || kind == ParameterKind::gap) {
      d.prior = harness_parameter(name).prior;
    } else if (const auto prior = known.find(name); prior != known.end()) {
      d.prior = prior->second;
    }
    described.push_back(std::move(d));
  }
  std::stable_sort(described.begin(), described.end(), [](const auto& a, const auto& b) {
    return std::pair{a.kind, a.owner} < std::pair{b.kind, b.owner};
  });
  return described;
}

}  // namespace tessera::calibrate
