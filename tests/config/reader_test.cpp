#include <catch2/catch_test_macros.hpp>
#include <string>

#include "sim/core/config.hpp"

namespace tessera::core {
namespace {

using namespace literals;

/// What finish() says about a small document, "" when nothing.
std::string mistakes_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    const LoadOptions options{.kind = "machine", .overrides = parse_overrides(overrides)};
    const ConfigDocument document = ConfigDocument::from_text(text, "machine.yaml", options);
    const ConfigNode sm = document.root().object("sm");
    static_cast<void>(sm.integer("count", 1, 1024));
    static_cast<void>(sm.integer_or("warp_schedulers", 1, 8, 4));
    static_cast<void>(document.root().quantity_or<Bytes>("memory", 1_KiB, 1024_GiB, 1_GiB));
    static_cast<void>(document.root().number_or("reachable", 0, 1, 0.9));
    document.finish();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("each mistake in a text is reported where it was written", "[config]") {
  struct Row {
    std::string text;
    std::string expected;
  };
  const std::vector<Row> rows = {
      {"sm:\n  count: 132\n", ""},
      {"sm:\n  count: 1O8\n",
       "machine.yaml:2:10: error: sm.count: found '1O8'; expected an integer in [1, 1024]"},
      {"sm:\n  count: 132\n  warp_schedlers: 4\n",
       "machine.yaml:3:3: error: sm.warp_schedlers: found an unknown key (did you mean "
       "'warp_schedulers'?)"},
      {"sm:\n  count: 132\nmemory: 80\n",
       "machine.yaml:3:9: error: memory: found '80', which has no unit; expected a size in B, KB, "
       "MB, GB, TB, KiB, MiB, GiB or TiB"},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(mistakes_of(row.text) == row.expected);
  }
}

}  // namespace
}  // namespace tessera::core
