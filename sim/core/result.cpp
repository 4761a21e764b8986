#include "sim/core/result.hpp"

namespace tessera::core {

std::string to_string(Grade grade) {
  switch (grade) {
    case Grade::measured:
      return "measured";
    case Grade::fitted:
      return "fitted";
    case Grade::transferred:
      return "transferred";
    case Grade::assumed:
      return "assumed";
  }
  return "assumed";
}

std::optional<double> PublishedRow::error() const {
  if (!predicted || published == 0) return std::nullopt;
  return *predicted / published - 1.0;
}

const Estimate* Result::find(const std::string& quantity) const {
  for (const auto& [name, estimate] : quantities)
    if (name == quantity) return &estimate;
  return nullptr;
}

}  // namespace tessera::core
