#include <catch2/catch_test_macros.hpp>
#include <random>
#include <string>

#include "models/device/device_file.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/hf_config.hpp"
#include "models/workload/parameters.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/unit/hf_configs.hpp"

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

/// Reads mutilations of `original` with `read`; how many gave a value.
template <class Read>
int survivors(const std::string& original, int trials, const Read& read) {
  std::mt19937 random(1);
  int sound = 0;
  for (int i = 0; i < trials; ++i) {
    const std::string text = mutated(original, random);
    INFO(text);
    try {
      const core::ConfigDocument document =
          core::ConfigDocument::from_text(text, "m.yaml", {.kind = "architecture"});
      read(document);
      ++sound;
    } catch (const core::ConfigError& error) {
      REQUIRE_FALSE(error.diagnostics().empty());
      for (const core::Diagnostic& mistake : error.diagnostics()) REQUIRE(mistake.where.line > 0);
    } catch (const core::Refusal& refusal) {
      REQUIRE(refusal.kind() == core::RefusalKind::outside_model);
    }
  }
  return sound;
}

TEST_CASE("a mutilated architecture is one that can be counted, or messages",
          "[config][architecture]") {
  const auto read = [](const core::ConfigDocument& document) {
    const workload::Architecture a = workload::read_architecture(document.root(), "m");
    document.finish();
    REQUIRE(workload::main_parameters(a).total() > 0);
    REQUIRE(workload::training_flops_per_token(a, 4096, true) > 0);
  };
  for (const std::string name : {"gpt_oss_20b", "glm_5.2", "qwen3_vl_235b_a22b", "mpt_7b"}) {
    const std::string original = core::read_text_file(
        {core::data_root() / "workloads/architectures" / (name + ".yaml"), name});
    CHECK(survivors(original, 500, read) > 20);
  }
}

TEST_CASE("a mutilated configuration is one that can be counted, or messages",
          "[config][architecture]") {
  const auto read = [](const core::ConfigDocument& document) {
    const workload::HfImport import = workload::import_hf_config(document.root(), "m");
    document.finish();
    REQUIRE(workload::main_parameters(import.architecture).total() > 0);
  };
  int sound = 0;
  for (const auto& [name, text] : workload::published_hf_configs()) {
    INFO(name);
    sound += survivors(text, 200, read);
  }
  CHECK(sound > 20);
}

}  // namespace
}  // namespace tessera::config_test
