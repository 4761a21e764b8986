#include "calibrate/tick_search.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

namespace tessera::calibrate {
namespace {

using Catch::Approx;

MeasuredCall call_with(double tick) {
  MeasuredCall call;
  call.kernels.resize(1);
  call.harness = "harness.file";
  call.tick_us = tick;
  return call;
}

TEST_CASE("a constant moves to where readings agree", "[tick_search]") {
  const MeasuredCall call = call_with(2);
  // Read as 8, 8, 14: half a microsecond less reads 6, 6, 12.
  const std::vector<TickedRow> rows{{&call, 7.2, 6}, {&call, 7.3, 6}, {&call, 13.1, 12}};
  const double shift = tick_shifts(rows, 0.15).at("harness.file");
  CHECK(shift < -0.3);
  CHECK(shift > -1.2);
  for (const TickedRow& row : rows)
    CHECK(call.read_us(row.total_us + shift) == Approx(row.measured_us));
}

TEST_CASE("a constant stays where its readings agree already", "[tick_search]") {
  const MeasuredCall call = call_with(2);
  CHECK(tick_shifts({{&call, 6.9, 6}, {&call, 5.1, 6}}, 0.15).at("harness.file") == 0);
}

TEST_CASE("clocks in fine steps, and calls that wait for their host, move nothing",
          "[tick_search]") {
  const MeasuredCall fine = call_with(0);
  MeasuredCall eager = call_with(2);
  eager.eager = true;
  CHECK(tick_shifts({{&fine, 9, 6}, {&eager, 9, 6}}, 0.15).empty());
}

TEST_CASE("gaps and the constant of a call move one after the other", "[tick_search]") {
  const MeasuredCall one = call_with(2);
  MeasuredCall two = call_with(2);
  two.kernels.resize(3);  // two gaps
  const std::vector<TickedRow> rows{
      {&one, 5.2, 6}, {&one, 7.2, 8}, {&two, 11.5, 10}, {&two, 13.5, 12}};
  const auto shifts = tick_shifts(rows, 0.15);
  CHECK(shifts.at("harness.file") == 0);
  CHECK(shifts.at("harness.file.gap") < 0);
}

}  // namespace
}  // namespace tessera::calibrate
