#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace tessera::workload {

/// Loads of experts as somebody published them: by their spread. All relative to the mean load.
struct PublishedSkew {
  double standard_deviation = 0;  ///< Of experts; 0: all alike.
  /// Of ranks of `experts_per_rank` neighbouring experts; 0: nobody published it, and experts are
  /// independent.
  double rank_standard_deviation = 0;
  std::int64_t experts_per_rank = 1;
  friend bool operator==(const PublishedSkew&, const PublishedSkew&) = default;
};

/// Draws the loads of `experts` experts, mean 1. An expert's popularity is log-normal: the product
/// of many independent preferences of tokens. Its parameter is solved so that the drawn loads have
/// exactly the stated standard deviation, so what is left to the draw is their order and how far
/// the tail reaches. Independent experts of standard deviation s give ranks of n about s / sqrt(n);
/// where ranks were published to differ more, the experts of a rank share a log-normal factor, as
/// strong as that needs; draws whose independent experts differ more already are drawn again.
/// No load exceeds `largest` (a token chooses an expert once: experts / top_k); draws beyond it are
/// drawn again. Throws core::Refusal (outside_model) when no draw of 1,000 fits.
[[nodiscard]] std::vector<double> draw_expert_loads(std::int64_t experts, double largest,
                                                    const PublishedSkew& skew,
                                                    std::mt19937_64& generator);

}  // namespace tessera::workload
