#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace tessera::core {

/// A place in a text that a user wrote. Lines and columns start at 1; 0 means the file as a whole.
struct SourcePosition {
  std::string file;
  int line = 0;
  int column = 0;
  friend auto operator<=>(const SourcePosition&, const SourcePosition&) = default;
};

/// One mistake in a user's input.
struct Diagnostic {
  SourcePosition where;
  std::string message;  ///< "sm.count: found 'x'; expected an integer in [1, 1024]"

  /// "file:line:column: error: message", the form that editors jump to.
  [[nodiscard]] std::string to_string() const;
};

/// The input is wrong (exit code 2). Carries every mistake found, sorted by position.
class ConfigError : public std::runtime_error {
 public:
  explicit ConfigError(std::vector<Diagnostic> diagnostics);
  ConfigError(SourcePosition where, std::string message);
  [[nodiscard]] const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }

 private:
  std::vector<Diagnostic> diagnostics_;
};

/// Why a simulation declines to answer.
enum class RefusalKind {
  does_not_fit,         ///< Memory of a device is too small.
  saturated,            ///< Offered load beyond what the system serves.
  illegal_combination,  ///< Parallelism, schedule and machine contradict each other.
  outside_model,        ///< Tessera has no model of this.
};
[[nodiscard]] std::string to_string(RefusalKind kind);

/// The input is well-formed, the simulation refuses (exit code 1).
class Refusal : public std::runtime_error {
 public:
  Refusal(RefusalKind kind, const std::string& reason) : std::runtime_error(reason), kind_(kind) {}
  [[nodiscard]] RefusalKind kind() const { return kind_; }

 private:
  RefusalKind kind_;
};

}  // namespace tessera::core
