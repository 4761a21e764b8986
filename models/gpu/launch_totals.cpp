#include "models/gpu/launch_totals.hpp"

#include <cstddef>

namespace tessera::gpu {

LaunchTotals& LaunchTotals::operator+=(const LaunchTotals& other) {
  cycles += other.cycles;
  tensor_cycles += other.tensor_cycles;
  for (std::size_t i = 0; i < pipe_cycles.size(); ++i) pipe_cycles[i] += other.pipe_cycles[i];
  l2_read_bytes += other.l2_read_bytes;
  l2_write_bytes += other.l2_write_bytes;
  l2_hit_bytes += other.l2_hit_bytes;
  hbm_read_bytes += other.hbm_read_bytes;
  hbm_write_bytes += other.hbm_write_bytes;
  shared_memory_bytes += other.shared_memory_bytes;
  loads += other.loads;
  mma_instructions += other.mma_instructions;
  ctas += other.ctas;
  for (std::size_t i = 0; i < stall_cycles.size(); ++i) stall_cycles[i] += other.stall_cycles[i];
  return *this;
}

LaunchTotals operator*(LaunchTotals totals, double factor) {
  totals.cycles *= factor;
  totals.tensor_cycles *= factor;
  for (double& c : totals.pipe_cycles) c *= factor;
  totals.l2_read_bytes *= factor;
  totals.l2_write_bytes *= factor;
  totals.l2_hit_bytes *= factor;
  totals.hbm_read_bytes *= factor;
  totals.hbm_write_bytes *= factor;
  totals.shared_memory_bytes *= factor;
  totals.loads *= factor;
  totals.mma_instructions *= factor;
  totals.ctas *= factor;
  for (double& c : totals.stall_cycles) c *= factor;
  return totals;
}

LaunchTotals operator-(const LaunchTotals& a, const LaunchTotals& b) {
  LaunchTotals difference = b * -1.0;
  difference += a;
  return difference;
}

}  // namespace tessera::gpu
