#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/device/cluster_spec.hpp"
#include "models/device/price_list.hpp"
#include "reports/ownership.hpp"
#include "sim/core/result.hpp"

/// From a step time and a power draw to the bill.
namespace tessera::reports {

/// What the bill depends on besides the simulation.
struct CostAssumptions {
  device::Price rental;       ///< USD per GPU and hour.
  device::Price pue;          ///< Power usage effectiveness: facility energy over IT energy, >= 1.
  device::Price electricity;  ///< USD per kWh.
  std::optional<OwnershipAssumptions> ownership;  ///< The GPUs are owned, not rented.
};

/// What the simulation says about a whole run.
struct RunFigures {
  core::Estimate step;            ///< Seconds.
  core::Estimate joules_per_gpu;  ///< Of one GPU during one step, idle power included.
  double tokens_per_step = 0;
  double tokens = 0;  ///< Of the whole run; 0: only per-token figures are given.
  int gpus = 0;
};

/// What the simulation says about serving, prefill or decode, at steady state.
struct TokenFigures {
  core::Estimate tokens_per_second_per_gpu;
  core::Estimate watts_per_gpu;  ///< Drawn by one GPU, idle power included; the node's rest apart.
};

/// The hour of a rented or owned GPU. `watts`: IT power per GPU, the node's and the network's part
/// included, where the simulation knows it; a rent does not depend on it.
[[nodiscard]] GpuHour gpu_hour(const CostAssumptions& assumptions,
                               const std::optional<core::Estimate>& watts = std::nullopt);

/// IT power of one GPU with its part of node and network, W, when the GPU itself draws `watts`.
[[nodiscard]] core::Estimate machine_watts(const core::Estimate& watts,
                                           const device::ClusterSpec& cluster);

/// a * b. Relative errors are taken as independent: the logarithms of upper over value (and value
/// over lower) add in quadrature. Grade: the worse. Requires: both intervals are positive.
[[nodiscard]] core::Estimate product(const core::Estimate& a, const core::Estimate& b,
                                     const std::string& unit);
/// a / b, with errors as in product().
[[nodiscard]] core::Estimate ratio(const core::Estimate& a, const core::Estimate& b,
                                   const std::string& unit);
/// Exact factor.
[[nodiscard]] core::Estimate scaled(const core::Estimate& a, double factor,
                                    const std::string& unit);
/// a + b of figures that err together: bounds add.
[[nodiscard]] core::Estimate sum(const core::Estimate& a, const core::Estimate& b);

/// Adds GPU-hours, rent, energy and electricity: the quantities `gpu_hours`, `dollars`,
/// `energy_megawatt_hours`, `megawatt_hours_per_trillion_tokens`, `gpu_power`,
/// `electricity_dollars` where the run's length is known, and the rows of result.cost and
/// result.energy.
///
/// Rented GPUs cost GPU-hours times a rate, so that idle spares, storage and staff are inside the
/// rate or outside the model. Owned ones cost what owned_hour() says, electricity at the simulated
/// draw included; `electricity_dollars` is then a part of `dollars`. Energy is that of GPUs, nodes,
/// switches and, by PUE, the facility.
void add_cost(core::Result& result, const RunFigures& run, const CostAssumptions& assumptions,
              const device::ClusterSpec& cluster);

/// Adds the bill of tokens: the quantities `dollars_per_million_tokens`, `joules_per_token` (of the
/// facility: GPUs, nodes, switches, times PUE) and `gpu_power`, and the rows of result.cost and
/// result.energy. Requires: positive throughput and power.
void add_token_cost(core::Result& result, const TokenFigures& tokens,
                    const CostAssumptions& assumptions, const device::ClusterSpec& cluster);

}  // namespace tessera::reports
