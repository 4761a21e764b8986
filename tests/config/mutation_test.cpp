#include <catch2/catch_test_macros.hpp>
#include <random>
#include <string>

#include "models/device/device_file.hpp"
#include "sim/core/data_root.hpp"

namespace tessera::config_test {
namespace {

/// The text with a few characters replaced, dropped, repeated or moved.
std::string mutated(std::string text, std::mt19937& random) {
  static const std::string kCharacters = "\t\n -:#[]{}&*!|>'\"%@`,?0123456789eE.+ab~<\x01\x80\xff";
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (std::size_t left = 1 + below(6); left > 0 && !text.empty(); --left) {
    const std::size_t at = below(text.size());
    switch (below(4)) {
      case 0:
        text[at] = kCharacters[below(kCharacters.size())];
        break;
      case 1:
        text.erase(at, 1 + below(20));
        break;
      case 2:
        text.insert(at, 1 + below(3), kCharacters[below(kCharacters.size())]);
        break;
      default:
        text.insert(below(text.size()), text.substr(at, below(60)));
    }
  }
  return text;
}

TEST_CASE("a mutilated file gives a device or messages, and nothing else", "[config][device]") {
  const std::string original =
      core::read_text_file({core::data_root() / "hw_configs/devices/h100_sxm.yaml", "h100_sxm"});
  std::mt19937 random(1);
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = mutated(original, random);
    INFO(text);
    try {
      const core::ConfigDocument document =
          core::ConfigDocument::from_text(text, "m.yaml", device::device_options());
      static_cast<void>(device::read_device(document));
      ++read;
    } catch (const core::ConfigError& error) {
      REQUIRE_FALSE(error.diagnostics().empty());
      for (const core::Diagnostic& mistake : error.diagnostics()) REQUIRE(mistake.where.line > 0);
    }
  }
  CHECK(read > 100);  // mutations of comments and values in range leave a device
}

}  // namespace
}  // namespace tessera::config_test
