#pragma once

#include <string>
#include <vector>

#include "models/streams/costs.hpp"
#include "models/streams/network_timer.hpp"
#include "models/workload/operators.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// Rows of a core::Result that jobs of any kind write alike.
namespace tessera::streams {

/// A kernel that runs `calls` times, on a device of `device_sms`.
[[nodiscard]] core::KernelRow kernel_row(const std::string& name, const KernelCost& cost,
                                         workload::Pass pass, double calls, int device_sms);

/// Dearest in all calls first; of equals, in the order in which they come.
void sort_by_time(std::vector<core::KernelRow>& rows);

/// What a kernel takes of the energy of a GPU beside what it would draw idle meanwhile, J.
[[nodiscard]] double joules_above_idle(const gpu::KernelResult& kernel, core::Watts idle);

/// Bytes and times of one kind of traffic of one GPU.
struct Traffic {
  std::string operation;
  double calls = 0;
  double nvlink_bytes = 0, rdma_bytes = 0;
  double value = 0, lower = 0, upper = 0;  ///< Seconds in all.
  double exposed = 0;                      ///< Seconds in all.
  core::Grade grade = core::Grade::measured;

  /// `times` of `cost`, each taking `time`.
  void add(const NetworkCost& cost, const TimeRange& time, double times);
  void add(const NetworkCost& cost, double times) {
    add(cost, {cost.time, cost.lower, cost.upper, Family::network}, times);
  }
  /// One row a fabric that carries bytes; the exposed time is told once.
  void write(std::vector<core::NetworkRow>& rows) const;
};

}  // namespace tessera::streams
