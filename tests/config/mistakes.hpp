#pragma once

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <string>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::config_test {

/// One wrong input and everything that must be said about it.
struct Row {
  std::string text;              ///< Of the document, or "" for the base that a suite names.
  std::vector<std::string> set;  ///< --set arguments.
  std::string expected;          ///< All messages, one a line; "" when the input is right.
};

/// Runs `read` and returns the messages that it throws, "" when none.
inline std::string messages_of(const std::function<void()>& read) {
  try {
    read();
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

/// Checks each row with `read(text, overrides)`.
template <class Read>
void check_rows(const std::vector<Row>& rows, const Read& read) {
  for (const Row& row : rows) {
    INFO("text:\n" << row.text);
    if (!row.set.empty()) INFO("--set " << row.set.front());
    CHECK(messages_of([&] { read(row.text, core::parse_overrides(row.set)); }) == row.expected);
  }
}

}  // namespace tessera::config_test
