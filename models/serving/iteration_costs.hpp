#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "models/gpu/kernel_timer.hpp"
#include "models/serving/inference.hpp"
#include "models/streams/costs.hpp"
#include "models/workload/part_work.hpp"
#include "models/workload/routing.hpp"

namespace tessera::serving {

/// GPUs of an instance: expert-tensor ranks side by side, then expert ranks; tensor ranks side by
/// side.
struct InstanceGroups {
  std::vector<int> tensor, expert_tensor;
  std::vector<int> expert;    ///< One of each expert rank.
  std::vector<int> instance;  ///< All.

  explicit InstanceGroups(const workload::InferenceSplit& split);
};

/// One direction of the experts' exchange in one pass.
struct ExchangeQuestion {
  workload::Exchange::Direction direction = workload::Exchange::Direction::dispatch;
  std::int64_t tokens = 0;  ///< Of each rank.
  /// Low latency: what the kernel that empties the buffers takes by itself, which the exchange's
  /// time includes.
  core::Time received{};
  friend auto operator<=>(const ExchangeQuestion&, const ExchangeQuestion&) = default;
};

/// Times of everything that an iteration runs, each asked once.
class IterationCosts {
 public:
  /// Job, load and timers outlive the costs.
  IterationCosts(const InferenceJob& job, gpu::KernelTimer& kernels,
                 streams::NetworkTimer& network);

  /// Kernels get `sms`; 0: all. What a kernel reads that the one before wrote is in L2 where it
  /// fits; caches of keys and values and weights are not.
  const streams::KernelCost& kernel(const workload::Work& work, int sms);
  const streams::ExchangeCost& exchange(const ExchangeQuestion& question,
                                        const workload::RoutedLoad& load);
  /// What sending takes of the SMs, beside the kernel that fills the buffers.
  const streams::NetworkCost& sending(const ExchangeQuestion& question,
                                      const workload::RoutedLoad& load);
  const streams::NetworkCost& transfer(const workload::Transfer& transfer);

  [[nodiscard]] core::Grade worst_grade() const;

 private:
  [[nodiscard]] streams::NetworkCost sum(const std::vector<int>& gpus, core::Bytes size);

  const InferenceJob& job_;
  InstanceGroups groups_;
  gpu::KernelTimer& timer_;
  streams::NetworkTimer& network_;
  /// By operator, implementation, SMs, and whether it runs beside others.
  std::map<std::tuple<std::string, std::string, int, bool>, streams::KernelCost> kernels_;
  std::map<std::pair<ExchangeQuestion, std::int64_t>, streams::ExchangeCost> exchanges_;
  std::map<std::tuple<workload::Transfer::Kind, workload::Transfer::Group, std::int64_t>,
           streams::NetworkCost>
      transfers_;
  std::map<const streams::ExchangeCost*, streams::NetworkCost> sendings_;
};

}  // namespace tessera::serving
