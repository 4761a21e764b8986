#include "sim/core/study_result.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

namespace tessera::core {
namespace {

/// How good a quantity is: negated where less is better, so that more is better throughout.
struct Merit {
  double value = 0;
  double worst = 0;  ///< At the worse end of the interval.
  double best = 0;
};

Merit merit(const Estimate& e, bool more) {
  if (more) return {e.value, e.lower, e.upper};
  return {-e.value, -e.upper, -e.lower};
}

struct Candidate {
  std::size_t point = 0;
  double x = 0;  ///< As it is, for the order.
  Merit first;
  Merit second;
};

/// Pairs of figures, asked which others they beat.
class Stairs {
 public:
  explicit Stairs(std::vector<std::pair<double, double>> steps) : steps_(std::move(steps)) {
    std::sort(steps_.begin(), steps_.end(), std::greater<>());
    for (std::size_t i = 1; i < steps_.size(); ++i)
      steps_[i].second = std::max(steps_[i].second, steps_[i - 1].second);
  }

  /// Whether some step is at least as high in both figures and higher in one.
  [[nodiscard]] bool beats(double first, double second) const {
    const double above = before([&](const auto& step) { return step.first > first; });
    const double not_below = before([&](const auto& step) { return step.first >= first; });
    return above >= second || not_below > second;
  }

 private:
  template <class Within>
  /// The highest second figure; minus infinity when no step is `within`.
  [[nodiscard]] double before(const Within& within) const {
    const auto end = std::partition_point(steps_.begin(), steps_.end(), within);
    if (end == steps_.begin()) return -std::numeric_limits<double>::infinity();
    return std::prev(end)->second;
  }

  std::vector<std::pair<double, double>> steps_;  ///< First figures descending.
};

std::vector<Candidate> candidates_of(const StudyResult& study, const std::string& x,
                                     const std::string& y) {
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < study.points.size(); ++i) {
    const Estimate* first = study.find(study.points[i], x);
    const Estimate* second = study.find(study.points[i], y);
    if (first && second)
      candidates.push_back(
          {i, first->value, merit(*first, more_is_better(x)), merit(*second, more_is_better(y))});
  }
  return candidates;
}

}  // namespace

std::string to_string(Attainment attainment) {
  constexpr std::array<const char*, 4> kNames = {"surely", "probably", "hardly", "no"};
  return kNames[static_cast<std::size_t>(attainment)];
}

std::optional<std::size_t> StudyResult::index_of(const std::string& quantity) const {
  const auto found = std::find(quantities.begin(), quantities.end(), quantity);
  if (found == quantities.end()) return std::nullopt;
  return static_cast<std::size_t>(found - quantities.begin());
}

const Estimate* StudyResult::find(const StudyPoint& point, const std::string& quantity) const {
  const auto index = index_of(quantity);
  if (!index || *index >= point.quantities.size() || !point.quantities[*index]) return nullptr;
  return &*point.quantities[*index];
}

bool more_is_better(const std::string& quantity) {
  constexpr std::array<std::string_view, 6> kBetter = {
      "tokens_per", "mfu", "largest_batch", "goodput", "flops_per_second", "utilisation"};
  return std::any_of(kBetter.begin(), kBetter.end(), [&](std::string_view word) {
    return quantity.find(word) != std::string::npos;
  });
}

Attainment attainment(const StudyResult& study, const StudyPoint& point) {
  if (point.refused) return Attainment::no;
  Attainment all = Attainment::surely;
  for (const StudyTarget& target : study.targets) {
    const Estimate* e = study.find(point, target.quantity);
    if (!e) return Attainment::no;
    const Merit m = merit(*e, !target.at_most);
    const double limit = target.at_most ? -target.limit : target.limit;
    const Attainment one = m.worst >= limit   ? Attainment::surely
                           : m.value >= limit ? Attainment::probably
                           : m.best >= limit  ? Attainment::hardly
                                              : Attainment::no;
    all = std::max(all, one);
  }
  return all;
}

StudyFront front_of(const StudyResult& study, const std::string& x, const std::string& y,
                    bool possible) {
  const std::vector<Candidate> candidates = candidates_of(study, x, y);
  std::vector<std::pair<double, double>> values;
  std::vector<std::pair<double, double>> worsts;
  for (const Candidate& c : candidates) {
    values.emplace_back(c.first.value, c.second.value);
    worsts.emplace_back(c.first.worst, c.second.worst);
  }
  const Stairs by_value{std::move(values)};
  const Stairs at_worst{std::move(worsts)};
  std::vector<std::pair<double, FrontPoint>> kept;
  for (const Candidate& c : candidates) {
    const bool beaten = by_value.beats(c.first.value, c.second.value);
    const bool surely_beaten = at_worst.beats(c.first.best, c.second.best);
    if (!beaten || (possible && !surely_beaten)) kept.push_back({c.x, {c.point, !beaten}});
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  StudyFront front{x, y, {}};
  for (const auto& [unused, point] : kept) front.points.push_back(point);
  return front;
}

}  // namespace tessera::core
