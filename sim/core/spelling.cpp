#include "sim/core/spelling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>

namespace tessera::core {
namespace {

/// Insertions, deletions, substitutions and swaps of neighbours between two words, case ignored.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  };
  std::vector<std::size_t> older(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    older.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (same(a[i - 1], b[j - 1]) ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
        row[j] = std::min(row[j], older[j - 2] + 1);
    }
  }
  return row.back();
}

/// Whether `name` is `word` and more, as a family's name is of its members': "h20", "h20_sxm".
bool begins(std::string_view name, std::string_view word) {
  constexpr std::size_t kShortest = 3;  // fewer letters begin too many names
  return word.size() >= kShortest && name.size() > word.size() &&
         edit_distance(name.substr(0, word.size()), word) == 0;
}

constexpr std::size_t kLongestWord = 64;  ///< Nothing longer is a slip of the hand.

}  // namespace

std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& known) {
  if (word.size() > kLongestWord) return std::nullopt;
  std::optional<std::string> best;
  std::size_t best_distance = 0;
  const auto continues = [&](const std::string& name) { return begins(name, word); };
  const bool some_begin = std::any_of(known.begin(), known.end(), continues);
  for (const std::string& name : known) {
    if (some_begin && !continues(name)) continue;
    const std::size_t distance = edit_distance(word, name);
    if (!some_begin && distance > std::max<std::size_t>(1, name.size() / 3)) continue;
    if (!best || distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

std::string join_names(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

std::string unknown_name(std::string_view word, const std::vector<std::string>& known) {
  std::string text = fmt::format("found '{}'; expected {}{}", word,
                                 known.size() > 1 ? "one of " : "", join_names(known));
  if (const auto near = nearest_name(word, known))
    text += fmt::format(" (did you mean '{}'?)", *near);
  return text;
}

}  // namespace tessera::core
