#pragma once

#include <cstdint>
#include <vector>

/// Whether a kernel computed what it should: its outputs at sampled places against a reference in
/// double precision.
namespace tessera::calibrate::probes {

/// ||found - expected|| / ||expected|| over what was added; infinite once a value is not finite, so
/// that outputs which nobody wrote (poisoned with NaN) never pass.
class RelativeError {
 public:
  void add(double found, double expected);
  /// Requires: something was added.
  [[nodiscard]] double value() const;

 private:
  double difference_ = 0;  ///< Squared norm.
  double expected_ = 0;    ///< Squared norm.
  bool finite_ = true;
  bool empty_ = true;
};

/// Places of a [rows, columns] result at which it is compared: corners, the last row and column of
/// tiles (where kernels go wrong), and scrambled ones; deterministic, no repeats.
struct Place {
  std::int64_t row, column;
  friend auto operator<=>(const Place&, const Place&) = default;
};
[[nodiscard]] std::vector<Place> sampled_places(std::int64_t rows, std::int64_t columns, int count,
                                                std::uint64_t seed);

}  // namespace tessera::calibrate::probes
