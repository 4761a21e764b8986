#pragma once

#include <array>

#include "models/kernels/tile_program.hpp"

namespace tessera::gpu {

/// Sums over a launch that counters, energy and binding resource come from.
struct LaunchTotals {
  double cycles = 0;
  double tensor_cycles = 0;                           ///< Of all SMs.
  std::array<double, kernels::kPipes> pipe_cycles{};  ///< Of all SMs.
  double l2_read_bytes = 0;
  double l2_write_bytes = 0;
  double l2_hit_bytes = 0;
  double hbm_read_bytes = 0;
  double hbm_write_bytes = 0;
  double shared_memory_bytes = 0;
  double loads = 0;
  double mma_instructions = 0;
  double ctas = 0;
  /// SM-cycles that roles waited for a load, by what delayed the load most.
  std::array<double, 10> stall_cycles{};

  [[nodiscard]] double hbm_bytes() const { return hbm_read_bytes + hbm_write_bytes; }
  LaunchTotals& operator+=(const LaunchTotals& other);
  friend LaunchTotals operator*(LaunchTotals totals, double factor);
  friend LaunchTotals operator-(const LaunchTotals& a, const LaunchTotals& b);
};

}  // namespace tessera::gpu
