#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/gpu/launch_totals.hpp"
#include "models/gpu/machine.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation_library.hpp"
#include "sim/core/activity.hpp"

namespace tessera::gpu {

/// Bumped whenever equal inputs could give another result; part of cache keys and of the stamp of
/// fits.
inline constexpr const char* kModelVersion = "14";

/// How much wider, in the logarithm, an interval is where the fit is another device's or another
/// kernel's. Source: `calibrate --leave-out device` on bf16 GEMM, where the sources' intervals hold
/// 90 % of the target's rows when 1.3 to 1.5 (H200 from H100) and 1.3 to 1.9 times (B200 from
/// Hopper) as wide.
inline constexpr double kTransferWidening = 1.5;

/// One GPU: device description, calibrated parameters and kernel implementations.
class Gpu : public KernelTimer {
 public:
  /// Parameters of `fits` replace the priors of the device description and the costs of the
  /// implementations by name: "hbm.reachable", "launch_us", "cublas_hopper.prologue", ... A name
  /// nobody knows throws std::invalid_argument.
  Gpu(device::DeviceSpec device, device::FitSet fits, kernels::ImplementationLibrary library,
      Fidelity fidelity);

  KernelResult run(const workload::Operator& op, const ExecutionContext& context,
                   const std::string& implementation = {}) override;

  /// `context` without what no result of this GPU depends on: operands that replays leave in L2
  /// whole, or not at all, are warm, or cold. Contexts that it makes equal give equal results.
  [[nodiscard]] ExecutionContext as_seen(ExecutionContext context) const;
  /// As seen, and without what only the clock and the host's time depend on: runs one after another
  /// that are equal but for these are simulated once.
  [[nodiscard]] ExecutionContext as_simulated(ExecutionContext context) const;

  /// What pipes, memory levels and warp roles do over the time of the kernel's main launch, every
  /// wave simulated, with the launch that run() chooses. Passes before and after it are left out.
  /// Throws core::Refusal at analytical fidelity, which has no time inside a kernel.
  [[nodiscard]] core::Activity activity(const workload::Operator& op,
                                        const ExecutionContext& context,
                                        const std::string& implementation = {}) const;

  [[nodiscard]] const device::DeviceSpec& device() const { return device_; }

 private:
  struct Launch;
  struct Simulation;
  [[nodiscard]] const Simulation& simulation(const workload::Operator& op,
                                             const ExecutionContext& context,
                                             const std::string& implementation);
  void apply(const device::FitSet& fits);
  [[nodiscard]] Machine machine(const ExecutionContext& context) const;
  [[nodiscard]] std::vector<std::unique_ptr<kernels::TileKernel>> launches(
      const workload::Operator& op, const kernels::Implementation& implementation,
      const ExecutionContext& context, const Machine& machine) const;
  [[nodiscard]] LaunchTotals simulate(const Machine& machine,
                                      std::vector<std::unique_ptr<kernels::TileKernel>>& launches,
                                      const ExecutionContext& context, Launch& chosen) const;
  double add_passes(const workload::Operator& op, const kernels::Implementation& implementation,
                    const Machine& machine, const ExecutionContext& context, LaunchTotals& totals,
                    Launch& chosen) const;
  [[nodiscard]] double idle_us(double launches, double busy_us,
                               const ExecutionContext& context) const;
  [[nodiscard]] double l2_capacity() const;
  [[nodiscard]] kernels::Residency residency_in(const ExecutionContext& context) const;
  [[nodiscard]] core::Watts power_limit(core::Seconds at_boost,
                                        const ExecutionContext& context) const;
  void add_interval(const workload::Operator& op, KernelResult& result) const;

  device::DeviceSpec device_;
  device::FitSet fits_;
  kernels::ImplementationLibrary library_;
  Fidelity fidelity_;
  std::shared_ptr<const Simulation> last_;
  // Calibrated numbers that no device description holds; priors as in the constructor.
  double launch_us_;
  double l2_reachable_;
  double l2_capacity_;
  double l2_merged_;
  double l2_dirty_;
  double hbm_write_reachable_;
  double sm_port_bytes_;
  double tensor_scale_;
  double power_burst_;
  double power_active_w_;
};

/// Name under which fits keep the residuals of an implementation's kernels of one type, or of one
/// kind of row kernel. `implementation` as in KernelResult.
std::string residual_name(const workload::Operator& op, std::string_view implementation);

/// Results of launches one after another on one stream.
KernelResult in_sequence(const std::vector<KernelResult>& results);

}  // namespace tessera::gpu
