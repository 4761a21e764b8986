#include "sim/core/timing_wheel.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <utility>

/// In which order do events of one GPU come out of the wheel?
namespace tessera::core {
namespace {

struct Numbered {
  Numbered* next = nullptr;
  int number = 0;
};

TEST_CASE("events of one cycle come first come first served", "[timing_wheel]") {
  Numbered a{.number = 1}, b{.number = 2}, c{.number = 3};
  TimingWheel<Numbered> wheel;
  wheel.schedule(7, a);
  wheel.schedule(7, b);
  CHECK(wheel.pop().number == 1);
  CHECK(wheel.now() == 7);
  wheel.schedule(7, c);  // behind what the cycle still holds
  wheel.schedule(8, a);
  CHECK(wheel.pop().number == 2);
  CHECK(wheel.pop().number == 3);
  CHECK(wheel.now() == 7);
  CHECK(wheel.pop().number == 1);
  CHECK(wheel.now() == 8);
  CHECK(wheel.empty());
}

TEST_CASE("an event far ahead comes after all that lies before it", "[timing_wheel]") {
  Numbered far{.number = 1}, near{.number = 2}, later{.number = 3};
  TimingWheel<Numbered> wheel;
  wheel.schedule(1'000'000, far);
  wheel.schedule(5, near);
  CHECK(wheel.pop().number == 2);
  CHECK_FALSE(wheel.empty());
  CHECK(wheel.pop().number == 1);
  CHECK(wheel.now() == 1'000'000);
  wheel.schedule(1'000'000 + 8'191, later);
  CHECK(wheel.pop().number == 3);
  CHECK(wheel.now() == 1'008'191);
}

TEST_CASE("times never go back, whatever the events cause", "[timing_wheel]") {
  std::deque<Numbered> events(500);
  std::map<const Numbered*, std::int64_t> due;
  std::mt19937_64 random{1};
  TimingWheel<Numbered> wheel;
  const auto schedule = [&](Numbered& event) {
    const auto draw = static_cast<std::int64_t>(random() % 100);
    due[&event] = wheel.now() + (draw < 20 ? 0 : draw < 90 ? draw * 20 : draw * 500);
    wheel.schedule(due[&event], event);
  };
  for (Numbered& event : events) schedule(event);
  for (int i = 0; i < 20'000; ++i) {
    const std::int64_t before = wheel.now();
    Numbered& event = wheel.pop();
    REQUIRE(wheel.now() == due.at(&event));
    REQUIRE(wheel.now() >= before);
    schedule(event);
  }
  for (std::size_t i = 0; i < events.size(); ++i) wheel.pop();
  CHECK(wheel.empty());
}

}  // namespace
}  // namespace tessera::core
