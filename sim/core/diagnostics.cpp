#include "sim/core/diagnostics.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::core {
namespace {

std::string join(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const Diagnostic& d : diagnostics) {
    if (!text.empty()) text += '\n';
    text += d.to_string();
  }
  return text;
}

std::vector<Diagnostic> sorted(std::vector<Diagnostic> diagnostics) {
  std::stable_sort(diagnostics.begin(), diagnostics.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.where < b.where; });
  return diagnostics;
}

}  // namespace

std::string Diagnostic::to_string() const {
  if (where.line == 0) return fmt::format("{}: error: {}", where.file, message);
  return fmt::format("{}:{}:{}: error: {}", where.file, where.line, where.column, message);
}

ConfigError::ConfigError(std::vector<Diagnostic> diagnostics)
    : std::runtime_error(join(sorted(diagnostics))), diagnostics_(sorted(std::move(diagnostics))) {}

ConfigError::ConfigError(SourcePosition where, std::string message)
    : ConfigError(std::vector<Diagnostic>{{std::move(where), std::move(message)}}) {}

std::string to_string(RefusalKind kind) {
  switch (kind) {
    case RefusalKind::does_not_fit:
      return "does_not_fit";
    case RefusalKind::saturated:
      return "saturated";
    case RefusalKind::illegal_combination:
      return "illegal_combination";
    case RefusalKind::outside_model:
      return "outside_model";
  }
  return "outside_model";
}

}  // namespace tessera::core
