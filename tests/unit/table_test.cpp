#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <sstream>

#include "reports/format.hpp"
#include "reports/table.hpp"
#include "tests/sample_result.hpp"

using namespace tessera::reports;
using tessera::testing::sample_result;

namespace {

std::size_t longest_line(const std::string& text) {
  std::istringstream lines{text};
  std::size_t longest = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    });
    longest = std::max(longest, static_cast<std::size_t>(columns));
  }
  return longest;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("numbers read with four digits, a prefix and a unit", "[report]") {
  CHECK(quantity(19.926, "s") == "19.93 s");
  CHECK(quantity(0.00113, "s") == "1.130 ms");
  CHECK(quantity(4.7e6, "s") == "54.40 days");
  CHECK(quantity(2.664e6, "GPU-h") == "2.664 M GPU-h");
  CHECK(quantity(80e9, "B") == "80.00 GB");
  CHECK(quantity(9.89e14, "FLOP/s") == "989.0 TFLOP/s");
  CHECK(quantity(0.437, shown_unit("mfu_bf16", "1")) == "43.70 %");
  CHECK(quantity(1.08, shown_unit("routing_skew", "1")) == "1.080");
  CHECK(quantity(12345, "USD") == "12,345 USD");
  CHECK(quantity(-1234567, "things") == "-1,234,567 things");
  CHECK(quantity(0, "s") == "0 s");
  CHECK(quantity(std::numeric_limits<double>::quiet_NaN(), "s") == "- s");
  CHECK(count(480) == "480");
  CHECK(signed_percent(-0.0214) == "-2.1 %");
  CHECK(signed_percent(0.15) == "+15.0 %");
}

TEST_CASE("an interval is written at the scale of its value", "[report]") {
  CHECK(interval({1.5e6, 9e5, 2.1e6, "USD"}) == "0.9000 to 2.100 M USD");
  CHECK(interval({8, 8, 8, "1"}) == "-");  // nothing about it is uncertain
}

TEST_CASE("names of code become words", "[report]") {
  CHECK(label("step_time") == "Step time");
  CHECK(label("mfu") == "MFU");
  CHECK(label("mla_up_projection") == "MLA up projection");
}

TEST_CASE("the table gives the answer first, published beside predicted", "[report]") {
  const std::string text = to_table(sample_result());
  CHECK(text.find("Summary") < text.find("Published beside predicted"));
  CHECK(has(text, "Step time           19.50 s  17.55 to 21.45 s        transferred\n"));
  CHECK(has(text, "Step time        19.93 s    19.50 s  -2.1 %  a paper, table 4\n"));
  CHECK(has(text, "Memory of one GPU: 63.50 GB on rank 0, the fullest, of 80.00 GB\n"));
  CHECK(has(text, "1F         51.50 ms  50.00 ms  53.00 ms  3        fitted\n"));
  CHECK(text.find("attention_forward") < text.find("q_down_projection"));
}

TEST_CASE("no line of the table is wider than the terminal", "[report]") {
  auto result = sample_result();
  result.published[0].source = std::string(300, 's');
  result.warnings.push_back(std::string(50, 'w') + " " + std::string(90, 'v'));
  for (const int width : {60, 80, 100, 200}) {
    CAPTURE(width);
    CHECK(longest_line(to_table(result, {.width = width})) <= static_cast<std::size_t>(width));
    const std::string ascii = to_table(result, {.width = width, .utf8 = false});
    CHECK(longest_line(ascii) <= static_cast<std::size_t>(width));
    CHECK(std::all_of(ascii.begin(), ascii.end(), [](char c) { return c >= 0; }));
  }
}

TEST_CASE("a refused result says so, and why", "[report]") {
  tessera::core::Result result;
  result.title = "Too big";
  result.refused = "does_not_fit: 96 GB of 80 GB";
  CHECK(to_table(result) == "Too big\n\nRefused: does_not_fit: 96 GB of 80 GB\n");
}
