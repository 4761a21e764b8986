#include "sim/app/study_questions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "sim/app/study.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/dimension.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using core::ConfigNode;
using core::Estimate;

/// Points tried for one that answers.
constexpr std::size_t kAnswerTries = 16;

const Estimate* find(const Quantities& quantities, const std::string& name) {
  for (const auto& [key, estimate] : quantities)
    if (key == name) return &estimate;
  return nullptr;
}

std::vector<std::string> names_of(const Quantities& quantities) {
  std::vector<std::string> names;
  names.reserve(quantities.size());
  for (const auto& [name, unused] : quantities) names.push_back(name);
  return names;
}

/// Units in which limits are written, as factors to the units of results.
struct LimitUnit {
  std::string_view unit;
  std::string_view written;
  double factor;
};
constexpr std::array kLimitUnits = {
    LimitUnit{"s", "s", 1},    LimitUnit{"s", "ms", 1e-3}, LimitUnit{"s", "us", 1e-6},
    LimitUnit{"J", "J", 1},    LimitUnit{"J", "mJ", 1e-3}, LimitUnit{"1", "", 1},
    LimitUnit{"1", "%", 0.01}, LimitUnit{"B", "B", 1},     LimitUnit{"B", "KB", 1e3},
    LimitUnit{"B", "MB", 1e6}, LimitUnit{"B", "GB", 1e9},  LimitUnit{"W", "W", 1},
    LimitUnit{"W", "kW", 1e3},
};

/// The factor of a written unit to a result's, and all that would do.
std::optional<double> factor_of(const std::string& unit, std::string_view written,
                                std::vector<std::string>& accepted) {
  std::optional<double> factor;
  for (const LimitUnit& known : kLimitUnits) {
    if (known.unit != unit) continue;
    if (known.written == written) factor = known.factor;
    if (!known.written.empty()) accepted.emplace_back(known.written);
  }
  if (accepted.empty()) accepted.push_back(unit);
  return !factor && written == unit ? std::optional(1.0) : factor;
}

/// An answer of the study's job, or none when all that is tried is refused.
std::optional<Quantities> sample_answer(const Study& study) {
  RunOptions options;
  options.fidelity = gpu::Fidelity::analytical;
  RunStatistics statistics;
  const auto answer = [&](const AnyScenario& scenario) -> std::optional<Quantities> {
    const core::Result result = run_any_scenario(scenario, options, statistics);
    if (result.refused) return std::nullopt;
    return quantities_of(result);
  };
  try {
    if (auto found = answer(read_any_scenario(study.base))) return found;
  } catch (const std::exception&) {  // a base may be wrong where its points are not
  }
  const std::vector<std::size_t> kept = study.kept();
  const std::size_t step = std::max<std::size_t>(1, kept.size() / kAnswerTries);
  for (std::size_t i = 0; i < kept.size(); i += step) {
    try {
      if (auto found = answer(study.scenario(kept[i]))) return found;
    } catch (const std::exception&) {
    }
  }
  return std::nullopt;
}

void check_name(const ConfigNode& node, const Quantities& known) {
  if (node.present() && find(known, node.text()) == nullptr)
    node.fail(core::unknown_name(node.text(), names_of(known)));
}

void add_once(std::vector<std::string>& list, const std::string& name) {
  if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
}

/// The first of the candidates that the answer has.
std::optional<std::string> first_of(const Quantities& known,
                                    std::initializer_list<const char*> candidates) {
  for (const char* name : candidates)
    if (find(known, name) != nullptr) return name;
  return std::nullopt;
}

void read_targets(const ConfigNode& slo, const Quantities& known, Study& study) {
  study.targets.clear();
  for (const std::string& name : slo.keys()) {
    const ConfigNode node = slo.at(name);
    const std::string text = node.text();
    const Estimate* quantity = find(known, name);
    try {
      if (quantity == nullptr)
        node.fail(core::unknown_name(name, names_of(known)));
      else if (!text.empty())
        study.targets.push_back(read_target(name, quantity->unit, text, node.position()));
    } catch (const core::ConfigError& error) {
      node.absorb(error);
    }
  }
}

}  // namespace

Quantities quantities_of(const core::Result& result) {
  Quantities all = result.quantities;
  const Estimate* price = result.find("dollars_per_million_tokens");
  constexpr double kMillion = 1e6;
  if (price != nullptr && price->lower > 0)
    all.emplace_back("tokens_per_dollar",
                     Estimate{kMillion / price->value, kMillion / price->upper,
                              kMillion / price->lower, "tokens/USD", price->grade});
  return all;
}

core::StudyTarget read_target(const std::string& quantity, const std::string& unit,
                              const std::string& text, const core::SourcePosition& where) {
  const core::NumberWithUnit parts = core::split_unit(text);
  const auto number = core::parse_number(parts.number);
  std::vector<std::string> accepted;
  const auto factor = factor_of(unit, parts.unit, accepted);
  if (!number || !factor || *number <= 0)
    throw core::ConfigError(
        where, fmt::format("slo.{}: found '{}'; expected a number above 0{}", quantity, text,
                           unit == "1" ? "" : " in " + core::join_names(accepted)));
  return {quantity, !core::more_is_better(quantity), *number * *factor, unit};
}

void read_questions(const ConfigNode& root, Study& study) {
  for (const ConfigNode& item : root.optional_list("quantities"))
    study.quantities.push_back(item.text());
  const ConfigNode slo = root.optional_object("slo");
  for (const std::string& name : slo.keys()) (void)slo.text(name);
  study.objective = root.optional_text("objective");
  if (root.has("front")) {
    const ConfigNode front = root.object("front");
    study.front = {front.text("x"), front.text("y")};
    if (front.sound() && study.front->first == study.front->second)
      front.at("y").fail_against(front.at("x"), "found the quantity of x; expected another");
  }
}

void check_questions(const ConfigNode& root, Study& study) {
  const auto known = sample_answer(study);
  if (!known)
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("neither {} nor the points of {} that were tried give an "
                                    "answer; `tessera run {}` says why",
                                    study.base, study.name, study.base));
  for (const ConfigNode& item : root.optional_list("quantities")) check_name(item, *known);
  check_name(root.at("objective"), *known);
  const ConfigNode front = root.optional_object("front");
  check_name(front.at("x"), *known);
  check_name(front.at("y"), *known);
  read_targets(root.optional_object("slo"), *known, study);
  if (!study.objective)
    study.objective = first_of(*known, {"tokens_per_second_per_gpu", "gpu_hours", "step_time"});
  if (!study.front && find(*known, "tokens_per_second_per_user") != nullptr &&
      find(*known, "tokens_per_dollar") != nullptr)
    study.front = {"tokens_per_second_per_user", "tokens_per_dollar"};
  if (study.quantities.empty()) study.quantities = names_of(*known);
  if (study.objective) add_once(study.quantities, *study.objective);
  for (const core::StudyTarget& target : study.targets) add_once(study.quantities, target.quantity);
  if (study.front) {
    add_once(study.quantities, study.front->first);
    add_once(study.quantities, study.front->second);
  }
  // What is left to tell priced points of one device apart.
  for (const std::string& name : std::vector<std::string>(study.quantities))
    if (const auto behind = core::unpriced(name); behind && find(*known, *behind) != nullptr)
      add_once(study.quantities, *behind);
}

}  // namespace tessera::app
