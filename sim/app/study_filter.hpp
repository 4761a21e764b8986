#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {

/// A condition on a point's settings: two products of paths and numbers and how they compare, for
/// example "batch.sequences * batch.context <= 1e6" or "precision.kv_cache != fp8".
class StudyFilter {
 public:
  /// The text of what a path is set to at a point; none for a path that nobody sets.
  using Lookup = std::function<std::optional<std::string>(const std::string& path)>;

  /// Parses a condition. `is_path` says which words are paths; others are plain text. Throws
  /// core::ConfigError at `where` when the text is not a condition.
  StudyFilter(const std::string& text, const core::SourcePosition& where,
              const std::function<bool(const std::string&)>& is_path);

  /// Whether the point stays. Throws core::ConfigError when text stands where numbers are compared.
  [[nodiscard]] bool keeps(const Lookup& lookup) const;
  /// Paths that the condition is about.
  [[nodiscard]] std::vector<std::string> paths() const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Word {
    std::string text;
    bool is_path = false;
  };
  struct Product {
    std::vector<Word> words;
    std::vector<bool> divides;  ///< One a word.
  };
  enum class Comparison { less, at_most, equal, unequal, at_least, more };

  [[noreturn]] void fail(const std::string& message) const;
  [[nodiscard]] Product read_product(const std::string& text,
                                     const std::function<bool(const std::string&)>& is_path) const;
  [[nodiscard]] std::string value_of(const Word& word, const Lookup& lookup) const;
  [[nodiscard]] double number_of(const Product& product, const Lookup& lookup) const;

  std::string text_;
  core::SourcePosition where_;
  Product left_;
  Product right_;
  Comparison comparison_ = Comparison::equal;
};

}  // namespace tessera::app
