#pragma once

#include <limits>
#include <map>
#include <string>

#include "sim/core/result.hpp"
#include "sim/core/timeline.hpp"
#include "sim/core/units.hpp"

namespace tessera::gpu {

enum class Fidelity { cycle, analytical };

/// The conditions under which a kernel runs; with kernel, device and fits, all that its result
/// depends on.
struct ExecutionContext {
  int sms = 0;                    ///< SMs given to it; 0: all.
  bool warm_activations = false;  ///< A in L2 before the kernel starts.
  bool warm_weights = false;      ///< B in L2 before the kernel starts.
  /// Bytes that replays touch between two uses of the same A, or of the same B: of what is warm, as
  /// much is still in L2 as survives them. 0: all of it.
  double activation_reuse_bytes = 0;
  double weight_reuse_bytes = 0;
  /// How many like it ran right before, one after the other: the power limit sees load only after a
  /// while, and until then lets a burst draw more. Infinitely many: sustained.
  double launches_before = std::numeric_limits<double>::infinity();
  /// Energy of its tensor operations over that of operands with random values, (0, 1]: wires that
  /// carry the same bits again draw less.
  double operand_activity = 1.0;
  double hbm_share = 1.0;  ///< Part of HBM left by neighbours, (0, 1].
  double l2_share = 1.0;   ///< Part of L2 bandwidth left by neighbours, (0, 1].
  double enqueue_us = 0;   ///< The host launches one by one and takes this long for each; 0:
                           ///< replayed from a CUDA graph.
  bool exact = false;      ///< Simulate every wave instead of extrapolating the steady state.
  friend auto operator<=>(const ExecutionContext&, const ExecutionContext&) = default;
};

/// Resources that a kernel can wait for.
enum class Resource { tensor, fp32, sfu, shared_memory, issue, l2, hbm, latency, launch, power };
[[nodiscard]] std::string to_string(Resource resource);

/// One kernel on one GPU.
struct KernelResult {
  core::Cycles<core::SmClock> cycles{};  ///< From first CTA to last, launch excluded.
  core::Hertz clock{};                   ///< SM clock it ran at.
  core::Time time{};                     ///< cycles at clock, plus launch latency.
  core::Time lower{};                    ///< 90 % interval of `time`.
  core::Time upper{};
  core::Grade grade = core::Grade::assumed;
  Resource binding = Resource::latency;
  std::string implementation;
  double flops = 0;
  double hbm_bytes = 0;  ///< Read and written.
  double l2_bytes = 0;   ///< Between L2 and SMs.
  core::Joules energy{};
  core::Watts power{};
  std::map<std::string, double> counters;  ///< Under Nsight Compute's names.
  std::map<Resource, double>
      stalls;                ///< Share of the time that warp roles waited, by what they waited for.
  std::uint64_t events = 0;  ///< Simulated; 0 at analytical fidelity.
};

}  // namespace tessera::gpu
