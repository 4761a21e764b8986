#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "models/workload/architecture.hpp"

namespace tessera::workload {

/// Draws the experts of one token at a time: the best top_k of scores that are a preference plus
/// noise, within the `group_limit` groups with the greatest sum of their best
/// top_k / group_limit scores (arXiv 2412.19437, section 2.1.2).
class ExpertGate {
 public:
  enum class Noise {
    gumbel,    ///< Preferences are log popularities: draws by popularity without replacement.
    logistic,  ///< Preferences are log odds: an expert is chosen about as often as its odds say
               ///< (Pareto sampling, B. Rosen, J. Statist. Plann. Inference 62, 1997).
  };
  /// Experts lie in `groups` equal groups in order; group_limit = groups: no limit.
  struct Shape {
    std::int64_t top_k = 1;
    std::int64_t groups = 1;
    std::int64_t group_limit = 1;
  };
  ExpertGate(Shape shape, Noise noise, std::vector<double> preferences);

  /// top_k distinct experts, best first.
  std::vector<int> choose(std::mt19937_64& generator);
  /// Of `tokens` tokens, one after another.
  std::vector<int> choose(std::mt19937_64& generator, std::int64_t tokens);

 private:
  void drop_groups();

  Shape shape_;
  Noise noise_;
  std::vector<double> preferences_;
  std::vector<double> scores_;
  std::vector<int> order_;
};

/// A gate that chooses expert e for the part rows[e] / tokens of its tokens, tokens being the sum
/// of `rows` over top_k. Without a limit on groups the odds alone do it, within 1 % or so; under
/// one they are corrected against sampled tokens. Requires: no expert has more rows than there are
/// tokens.
[[nodiscard]] ExpertGate gate_for_rows(const ExpertGate::Shape& shape,
                                       const std::vector<std::int64_t>& rows, std::uint64_t seed);

}  // namespace tessera::workload
