#include "sim/core/study_result.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <set>
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

/// Correlation of the errors of two points of one device, model and software. With it the 90 %
/// intervals of ratios hold 90 % of the pairs among the 566 served rows without speculation of
/// `validate serving` (41 such groups, TPOT); their moments give 0.7 to 0.8. Between devices the
/// same count gives about 0.4, which is left out: those intervals are rather too wide.
constexpr double kSharedOnOneDevice = 0.5;

/// Distances of an interval's ends from its value, as logarithms.
struct Spread {
  double up = 0;
  double down = 0;
};

Spread spread(const Estimate& e) {
  return {std::log(e.upper / e.value), std::log(e.value / e.lower)};
}

std::string device_of(const StudyPoint& point) {
  for (const auto& [name, text] : point.facts)
    if (name == kDeviceFact) return text;
  return "";
}

/// Whether the points differ on an axis that `counts` by its path.
template <class Counts>
bool differ(const StudyResult& study, const StudyPoint& a, const StudyPoint& b,
            const Counts& counts) {
  for (std::size_t i = 0; i < study.axes.size() && i < a.settings.size(); ++i)
    if (a.settings[i] != b.settings[i] && counts(study.axes[i].path)) return true;
  return false;
}

/// Whether device, model and software are the same.
bool err_alike(const StudyResult& study, const StudyPoint& a, const StudyPoint& b) {
  const auto counts = [](const std::string& path) {
    constexpr std::array<std::string_view, 4> kLeaves = {"architecture", "kernels", "engine",
                                                         "engine_version"};
    const std::string leaf = path.substr(path.rfind('.') + 1);
    return std::find(kLeaves.begin(), kLeaves.end(), leaf) != kLeaves.end();
  };
  return !device_of(a).empty() && device_of(a) == device_of(b) && !differ(study, a, b, counts);
}

/// Whether no axis under `cost` tells the points apart.
bool has_one_price(const StudyResult& study, const StudyPoint& a, const StudyPoint& b) {
  return !differ(study, a, b, [](const std::string& path) {
    return path.starts_with("cost.") || path.find(".cost.") != std::string::npos;
  });
}

/// The error of `a` over that of `b` when `shared` of them is common.
double apart(double a, double b, double shared) {
  return std::sqrt(std::max(0.0, a * a + b * b - 2 * shared * a * b));
}

/// Points that answer and do one job, and those that are unbeaten on their device.
struct Contest {
  std::vector<std::size_t> points;
  std::vector<std::size_t> unbeaten;
};

struct Front {
  const StudyResult& study;
  const std::string& x;
  const std::string& y;

  [[nodiscard]] Merit first(std::size_t point) const {
    return merit(*study.find(study.points[point], x), more_is_better(x));
  }
  [[nodiscard]] Merit second(std::size_t point) const {
    return merit(*study.find(study.points[point], y), more_is_better(y));
  }
  [[nodiscard]] Stairs stairs(const std::vector<std::size_t>& points) const {
    std::vector<std::pair<double, double>> steps;
    for (const std::size_t i : points) steps.emplace_back(first(i).value, second(i).value);
    return Stairs{std::move(steps)};
  }
  [[nodiscard]] std::vector<std::size_t> unbeaten(const std::vector<std::size_t>& points) const {
    const Stairs all = stairs(points);
    std::vector<std::size_t> best;
    for (const std::size_t i : points)
      if (!all.beats(first(i).value, second(i).value)) best.push_back(i);
    return best;
  }
  [[nodiscard]] bool surely_beats(std::size_t a, std::size_t b) const {
    const StudyPoint& one = study.points[a];
    const StudyPoint& other = study.points[b];
    const bool better = first(a).value > first(b).value || second(a).value > second(b).value;
    return better && surely_no_worse(study, one, other, x) && surely_no_worse(study, one, other, y);
  }
};

/// The points of each job, in the order in which jobs first appear.
std::vector<Contest> contests_of(const Front& front) {
  std::vector<Contest> contests;
  std::map<std::string, std::size_t> place;
  for (std::size_t i = 0; i < front.study.points.size(); ++i) {
    const StudyPoint& point = front.study.points[i];
    if (!front.study.find(point, front.x) || !front.study.find(point, front.y)) continue;
    const auto [at, is_new] = place.emplace(point.job, contests.size());
    if (is_new) contests.emplace_back();
    contests[at->second].points.push_back(i);
  }
  for (Contest& contest : contests) {
    std::map<std::string, std::vector<std::size_t>> devices;
    for (const std::size_t i : contest.points)
      devices[device_of(front.study.points[i])].push_back(i);
    for (const auto& [name, points] : devices) {
      const auto best = front.unbeaten(points);
      contest.unbeaten.insert(contest.unbeaten.end(), best.begin(), best.end());
    }
  }
  return contests;
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
  constexpr std::array<std::string_view, 8> kBetter = {
      "tokens_per", "requests_per",     "mfu",         "largest_batch",
      "goodput",    "flops_per_second", "utilisation", "_busy"};
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

std::string job_of(const StudyResult& study, const StudyPoint& point) {
  std::string text;
  for (const std::string& path : study.for_each)
    for (std::size_t i = 0; i < study.axes.size() && i < point.settings.size(); ++i)
      if (study.axes[i].path == path)
        text += (text.empty() ? "" : ", ") + path + " " + point.settings[i];
  return text;
}

std::vector<std::string> jobs_of(const StudyResult& study) {
  if (study.for_each.empty()) return {""};
  std::vector<std::string> jobs;
  std::set<std::string> known;
  for (const StudyPoint& point : study.points)
    if (known.insert(point.job).second) jobs.push_back(point.job);
  return jobs;
}

std::optional<std::string> unpriced(const std::string& quantity) {
  if (quantity == "tokens_per_dollar" || quantity == "dollars_per_million_tokens")
    return "tokens_per_second_per_gpu";
  if (quantity == "dollars") return "gpu_hours";
  return std::nullopt;
}

Estimate ratio_of(const StudyResult& study, const StudyPoint& a, const StudyPoint& b,
                  const std::string& quantity) {
  const Estimate* one = study.find(a, quantity);
  const Estimate* other = study.find(b, quantity);
  assert(one && other && one->lower > 0 && other->lower > 0 && "ratios need positive bounds");
  const double value = one->value / other->value;
  double shared = 0;
  const auto behind = unpriced(quantity);
  if (err_alike(study, a, b) && (!behind || has_one_price(study, a, b))) {
    shared = kSharedOnOneDevice;
    const Estimate* one_behind = behind ? study.find(a, *behind) : nullptr;
    const Estimate* other_behind = behind ? study.find(b, *behind) : nullptr;
    if (one_behind && other_behind && one_behind->lower > 0 && other_behind->lower > 0) {
      const bool inverse = more_is_better(quantity) != more_is_better(*behind);
      one = inverse ? other_behind : one_behind;  // dollars rise where tokens fall
      other = inverse ? one_behind : other_behind;
    }
  }
  const Spread mine = spread(*one);
  const Spread its = spread(*other);
  return {value, value * std::exp(-apart(mine.down, its.up, shared)),
          value * std::exp(apart(mine.up, its.down, shared)), "1", worst(one->grade, other->grade)};
}

bool surely_no_worse(const StudyResult& study, const StudyPoint& a, const StudyPoint& b,
                     const std::string& quantity) {
  const Estimate* one = study.find(a, quantity);
  const Estimate* other = study.find(b, quantity);
  if (!one || !other) return false;
  const bool more = more_is_better(quantity);
  if (one->lower <= 0 || other->lower <= 0)
    return merit(*one, more).worst >= merit(*other, more).best;
  const Estimate ratio = ratio_of(study, a, b, quantity);
  return more ? ratio.lower >= 1 : ratio.upper <= 1;
}

StudyFront front_of(const StudyResult& study, const std::string& x, const std::string& y) {
  const Front front{study, x, y};
  StudyFront found{x, y, {}};
  for (const Contest& contest : contests_of(front)) {
    const Stairs all = front.stairs(contest.unbeaten);
    for (const std::size_t i : contest.points) {
      const bool beaten = all.beats(front.first(i).value, front.second(i).value);
      const auto surely = [&](std::size_t other) { return front.surely_beats(other, i); };
      if (beaten && std::any_of(contest.unbeaten.begin(), contest.unbeaten.end(), surely)) continue;
      found.points.push_back({i, !beaten});
    }
  }
  std::stable_sort(found.points.begin(), found.points.end(),
                   [&](const FrontPoint& a, const FrontPoint& b) {
                     return study.find(study.points[a.point], x)->value <
                            study.find(study.points[b.point], x)->value;
                   });
  return found;
}

}  // namespace tessera::core
