#pragma once

#include <rapidcheck.h>

#include <iostream>
#include <string>

namespace tessera {

/// Cases of a property, as many as devices and kernels are promised to be tried.
inline constexpr int kCases = 1000;

/// Whether `testable` holds for kCases random inputs, the same ones everywhere; as rc::check, which
/// prints the smallest input that fails.
template <class Testable>
bool holds(const std::string& name, const Testable& testable) {
  rc::detail::TestParams parameters;
  parameters.seed = 1;
  parameters.maxSuccess = kCases;
  rc::detail::TestMetadata metadata;
  metadata.id = metadata.description = name;
  const auto result = rc::detail::checkTestable(testable, metadata, parameters);
  rc::detail::SuccessResult success;
  if (result.match(success)) return success.numSuccess >= kCases;
  rc::detail::printResultMessage(result, std::cerr);
  return false;
}

}  // namespace tessera
