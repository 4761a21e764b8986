#include "models/kernels/implementation.hpp"

#include <fmt/format.h>

#include <optional>

#include "sim/core/diagnostics.hpp"

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

namespace {

/// The MMA type of an operator that uses tensor cores.
std::optional<core::DataType> tensor_type(const workload::Operator& op) {
  if (const auto* gemm = std::get_if<workload::Gemm>(&op)) return gemm->type;
  if (const auto* grouped = std::get_if<workload::GroupedGemm>(&op)) return grouped->type;
  if (const auto* attention = std::get_if<workload::Attention>(&op)) return attention->type;
  if (const auto* latent = std::get_if<workload::AbsorbedAttention>(&op)) return latent->type;
  if (const auto* scores = std::get_if<workload::IndexScores>(&op)) return scores->type;
  return std::nullopt;
}

}  // namespace

bool Implementation::can_run(const workload::Operator& op, const device::DeviceSpec& device) const {
  if (workload::family(op) != family || !generations.contains(device.generation)) return false;
  // Backward attention is another kernel, with another count of FP32 work.
  const auto* attention = std::get_if<workload::Attention>(&op);
  if (attention && attention->backward != parameters.contains("backward_fp32")) return false;
  const auto type = tensor_type(op);
  return !type || (types.contains(*type) && device.sm.tensor_flops.contains(*type));
}

bool Implementation::is_default(const workload::Operator& op,
                                const device::DeviceSpec& device) const {
  if (on_request || !can_run(op, device)) return false;
  // One query a sequence against a cache is decoding.
  const auto* attention = std::get_if<workload::Attention>(&op);
  if (attention && decode.has_value() != (attention->q_length == 1 && attention->kv_length > 1))
    return false;
  const auto type = tensor_type(op);
  // A row kernel with types is one library's for casts to them, a choice by name.
  return type ? default_for.contains(*type) : types.empty();
}

namespace {

/// The number that `cost` names; null when the implementation has none.
double* find_cost(Implementation& implementation, const std::string& cost) {
  const std::map<std::string, double*> costs = {
      {"prologue", &implementation.costs.prologue_cycles},
      {"epilogue", &implementation.costs.epilogue_cycles},
      {"step", &implementation.costs.step_cycles},
      {"chain", &implementation.costs.chain_cycles},
      {"issue", &implementation.costs.issue_cycles},
      {"reduction", &implementation.costs.reduction_cycles},
      {"mma_latency", &implementation.costs.mma_latency_cycles},
      {"tensor_scale", &implementation.costs.tensor_scale}};
  if (const auto found = costs.find(cost); found != costs.end()) return found->second;
  const auto found = implementation.parameters.find(cost);
  return found == implementation.parameters.end() ? nullptr : &found->second;
}

}  // namespace

double parameter(const Implementation& implementation, const std::string& name) {
  const auto found = implementation.parameters.find(name);
  if (found == implementation.parameters.end())
    throw core::Refusal(
        core::RefusalKind::outside_model,
        fmt::format("implementation '{}' lacks the parameter '{}'", implementation.name, name));
  return found->second;
}

double parameter_or(const Implementation& implementation, const std::string& name,
                    double otherwise) {
  const auto found = implementation.parameters.find(name);
  return found == implementation.parameters.end() ? otherwise : found->second;
}

bool apply_cost(std::vector<Implementation>& implementations, const std::string& name,
                double value) {
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos) return false;
  const std::string owner = name.substr(0, dot), cost = name.substr(dot + 1);
  bool applied = false;
  for (Implementation& implementation : implementations) {
    const bool inherits = implementation.base == owner && !implementation.stated.contains(cost);
    if (implementation.name != owner && !inherits) continue;
    if (double* const found = find_cost(implementation, cost)) {
      *found = value;
      applied = true;
    }
  }
  return applied;
}

}  // namespace tessera::kernels
