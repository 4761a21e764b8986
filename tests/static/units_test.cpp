#include <catch2/catch_test_macros.hpp>

#include "sim/core/units.hpp"

/// Unit mistakes must not compile. Each assertion is checked by the compiler; the test cases make
/// the suite visible in the list of tests.
namespace tessera::core {
namespace {

using namespace literals;

template <class A, class B>
concept Adds = requires(A a, B b) {
  a + b;
};
template <class A, class B>
concept Subtracts = requires(A a, B b) {
  a - b;
};
template <class A, class B>
concept Compares = requires(A a, B b) {
  a < b;
};
template <class A, class B>
concept Multiplies = requires(A a, B b) {
  a* b;
};
template <class A, class B>
concept Divides = requires(A a, B b) {
  a / b;
};
template <class A, class B>
concept Assigns = requires(A a, B b) {
  a = b;
};

using SmCycles = Cycles<SmClock>;
using MemoryCycles = Cycles<MemoryClock>;

TEST_CASE("quantities of one dimension add, subtract and compare", "[static]") {
  STATIC_CHECK(Adds<Bytes, Bytes>);
  STATIC_CHECK(Subtracts<Time, Time>);
  STATIC_CHECK(Compares<SmCycles, SmCycles>);
  STATIC_CHECK(Multiplies<Bytes, int>);
  STATIC_CHECK(Multiplies<double, Watts>);
}

TEST_CASE("quantities of different dimensions do not mix", "[static]") {
  STATIC_CHECK_FALSE(Adds<Bytes, Time>);
  STATIC_CHECK_FALSE(Adds<Time, Seconds>);
  STATIC_CHECK_FALSE(Subtracts<Bytes, Flops>);
  STATIC_CHECK_FALSE(Compares<Hertz, BytesPerSecond>);
  STATIC_CHECK_FALSE(Compares<Joules, Watts>);
  STATIC_CHECK_FALSE(Assigns<Usd, Joules>);
  STATIC_CHECK_FALSE(Multiplies<Bytes, Bytes>);
  STATIC_CHECK_FALSE(Multiplies<Time, Time>);
  STATIC_CHECK_FALSE(Divides<Watts, Bytes>);
  STATIC_CHECK_FALSE(Divides<BytesPerSecond, Bytes>);
}

TEST_CASE("cycles of two clocks do not mix", "[static]") {
  STATIC_CHECK_FALSE(Adds<SmCycles, MemoryCycles>);
  STATIC_CHECK_FALSE(Compares<SmCycles, MemoryCycles>);
  STATIC_CHECK_FALSE(Assigns<SmCycles, MemoryCycles>);
  STATIC_CHECK_FALSE(Adds<SmCycles, Time>);
}

TEST_CASE("a bare number is not a quantity", "[static]") {
  STATIC_CHECK_FALSE(Adds<Bytes, int>);
  STATIC_CHECK_FALSE(Compares<Time, long>);
  STATIC_CHECK_FALSE(Assigns<Hertz, double>);
  STATIC_CHECK_FALSE(std::is_convertible_v<double, Watts>);
  STATIC_CHECK_FALSE(std::is_convertible_v<Bytes, std::int64_t>);
}

TEST_CASE("products and quotients have the dimension that physics gives them", "[static]") {
  STATIC_CHECK(std::is_same_v<decltype(Bytes{1} / BytesPerSecond{1}), Time>);
  STATIC_CHECK(std::is_same_v<decltype(Flops{1} / FlopsPerSecond{1}), Seconds>);
  STATIC_CHECK(std::is_same_v<decltype(Watts{1} * Seconds{1}), Joules>);
  STATIC_CHECK(std::is_same_v<decltype(Joules{1} / Seconds{1}), Watts>);
  STATIC_CHECK(std::is_same_v<decltype(Bytes{1} / Seconds{1}), BytesPerSecond>);
  STATIC_CHECK(std::is_same_v<decltype(Bytes{1} / Bytes{2}), double>);
}

TEST_CASE("literals are exact", "[static]") {
  STATIC_CHECK(1_us == Time{1'000'000});
  STATIC_CHECK(1_GiB == Bytes{1073741824});
  STATIC_CHECK(3_s == 3000_ms);
}

TEST_CASE("times are rounded up to whole picoseconds and cycles", "[static]") {
  CHECK(Bytes{1} / BytesPerSecond{3e12} == Time{1});
  CHECK(to_time(SmCycles{1}, Hertz{3e9}) == Time{334});
  CHECK(to_cycles<SmClock>(Time{334}, Hertz{3e9}) == SmCycles{2});
  CHECK(to_cycles<SmClock>(Time{1000}, Hertz{1e9}) == SmCycles{1});
}

}  // namespace
}  // namespace tessera::core
