#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "models/serving/inference.hpp"
#include "models/workload/inference_lowering.hpp"
#include "models/workload/routing.hpp"

/// Where the tokens of a job's passes go: drawing it is dear, and chunks and halves repeat.
namespace tessera::serving {

/// Rows of each expert on one GPU: those of the hottest rank. Uniform routing of fewer rows than
/// reach every expert leaves some without any: of E experts, T tokens with k each reach
/// E (1 - (1 - k/E)^T) on average.
[[nodiscard]] std::vector<std::int64_t> expert_rows(const workload::MixtureOfExperts& moe,
                                                    const workload::RoutedLoad& load, bool uniform,
                                                    double tokens_of_all);

/// Loads of one job's experts, each number of tokens routed once. The job outlives it.
class PassLoads {
 public:
  explicit PassLoads(const InferenceJob& job) : job_(job) {}

  /// When every GPU sends `sent` tokens to experts. Throws core::Refusal as workload::route does.
  [[nodiscard]] const workload::RoutedLoad& of(std::int64_t sent);
  /// Rows of each expert on the hottest rank when attention ranks run `pass` and GPUs send `sent`.
  [[nodiscard]] std::vector<std::int64_t> hottest_rows(const workload::ForwardPass& pass,
                                                       std::int64_t sent);

 private:
  const InferenceJob& job_;
  std::map<std::int64_t, workload::RoutedLoad> loads_;  ///< By tokens sent.
};

}  // namespace tessera::serving
