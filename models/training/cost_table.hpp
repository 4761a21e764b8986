#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "models/gpu/kernel_timer.hpp"
#include "models/streams/costs.hpp"
#include "models/streams/network_timer.hpp"
#include "models/training/training.hpp"
#include "models/workload/operators.hpp"
#include "models/workload/part_work.hpp"
#include "models/workload/routing.hpp"

namespace tessera::training {

using streams::ExchangeCost;
using streams::Family;
using streams::family_of;
using streams::KernelCost;
using streams::kFamilies;
using streams::NetworkCost;
using streams::NetworkTimer;
using streams::TimeRange;
using streams::Variation;

/// GPUs that one GPU's layers talk to, in the order of ranks, itself included.
struct CommunicationGroups {
  std::vector<int> expert;
  std::vector<int> tensor = {};
  std::vector<int> context = {};
  std::vector<int> expert_tensor = {};

  [[nodiscard]] const std::vector<int>& of(workload::Transfer::Group group) const;
};

/// Times of everything that a job runs, each asked once.
class CostTable {
 public:
  /// Job, load and timers outlive the table.
  CostTable(const TrainingJob& job, const workload::RoutedLoad& load, CommunicationGroups groups,
            gpu::KernelTimer& kernels, NetworkTimer& network);

  /// `promoted`: workload::Work::promoted. What the power limit slows takes as long as on the
  /// slowest of the job's GPUs.
  const KernelCost& kernel(const workload::Operator& op, int sms, bool promoted = false);
  /// Wire type by direction as the job's precision says; the same forward and backward. By
  /// all-to-all, a rank's rows are as many as the hottest one's and spread evenly over the others.
  const ExchangeCost& exchange(workload::Exchange::Direction direction);
  /// A collective or message inside of a layer; one that copy engines move takes no SMs.
  const NetworkCost& transfer(const workload::Transfer& transfer);
  /// All kernels asked so far.
  [[nodiscard]] const std::map<std::pair<std::string, int>, KernelCost>& kernels() const {
    return kernels_;
  }
  [[nodiscard]] const std::map<workload::Exchange::Direction, ExchangeCost>& exchanges() const {
    return exchanges_;
  }

 private:
  [[nodiscard]] NetworkCost exchanged(workload::Exchange::Direction direction, std::int64_t tokens,
                                      core::DataType type);

  const TrainingJob& job_;
  const workload::RoutedLoad& load_;
  CommunicationGroups groups_;
  gpu::KernelTimer& timer_;
  NetworkTimer& network_;
  std::map<std::pair<std::string, int>, KernelCost> kernels_;  ///< By description and SMs.
  std::map<workload::Exchange::Direction, ExchangeCost> exchanges_;
  /// By kind, group, bytes and whether copy engines move it.
  std::map<std::tuple<workload::Transfer::Kind, workload::Transfer::Group, std::int64_t, bool>,
           NetworkCost>
      transfers_;
};

}  // namespace tessera::training
