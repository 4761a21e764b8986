#include "models/gpu/counters.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace tessera::gpu {
namespace {

constexpr double kBusy = 0.5;        ///< Below this no resource binds: latency does.
constexpr double kSectorBytes = 32;  ///< Of L2 and DRAM counters.
constexpr double kPercent = 100;

double pipe(const LaunchTotals& totals, kernels::Pipe which) {
  return totals.pipe_cycles[static_cast<std::size_t>(which)];
}

}  // namespace

Resource Utilization::binding() const {
  const std::array<std::pair<double, Resource>, 7> shares = {
      {{tensor, Resource::tensor},
       {fp32, Resource::fp32},
       {sfu, Resource::sfu},
       {shared_memory, Resource::shared_memory},
       {issue, Resource::issue},
       {l2, Resource::l2},
       {hbm, Resource::hbm}}};
  const auto busiest = std::max_element(shares.begin(), shares.end());
  return busiest->first < kBusy ? Resource::latency : busiest->second;
}

Utilization utilization(const Machine& machine, const kernels::LaunchPlan& plan,
                        const LaunchTotals& totals) {
  const double sm_cycles = std::max(1.0, totals.cycles * machine.sms);
  Utilization used;
  used.tensor = totals.tensor_cycles / sm_cycles;
  used.fp32 =
      (pipe(totals, kernels::Pipe::fp32) + pipe(totals, kernels::Pipe::conversion)) / sm_cycles;
  used.sfu = pipe(totals, kernels::Pipe::sfu) / sm_cycles;
  used.shared_memory = pipe(totals, kernels::Pipe::shared_memory) / sm_cycles;
  used.issue = totals.loads * plan.issue_cycles / sm_cycles;
  const double l2_bytes = totals.l2_read_bytes + totals.l2_write_bytes;
  used.l2 = std::max(l2_bytes / (machine.l2_bytes * std::max(1.0, totals.cycles)),
                     totals.l2_read_bytes / machine.sm_port_bytes / sm_cycles);
  used.hbm = (totals.hbm_read_bytes / machine.hbm_bytes +
              totals.hbm_write_bytes / machine.hbm_write_bytes) /
             std::max(1.0, totals.cycles);
  return used;
}

void fill_counters(const Machine& machine, const kernels::LaunchPlan& plan,
                   const LaunchTotals& totals, KernelResult& result) {
  const Utilization used = utilization(machine, plan, totals);
  const double l2_bytes = totals.l2_read_bytes + totals.l2_write_bytes;
  auto& c = result.counters;
  c["sm__cycles_elapsed.max"] = totals.cycles;
  c["sm__inst_executed_pipe_tensor.sum"] = totals.mma_instructions;
  c["sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed"] = kPercent * used.tensor;
  c["sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_elapsed"] = kPercent * used.fp32;
  c["sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_elapsed"] = kPercent * used.sfu;
  c["lts__t_bytes.sum"] = l2_bytes;
  c["lts__t_sectors_op_read.sum"] = totals.l2_read_bytes / kSectorBytes;
  c["lts__t_sectors_op_write.sum"] = totals.l2_write_bytes / kSectorBytes;
  c["lts__t_sector_hit_rate.pct"] =
      totals.l2_read_bytes > 0 ? kPercent * totals.l2_hit_bytes / totals.l2_read_bytes : 0;
  c["lts__t_bytes.avg.pct_of_peak_sustained_elapsed"] = kPercent * used.l2;
  c["dram__bytes_read.sum"] = totals.hbm_read_bytes;
  c["dram__bytes_write.sum"] = totals.hbm_write_bytes;
  c["dram__throughput.avg.pct_of_peak_sustained_elapsed"] = kPercent * used.hbm;
  c["smsp__inst_executed_op_tma.sum"] = totals.loads;
  c["l1tex__data_bank_bytes.sum"] = totals.shared_memory_bytes;
  c["launch__grid_size"] = static_cast<double>(plan.tiles * plan.cluster);
  c["launch__waves_per_multiprocessor"] =
      static_cast<double>(plan.tiles) /
      std::max(1, cluster_slots(machine.gpc_sizes, plan.cluster, plan.ctas_per_sm));
  double waited = 0;
  for (const double cycles : totals.stall_cycles) waited += cycles;
  for (std::size_t i = 0; i < totals.stall_cycles.size(); ++i)
    if (totals.stall_cycles[i] > 0)
      result.stalls[static_cast<Resource>(i)] = totals.stall_cycles[i] / waited;
}

}  // namespace tessera::gpu
