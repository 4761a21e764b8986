#include "calibrate/call_residuals.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "models/gpu/gpu.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;

/// `n` calls of one duration whose log ratios are first, first + step, ...
std::vector<CallError> ladder(int n, double first, double step, double microseconds = 50) {
  std::vector<CallError> errors;
  for (int i = 0; i < n; ++i) errors.push_back({microseconds, first + step * i});
  return errors;
}

}  // namespace

TEST_CASE("an interval leaves out the extreme ranks on either side", "[residuals]") {
  // Of 99 ordered values the 5th and the 95th: floor(0.05 * 100) and ceil(0.95 * 100).
  const auto lines = residual_lines("g", "stage", ladder(99, -0.10, 0.01));
  REQUIRE(lines.size() == 1);  // one class of durations alone is the group itself
  CHECK(lines[0].lower == Approx(-0.06));
  CHECK(lines[0].upper == Approx(0.84));
  CHECK(lines[0].bias == Approx(-0.39));  // the median call takes longer than predicted
  CHECK(lines[0].rows == 99);
}

TEST_CASE("an interval of few rows goes on beyond what they show", "[residuals]") {
  // Of 19 the least stands for one in twenty itself.
  CHECK(residual_lines("g", "stage", ladder(19, -0.9, 0.1))[0].lower == Approx(-0.9));
  // Of five for one in six: 20/6 times less often, at a mean distance of 0.12 from the middle.
  const auto lines = residual_lines("g", "stage", ladder(5, -0.2, 0.1));
  CHECK(lines[0].lower == Approx(-0.2 - 0.12 * std::log(20.0 / 6)));
  CHECK(lines[0].upper == Approx(0.2 + 0.12 * std::log(20.0 / 6)));
}

TEST_CASE("durations with enough rows have an interval of their own", "[residuals]") {
  auto errors = ladder(40, -0.02, 0.001, 10);
  for (const CallError& error : ladder(39, -0.4, 0.02, 1000)) errors.push_back(error);
  const auto lines = residual_lines("g", "stage", errors);
  REQUIRE(lines.size() == 2);  // 39 long calls are too few
  CHECK(lines[1].group == "g short");
  const CallIntervals intervals{lines, false};
  CHECK(intervals.around("g", 5)->upper < intervals.around("g", 5000)->upper);
  CHECK(intervals.around("g", 5000)->lower < intervals.around("g", 5)->lower);
}

TEST_CASE("an interval holds its prediction, and is wider where the fit is another's",
          "[residuals]") {
  // Every call of the group took longer than predicted.
  const auto lines = residual_lines("g", "stage", ladder(30, 0.1, 0.01));
  const auto own = CallIntervals{lines, false}.around("g", 50);
  CHECK(own->lower == 1.0);
  CHECK(own->upper == Approx(std::exp(0.39)));
  const auto transferred = CallIntervals{lines, true}.around("g", 50);
  CHECK(std::log(transferred->upper) == Approx(gpu::kTransferWidening * std::log(own->upper)));
  CHECK_FALSE(CallIntervals{lines, false}.around("another", 50));
}

TEST_CASE("a line without an interval gives none", "[residuals]") {
  CHECK_FALSE(CallIntervals{{{.group = "g", .stage = "s", .rows = 9}}, false}.around("g", 50));
}

}  // namespace tessera::calibrate
