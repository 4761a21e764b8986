#include "sim/app/study_filter.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "sim/core/dimension.hpp"

namespace tessera::app {
namespace {

constexpr const char* kForm =
    "expected two products of paths and numbers with <, <=, ==, !=, >= or > between them";

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

}  // namespace

StudyFilter::StudyFilter(const std::string& text, const core::SourcePosition& where,
                         const std::function<bool(const std::string&)>& is_path)
    : text_(text), where_(where) {
  // Two characters first: "<" is also how "<=" begins.
  static const std::array<std::pair<std::string_view, Comparison>, 6> kSigns = {
      {{"<=", Comparison::at_most},
       {">=", Comparison::at_least},
       {"==", Comparison::equal},
       {"!=", Comparison::unequal},
       {"<", Comparison::less},
       {">", Comparison::more}}};
  for (const auto& [sign, comparison] : kSigns) {
    const std::size_t at = text.find(sign);
    if (at == std::string::npos) continue;
    comparison_ = comparison;
    left_ = read_product(text.substr(0, at), is_path);
    right_ = read_product(text.substr(at + sign.size()), is_path);
    if (paths().empty()) fail("names no path that the study sets or the base scenario has");
    const bool ordered = comparison != Comparison::equal && comparison != Comparison::unequal;
    for (const Product* side : {&left_, &right_})
      for (const Word& word : side->words)
        if (!word.is_path && (ordered || side->words.size() > 1) && !core::parse_number(word.text))
          fail(
              fmt::format("'{}' is neither a number nor a path that the study sets or the base "
                          "scenario has",
                          word.text));
    return;
  }
  fail(kForm);
}

void StudyFilter::fail(const std::string& message) const {
  throw core::ConfigError(where_, fmt::format("where: found '{}'; {}", text_, message));
}

StudyFilter::Product StudyFilter::read_product(
    const std::string& text, const std::function<bool(const std::string&)>& is_path) const {
  Product product;
  bool divides = false;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find_first_of("*/", start), text.size());
    const std::string word = trimmed(std::string_view(text).substr(start, end - start));
    if (word.empty() || word.find_first_of("<>=! ") != std::string::npos) fail(kForm);
    product.words.push_back({word, is_path(word)});
    product.divides.push_back(divides);
    if (end == text.size()) break;
    divides = text[end] == '/';
    start = end + 1;
  }
  return product;
}

std::vector<std::string> StudyFilter::paths() const {
  std::vector<std::string> found;
  for (const Product* side : {&left_, &right_})
    for (const Word& word : side->words)
      if (word.is_path) found.push_back(word.text);
  return found;
}

std::string StudyFilter::value_of(const Word& word, const Lookup& lookup) const {
  if (!word.is_path) return word.text;
  auto value = lookup(word.text);
  if (!value) fail(fmt::format("{} has no value at some point", word.text));
  return *std::move(value);
}

double StudyFilter::number_of(const Product& product, const Lookup& lookup) const {
  double total = 1;
  for (std::size_t i = 0; i < product.words.size(); ++i) {
    const std::string text = value_of(product.words[i], lookup);
    const auto number = core::parse_number(text);
    if (!number)
      fail(fmt::format("{} is '{}' at some point; expected a number", product.words[i].text, text));
    total = product.divides[i] ? total / *number : total * *number;
  }
  return total;
}

bool StudyFilter::keeps(const Lookup& lookup) const {
  const bool single = left_.words.size() == 1 && right_.words.size() == 1;
  if (single && (comparison_ == Comparison::equal || comparison_ == Comparison::unequal)) {
    const std::string left = value_of(left_.words[0], lookup);
    const std::string right = value_of(right_.words[0], lookup);
    const auto a = core::parse_number(left);
    const auto b = core::parse_number(right);
    const bool equal = a && b ? *a == *b : left == right;
    return equal == (comparison_ == Comparison::equal);
  }
  const double left = number_of(left_, lookup);
  const double right = number_of(right_, lookup);
  switch (comparison_) {
    case Comparison::less:
      return left < right;
    case Comparison::at_most:
      return left <= right;
    case Comparison::equal:
      return left == right;
    case Comparison::unequal:
      return left != right;
    case Comparison::at_least:
      return left >= right;
    case Comparison::more:
      return left > right;
  }
  return false;
}

}  // namespace tessera::app
