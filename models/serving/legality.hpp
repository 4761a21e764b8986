#pragma once

#include <string>
#include <vector>

#include "models/serving/inference.hpp"

/// What an inference job's numbers say of each other.
namespace tessera::serving {

/// Two values that cannot be together.
struct Contradiction {
  std::string key;      ///< Dotted path in a scenario of what is at fault.
  std::string against;  ///< The same of what it contradicts; empty: nothing that is written.
  std::string reason;   ///< What was found, what was expected.
};

/// All of them, in the order in which a scenario is read.
[[nodiscard]] std::vector<Contradiction> contradictions(const InferenceJob& job);

/// Throws core::Refusal (illegal_combination) with the first of contradictions().
void require_legal(const InferenceJob& job);

}  // namespace tessera::serving
