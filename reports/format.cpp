#include "reports/format.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <initializer_list>
#include <sstream>
#include <utility>

namespace tessera::reports {
namespace {

constexpr double kSecondsPerHour = 3600;
constexpr double kSecondsPerDay = 86400;

Scale time_scale(double seconds) {
  if (seconds >= 2 * kSecondsPerDay) return {1 / kSecondsPerDay, "days"};
  if (seconds >= 2 * kSecondsPerHour) return {1 / kSecondsPerHour, "h"};
  if (seconds >= 1 || seconds == 0) return {1, "s"};
  if (seconds >= 1e-3) return {1e3, "ms"};
  if (seconds >= 1e-6) return {1e6, "us"};
  return {1e9, "ns"};
}

Scale prefixed(double size, const std::string& unit) {
  for (const auto& [step, prefix] : std::initializer_list<std::pair<double, const char*>>{
           {1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
    if (size >= step) return {1 / step, prefix + unit};
  return {1, unit};
}

/// "M USD": a count keeps its unit and gets a word-like prefix, from a million on.
Scale counted(double size, const std::string& unit) {
  if (size >= 1e12) return {1e-12, "T " + unit};
  if (size >= 1e9) return {1e-9, "G " + unit};
  if (size >= 1e6) return {1e-6, "M " + unit};
  return {1, unit};
}

bool is_one_of(const std::string& unit, std::initializer_list<const char*> units) {
  for (const char* candidate : units)
    if (unit == candidate) return true;
  return false;
}

std::string grouped(const std::string& digits) {
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool group_starts = (digits.size() - i) % 3 == 0 && i > 0 && digits[i - 1] != '-';
    if (group_starts) text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace

Scale scale_for(double value, const std::string& unit) {
  const double size = std::abs(value);
  if (!std::isfinite(size)) return {1, unit};
  if (unit == "s") return time_scale(size);
  if (unit == "1") return {1, ""};
  if (unit == "fraction") return {100, "%"};
  if (is_one_of(unit, {"B", "B/s", "FLOP", "FLOP/s", "J", "W", "Wh", "Hz"}))
    return prefixed(size, unit);
  if (is_one_of(unit, {"USD", "GPU-h", "tokens", "tokens/s", "tokens/d", "kWh", "MWh"}))
    return counted(size, unit);
  return {1, unit};
}

std::string number(double value) {
  if (!std::isfinite(value)) return "-";
  const double size = std::abs(value);
  if (size >= 1000) return grouped(fmt::format("{:.0f}", value));
  if (size >= 100) return fmt::format("{:.1f}", value);
  if (size >= 10) return fmt::format("{:.2f}", value);
  if (size >= 1) return fmt::format("{:.3f}", value);
  if (size == 0) return "0";
  if (size >= 1e-3) return fmt::format("{:.4f}", value);
  return fmt::format("{:.3g}", value);
}

std::string count(double value) {
  return std::rint(value) == value ? grouped(fmt::format("{:.0f}", value)) : number(value);
}

std::string quantity(double value, const std::string& unit) {
  const Scale scale = scale_for(value, unit);
  return number(value * scale.factor) + (scale.unit.empty() ? "" : " " + scale.unit);
}

std::string interval(const core::Estimate& estimate) {
  if (estimate.lower == estimate.upper) return "-";
  const Scale scale = scale_for(estimate.value, estimate.unit);
  return fmt::format("{} to {}{}{}", number(estimate.lower * scale.factor),
                     number(estimate.upper * scale.factor), scale.unit.empty() ? "" : " ",
                     scale.unit);
}

std::string signed_percent(double ratio) {
  if (!std::isfinite(ratio)) return "-";
  return fmt::format("{:+.1f} %", 100 * ratio);
}

std::string shown_unit(const std::string& name, const std::string& unit) {
  if (unit != "1") return unit;
  for (const char* part : {"mfu", "fraction", "share", "utilisation", "utilization"})
    if (name.find(part) != std::string::npos) return "fraction";
  return unit;
}

core::Estimate shown(const std::string& name, core::Estimate estimate) {
  estimate.unit = shown_unit(name, estimate.unit);
  return estimate;
}

std::string shares_text(const std::vector<std::pair<std::string, double>>& shares) {
  constexpr double kSmallestShown = 0.005;
  std::string text;
  for (const auto& [name, share] : shares) {
    if (share < kSmallestShown) continue;
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", name, 100 * share);
  }
  return text;
}

std::string label(const std::string& name) {
  static constexpr std::array kWords = {
      std::pair{"mfu", "MFU"},    std::pair{"gpu", "GPU"},        std::pair{"gpus", "GPUs"},
      std::pair{"hbm", "HBM"},    std::pair{"tdp", "TDP"},        std::pair{"usd", "USD"},
      std::pair{"pue", "PUE"},    std::pair{"mwh", "MWh"},        std::pair{"fp8", "FP8"},
      std::pair{"bf16", "BF16"},  std::pair{"nvlink", "NVLink"},  std::pair{"rdma", "RDMA"},
      std::pair{"flops", "FLOP"}, std::pair{"tflops", "TFLOP/s"}, std::pair{"nic", "NIC"},
      std::pair{"mtp", "MTP"},    std::pair{"gemm", "GEMM"},      std::pair{"mla", "MLA"},
      std::pair{"1f", "1F"},      std::pair{"1b", "1B"},          std::pair{"1w", "1W"},
      std::pair{"1f1b", "1F1B"},  std::pair{"ttft", "TTFT"},      std::pair{"tpot", "TPOT"},
      std::pair{"kv", "KV"},      std::pair{"cuda", "CUDA"}};
  std::string text;
  std::string separators = name;
  for (char& c : separators)
    if (c == '_') c = ' ';
  std::istringstream words{separators};
  for (std::string word; words >> word;) {
    for (const auto& [key, shown] : kWords)
      if (word == key) word = shown;
    text += (text.empty() ? "" : " ") + word;
  }
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z')
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  return text;
}

}  // namespace tessera::reports
