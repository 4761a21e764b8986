#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a message about an unknown name says to help.
namespace tessera::core {

/// The known name that `word` most likely meant: one that it begins, or else one near enough for a
/// slip of the hand.
[[nodiscard]] std::optional<std::string> nearest_name(std::string_view word,
                                                      const std::vector<std::string>& known);

/// "a, b or c".
[[nodiscard]] std::string join_names(const std::vector<std::string>& names);

/// "found 'hoper'; expected one of ampere or hopper (did you mean 'hopper'?)".
[[nodiscard]] std::string unknown_name(std::string_view word,
                                       const std::vector<std::string>& known);

}  // namespace tessera::core
