#pragma once

#include <optional>
#include <string>

#include "calibrate/scoreboard.hpp"

/// Whether a row is far off alone or with those of nearly its shape.
namespace tessera::calibrate {

/// Median signed error, predicted / measured - 1, of the five numbers nearest in shape to
/// `number`: of the same part, GPU, framework, type and kernel, other texts equal, sizes together
/// at most a factor of 4 apart. None where there are fewer than three.
[[nodiscard]] std::optional<double> error_of_neighbours(const ScoredFile& file,
                                                        const Scored& number);

/// "with others (+31 %)" where its neighbours err as it does, at least half as much: the model
/// misses a pattern. "alone (+3 %)" else: what the library chose for one shape, or the measurement.
/// "-" without neighbours.
[[nodiscard]] std::string company(const ScoredFile& file, const Scored& number);

}  // namespace tessera::calibrate
