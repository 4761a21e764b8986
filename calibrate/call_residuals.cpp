#include "calibrate/call_residuals.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "models/gpu/gpu.hpp"

namespace tessera::calibrate {
namespace {

/// Calls below the first bound are mostly launch and latency, calls above the second are steady
/// throughput; each errs in its own way. // assumed
constexpr double kShortMicroseconds = 20, kMediumMicroseconds = 200;
/// Rows from which a class of durations has an interval of its own: the 5 % rank is then the second
/// smallest or later.
constexpr std::size_t kFewestOfAClass = 40;
/// Share of measured values that may lie beyond each end of an interval.
constexpr double kTail = 0.05;

const char* duration_class(double microseconds) {
  return microseconds < kShortMicroseconds    ? "short"
         : microseconds < kMediumMicroseconds ? "medium"
                                              : "long";
}

double middle(std::vector<double> values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// The ends of the 90 % interval of ordered values. The next value lies below the least of n with
/// odds of one in n + 1: where those are more than kTail, the interval goes on beyond the values as
/// far as tails of a Laplace distribution do, which is what errors with outliers have.
std::pair<double, double> ends(const std::vector<double>& ordered) {
  const auto n = static_cast<double>(ordered.size());
  const double low = std::max(1.0, std::floor(kTail * (n + 1)));
  const double high = std::min(n, std::ceil((1 - kTail) * (n + 1)));
  double beyond = 0;
  if (kTail * (n + 1) < 1) {
    const double centre = ordered[ordered.size() / 2];
    double scale = 0;  // mean distance from the middle
    for (const double value : ordered) scale += std::abs(value - centre) / n;
    beyond = -scale * std::log(kTail * (n + 1));
  }
  return {ordered[static_cast<std::size_t>(low) - 1] - beyond,
          ordered[static_cast<std::size_t>(high) - 1] + beyond};
}

/// Share of each second value inside the interval of the others, and the reverse: what the interval
/// holds of rows that did not make it.
double held_out(const std::vector<CallError>& errors) {
  std::size_t inside = 0;
  for (const std::size_t side : {0, 1}) {
    std::vector<double> own;
    for (std::size_t i = side; i < errors.size(); i += 2) own.push_back(errors[i].log_ratio);
    if (own.empty()) continue;
    std::sort(own.begin(), own.end());
    const auto [lower, upper] = ends(own);
    for (std::size_t i = 1 - side; i < errors.size(); i += 2)
      inside += lower <= errors[i].log_ratio && errors[i].log_ratio <= upper;
  }
  return static_cast<double>(inside) / static_cast<double>(errors.size());
}

ResidualLine line_of(const std::string& group, const std::string& stage,
                     const std::vector<CallError>& errors) {
  assert(!errors.empty() && "a group has rows");
  std::vector<double> ratios, sizes;
  for (const CallError& error : errors) {
    ratios.push_back(error.log_ratio);
    sizes.push_back(std::abs(error.log_ratio));
  }
  std::sort(ratios.begin(), ratios.end());
  std::sort(sizes.begin(), sizes.end());
  const auto [lower, upper] = ends(ratios);
  return {.group = group,
          .stage = stage,
          .rows = errors.size(),
          .median = middle(sizes),
          .p90 = sizes[static_cast<std::size_t>(0.9 * static_cast<double>(sizes.size()))],
          .bias = -middle(ratios),
          .lower = lower,
          .upper = upper,
          .inside = held_out(errors)};
}

}  // namespace

std::vector<ResidualLine> residual_lines(const std::string& group, const std::string& stage,
                                         const std::vector<CallError>& errors) {
  std::vector<ResidualLine> lines{line_of(group, stage, errors)};
  std::map<std::string, std::vector<CallError>> classes;
  for (const CallError& error : errors)
    classes[duration_class(error.predicted_us)].push_back(error);
  for (const auto& [name, members] : classes)
    if (members.size() >= kFewestOfAClass && members.size() < errors.size())
      lines.push_back(line_of(group + " " + name, stage, members));
  return lines;
}

CallIntervals::CallIntervals(const std::vector<ResidualLine>& lines, bool transferred)
    : transferred_(transferred) {
  for (const ResidualLine& line : lines)
    if (line.lower < line.upper) lines_[line.group] = line;
}

std::optional<CallIntervals::Factors> CallIntervals::around(const std::string& group,
                                                            double predicted_us) const {
  auto found = lines_.find(group + " " + duration_class(predicted_us));
  if (found == lines_.end()) found = lines_.find(group);
  if (found == lines_.end()) return std::nullopt;
  const double widening = transferred_ ? gpu::kTransferWidening : 1.0;
  return Factors{.lower = std::exp(widening * std::min(found->second.lower, 0.0)),
                 .upper = std::exp(widening * std::max(found->second.upper, 0.0))};
}

}  // namespace tessera::calibrate
