#pragma once

#include <cmath>
#include <compare>
#include <cstdint>
#include <type_traits>

/// Physical quantities as types: a byte is not a second, and a cycle names its clock.
///
/// Same-dimension quantities add, subtract, compare and divide to a plain ratio; products and
/// quotients between dimensions exist only where they are spelled out below, so a unit mistake does
/// not compile.
namespace tessera::core {

/// A number with a dimension. `Tag` names the dimension and unit, `Rep` is int64 for what is
/// counted, double for rates.
template <class Tag, class Rep>
class Quantity {
 public:
  using Representation = Rep;

  constexpr Quantity() = default;
  template <class Number>
  requires std::is_arithmetic_v<Number>
  constexpr explicit Quantity(Number value) : value_(static_cast<Rep>(value)) {}

  [[nodiscard]] constexpr Rep value() const { return value_; }

  constexpr Quantity& operator+=(Quantity other) { return value_ += other.value_, *this; }
  constexpr Quantity& operator-=(Quantity other) { return value_ -= other.value_, *this; }

  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }
  friend constexpr Quantity operator-(Quantity a) { return Quantity{-a.value_}; }
  friend constexpr auto operator<=>(Quantity, Quantity) = default;

  template <class Number>
  requires std::is_arithmetic_v<Number>
  friend constexpr Quantity operator*(Quantity a, Number factor) {
    return Quantity{a.value_ * factor};
  }
  template <class Number>
  requires std::is_arithmetic_v<Number>
  friend constexpr Quantity operator*(Number factor, Quantity a) { return a * factor; }
  template <class Number>
  requires std::is_arithmetic_v<Number>
  friend constexpr Quantity operator/(Quantity a, Number divisor) {
    return Quantity{a.value_ / divisor};
  }
  /// How many times `b` fits into `a`; never an integer division.
  friend constexpr double operator/(Quantity a, Quantity b) {
    return static_cast<double>(a.value_) / static_cast<double>(b.value_);
  }

 private:
  Rep value_{};
};

using Time = Quantity<struct PicosecondTag, std::int64_t>;  ///< System time; +-106 days.
using Seconds = Quantity<struct SecondTag, double>;         ///< Durations beyond Time's range.
using Bytes = Quantity<struct ByteTag, std::int64_t>;
using Flops = Quantity<struct FlopTag, double>;  ///< A count of operations; 2 per multiply-add.
using BytesPerSecond = Quantity<struct BytesPerSecondTag, double>;
using FlopsPerSecond = Quantity<struct FlopsPerSecondTag, double>;
using Hertz = Quantity<struct HertzTag, double>;
using Joules = Quantity<struct JouleTag, double>;
using Watts = Quantity<struct WattTag, double>;
using Usd = Quantity<struct UsdTag, double>;

struct SmClock {};      ///< The clock of SMs and tensor cores.
struct MemoryClock {};  ///< The clock of L2 slices and the crossbar.

/// Whole cycles of one named clock.
template <class Clock>
using Cycles = Quantity<Clock, std::int64_t>;

inline namespace literals {
constexpr Time operator""_ps(unsigned long long v) { return Time{v}; }
constexpr Time operator""_ns(unsigned long long v) { return Time{v * 1'000}; }
constexpr Time operator""_us(unsigned long long v) { return Time{v * 1'000'000}; }
constexpr Time operator""_ms(unsigned long long v) { return Time{v * 1'000'000'000}; }
constexpr Time operator""_s(unsigned long long v) { return Time{v * 1'000'000'000'000}; }
constexpr Bytes operator""_KiB(unsigned long long v) { return Bytes{v << 10}; }
constexpr Bytes operator""_MiB(unsigned long long v) { return Bytes{v << 20}; }
constexpr Bytes operator""_GiB(unsigned long long v) { return Bytes{v << 30}; }
}  // namespace literals

inline constexpr double kPicosecondsPerSecond = 1e12;

constexpr Seconds to_seconds(Time t) {
  return Seconds{static_cast<double>(t.value()) / kPicosecondsPerSecond};
}
constexpr double to_microseconds(Time t) { return static_cast<double>(t.value()) * 1e-6; }

/// Rounds to the nearest picosecond. Requires: |s| below Time's range.
inline Time to_time(Seconds s) { return Time{std::llround(s.value() * kPicosecondsPerSecond)}; }

/// Rounded up, so that work never ends before it could.
template <class Clock>
Time to_time(Cycles<Clock> cycles, Hertz clock) {
  return Time{static_cast<std::int64_t>(
      std::ceil(static_cast<double>(cycles.value()) * kPicosecondsPerSecond / clock.value()))};
}
/// Rounded up.
template <class Clock>
Cycles<Clock> to_cycles(Time t, Hertz clock) {
  return Cycles<Clock>{static_cast<std::int64_t>(
      std::ceil(static_cast<double>(t.value()) * clock.value() / kPicosecondsPerSecond))};
}

/// Rounded up to a picosecond.
inline Time operator/(Bytes size, BytesPerSecond rate) {
  return Time{static_cast<std::int64_t>(
      std::ceil(static_cast<double>(size.value()) * kPicosecondsPerSecond / rate.value()))};
}
constexpr Seconds operator/(Flops work, FlopsPerSecond rate) {
  return Seconds{work.value() / rate.value()};
}
constexpr Joules operator*(Watts power, Seconds duration) {
  return Joules{power.value() * duration.value()};
}
constexpr Watts operator/(Joules energy, Seconds duration) {
  return Watts{energy.value() / duration.value()};
}
constexpr BytesPerSecond operator/(Bytes size, Seconds duration) {
  return BytesPerSecond{static_cast<double>(size.value()) / duration.value()};
}
constexpr FlopsPerSecond operator/(Flops work, Seconds duration) {
  return FlopsPerSecond{work.value() / duration.value()};
}

}  // namespace tessera::core
