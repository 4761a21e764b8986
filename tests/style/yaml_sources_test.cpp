#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/style/source_tree.hpp"

namespace tessera::style_test {
namespace {

/// Whether a line of YAML, its comment taken off, gives a number: a value that starts with one,
/// alone, in a list or in a map.
bool gives_number(const std::string& yaml) {
  static const std::regex kNumber(R"((:\s+|[\[{,]\s*|-\s+)[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?)"
                                  R"((?=\s|[,\]}]|$))");
  // Dates belong to the source that stands beside them.
  static const std::regex kDate(R"(^\s*date:)");
  return std::regex_search(yaml, kNumber) && !std::regex_search(yaml, kDate);
}

TEST_CASE("numbers are told from names and dates", "[style]") {
  CHECK(gives_number("  count: 132"));
  CHECK(gives_number("  rate: 3.35 TB/s"));
  CHECK(gives_number("  sizes: [16, 18]"));
  CHECK(gives_number("  - {m: 64, n: 128}"));
  CHECK_FALSE(gives_number("types: [fp8, bf16]"));
  CHECK_FALSE(gives_number("date: 2026-05"));
  CHECK_FALSE(gives_number("extends: h100_sxm"));
}

TEST_CASE("every number that describes a machine or model has its source on the same line",
          "[style]") {
  std::size_t numbers = 0;
  std::vector<std::filesystem::path> files = files_below("hw_configs", {".yaml"});
  for (const auto& file : files_below("workloads/architectures", {".yaml"})) files.push_back(file);
  for (const auto& file : files) {
    for (const Line& line : lines_of(file)) {
      const std::size_t comment = line.text.find('#');
      if (!gives_number(line.text.substr(0, comment))) continue;
      ++numbers;
      INFO(shown(file) << ":" << line.number << ": " << line.text);
      CHECK(comment != std::string::npos);
      if (comment != std::string::npos) CHECK(line.text.size() > comment + 4);
    }
  }
  CHECK(numbers > 400);
}

TEST_CASE("the schema that a file names for editors is there", "[style]") {
  const std::string mark = "$schema=";
  for (const std::string folder : {"hw_configs", "workloads"}) {
    for (const auto& file : files_below(folder, {".yaml"})) {
      const std::vector<Line> lines = lines_of(file);
      const std::size_t at = lines.empty() ? std::string::npos : lines.front().text.find(mark);
      if (at == std::string::npos) continue;
      const auto schema = file.parent_path() / lines.front().text.substr(at + mark.size());
      INFO(shown(file));
      REQUIRE(std::filesystem::exists(schema));
      std::ifstream stream(schema);
      CHECK(nlohmann::json::accept(stream));
    }
  }
}

}  // namespace
}  // namespace tessera::style_test
