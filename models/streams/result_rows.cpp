#include "models/streams/result_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tessera::streams {
namespace {

double seconds(core::Time time) { return core::to_seconds(time).value(); }

}  // namespace

core::KernelRow kernel_row(const std::string& name, const KernelCost& cost, workload::Pass pass,
                           double calls, int device_sms) {
  const gpu::KernelResult& r = cost.result;
  core::KernelRow row;
  row.name = name;
  row.family = workload::family(cost.op);
  row.implementation = r.implementation;
  row.shape = workload::describe(cost.op);
  row.pass = workload::to_string(pass);
  row.calls_per_step = calls;
  row.time = {seconds(cost.time.value), seconds(cost.time.lower), seconds(cost.time.upper), "s",
              r.grade};
  row.cycles = static_cast<double>(r.cycles.value());
  row.clock_hz = r.clock.value();
  row.flops = r.flops;
  row.hbm_bytes = r.hbm_bytes;
  row.l2_bytes = r.l2_bytes;
  row.energy_joules = r.energy.value();
  row.binding = gpu::to_string(r.binding);
  if (cost.sms > 0) row.note = fmt::format("on {} of {} SMs", cost.sms, device_sms);
  if (cost.beside)
    row.note += fmt::format("{}beside others: time is what it adds", row.note.empty() ? "" : ", ");
  return row;
}

void sort_by_time(std::vector<core::KernelRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.time.value * a.calls_per_step > b.time.value * b.calls_per_step;
  });
}

double joules_above_idle(const gpu::KernelResult& kernel, core::Watts idle) {
  return std::max(0.0, kernel.energy.value() - idle.value() * seconds(kernel.time));
}

void Traffic::add(const NetworkCost& cost, const TimeRange& time, double times) {
  calls += times;
  nvlink_bytes += cost.nvlink_bytes * times;
  rdma_bytes += cost.rdma_bytes * times;
  value += seconds(time.value) * times;
  lower += seconds(time.lower) * times;
  upper += seconds(time.upper) * times;
  grade = core::worst(grade, cost.grade);
}

void Traffic::write(std::vector<core::NetworkRow>& rows) const {
  if (calls <= 0) return;
  bool first = true;
  for (const auto& [fabric, bytes] :
       {std::pair{"rdma", rdma_bytes}, std::pair{"nvlink", nvlink_bytes}}) {
    if (bytes <= 0) continue;
    rows.push_back({operation,
                    fabric,
                    bytes,
                    {value, lower, upper, "s", grade},
                    value > 0 ? bytes / value : 0,
                    first ? exposed : 0});
    first = false;
  }
}

}  // namespace tessera::streams
