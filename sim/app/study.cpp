#include "sim/app/study.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cassert>
#include <numeric>
#include <set>

#include "sim/app/study_axes.hpp"
#include "sim/app/study_questions.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using core::ConfigDocument;
using core::ConfigNode;

enum class JobKind { study };

/// Combinations tried to find one that is sound, and to find one in which a value is.
constexpr std::size_t kSoundTries = 64;
constexpr std::size_t kValueTries = 16;

/// What a path is set to in a resolved document; none when it is not a scalar there.
std::optional<std::string> scalar_at(const nlohmann::ordered_json& values,
                                     const std::string& path) {
  const nlohmann::ordered_json* at = &values;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('.', start), path.size());
    const std::string key = path.substr(start, end - start);
    if (!at->is_object() || !at->contains(key)) return std::nullopt;
    at = &(*at)[key];
    start = end + 1;
  }
  if (at->is_structured() || at->is_null()) return std::nullopt;
  return at->is_string() ? at->get<std::string>() : at->dump();
}

/// The base scenario's document without a check of its values, which its reader does.
ConfigDocument load_base(const std::string& base) {
  return ConfigDocument::load(base, {.kind = "scenario", .folder = "workloads/scenarios"});
}

/// A path beside the study, or a bare name, as read_scenario takes it.
std::string base_of(const ConfigNode& node) {
  const std::string name = node.text("base");
  if (name.empty()) return name;
  try {
    const core::LoadOptions options = node.at("base").reference("scenario", "workloads/scenarios");
    const core::ResolvedFile file = core::resolve_file(name, options);
    const bool shipped = name.find('/') == std::string::npos && !name.ends_with(".yaml");
    return shipped ? name : file.path.string();
  } catch (const core::ConfigError& error) {
    node.at("base").absorb(error);
    return "";
  }
}

/// Mistakes of reading a combination; empty when it is sound, or refused rather than wrong.
std::vector<core::Diagnostic> mistakes_of(const Study& study, std::size_t combination) {
  try {
    (void)study.scenario(combination);
  } catch (const core::ConfigError& error) {
    return error.diagnostics();
  } catch (const core::Refusal&) {
  }
  return {};
}

/// Finds values that no combination accepts: mistakes of the study, not points that contradict
/// themselves.
class ValueCheck {
 public:
  explicit ValueCheck(const Study& study) : study_(study), kept_(study.kept()) {}

  void run() {
    const auto sound = find_sound();
    for (std::size_t d = 0; d < study_.dimensions.size(); ++d)
      for (std::size_t c = 0; c < study_.dimensions[d].choices.size(); ++c)
        check(with_choice(sound, d, c), d, c);
    if (!mistakes_.empty()) throw core::ConfigError(std::move(mistakes_));
  }

 private:
  [[nodiscard]] std::size_t stride_of(std::size_t dimension) const {
    std::size_t stride = 1;
    for (std::size_t d = dimension + 1; d < study_.dimensions.size(); ++d)
      stride *= study_.dimensions[d].choices.size();
    return stride;
  }
  [[nodiscard]] std::size_t choice_of(std::size_t combination, std::size_t dimension) const {
    return combination / stride_of(dimension) % study_.dimensions[dimension].choices.size();
  }
  [[nodiscard]] std::size_t with_choice(std::size_t combination, std::size_t dimension,
                                        std::size_t choice) const {
    const std::size_t stride = stride_of(dimension);
    return combination - choice_of(combination, dimension) * stride + choice * stride;
  }

  std::size_t find_sound() {
    const std::size_t step = std::max<std::size_t>(1, kept_.size() / kSoundTries);
    for (std::size_t i = 0; i < kept_.size(); i += step)
      if (mistakes_of(study_, kept_[i]).empty()) return kept_[i];
    throw core::ConfigError(mistakes_of(study_, kept_.front()));
  }

  void check(std::size_t combination, std::size_t dimension, std::size_t choice) {
    const auto first = mistakes_of(study_, combination);
    if (first.empty()) return;
    std::vector<std::size_t> others;
    for (const std::size_t kept : kept_)
      if (choice_of(kept, dimension) == choice) others.push_back(kept);
    const std::size_t step = std::max<std::size_t>(1, others.size() / kValueTries);
    for (std::size_t i = 0; i < others.size(); i += step)
      if (mistakes_of(study_, others[i]).empty()) return;
    for (const core::Diagnostic& mistake : first)
      if (said_.insert(mistake.to_string()).second) mistakes_.push_back(mistake);
  }

  const Study& study_;
  std::vector<std::size_t> kept_;
  std::set<std::string> said_;
  std::vector<core::Diagnostic> mistakes_;
};

/// The filters of `where:`. Each names paths that the study sets or the base scenario has.
std::vector<StudyFilter> read_filters(const ConfigNode& root, const Study& study) {
  const auto is_path = [&](const std::string& word) {
    const bool set = std::any_of(study.axes.begin(), study.axes.end(),
                                 [&](const core::StudyAxis& axis) { return axis.path == word; });
    return set || scalar_at(study.base_values, word).has_value();
  };
  std::vector<StudyFilter> filters;
  for (const ConfigNode& item : root.optional_list("where")) {
    const std::string text = item.text();
    if (text.empty()) continue;
    try {
      filters.emplace_back(text, item.position(), is_path);
    } catch (const core::ConfigError& error) {
      item.absorb(error);
    }
  }
  return filters;
}

/// Reads `for_each`: paths of axes.
void read_jobs(const ConfigNode& root, Study& study) {
  std::vector<std::string> paths;
  for (const core::StudyAxis& axis : study.axes) paths.push_back(axis.path);
  for (const ConfigNode& item : root.optional_list("for_each")) {
    const std::string path = item.text();
    if (path.empty()) continue;
    if (std::find(paths.begin(), paths.end(), path) == paths.end())
      item.fail(core::unknown_name(path, paths));
    else
      study.for_each.push_back(path);
  }
}

}  // namespace

std::size_t Study::combinations() const {
  return std::accumulate(
      dimensions.begin(), dimensions.end(), std::size_t{1},
      [](std::size_t n, const StudyDimension& d) { return n * d.choices.size(); });
}

std::vector<const StudySetting*> Study::settings(std::size_t combination) const {
  assert(combination < combinations() && "there are only so many combinations");
  std::vector<const StudySetting*> found(axes.size(), nullptr);
  for (std::size_t d = dimensions.size(); d-- > 0;) {
    const auto& choices = dimensions[d].choices;
    for (const StudySetting& setting : choices[combination % choices.size()]) {
      const auto axis = std::find_if(axes.begin(), axes.end(), [&](const core::StudyAxis& a) {
        return a.path == setting.path;
      });
      found[static_cast<std::size_t>(axis - axes.begin())] = &setting;
    }
    combination /= choices.size();
  }
  return found;
}

std::vector<std::size_t> Study::kept() const {
  std::vector<std::size_t> list;
  for (std::size_t i = 0; i < combinations(); ++i) {
    const auto set = settings(i);
    const auto lookup = [&](const std::string& path) -> std::optional<std::string> {
      for (const StudySetting* setting : set)
        if (setting != nullptr && setting->path == path) return setting->change.value;
      return scalar_at(base_values, path);
    };
    if (std::all_of(filters.begin(), filters.end(),
                    [&](const StudyFilter& filter) { return filter.keeps(lookup); }))
      list.push_back(i);
  }
  return list;
}

std::optional<std::string> Study::base_value(const std::string& path) const {
  return scalar_at(base_values, path);
}

bool Study::varies_machine() const {
  return std::any_of(axes.begin(), axes.end(), [&](const core::StudyAxis& axis) {
    std::string path = axis.path;
    for (const std::string pool : {"disaggregation.prefill", "disaggregation.decode"}) {
      if (path == pool) return true;
      if (path.starts_with(pool + ".")) path = path.substr(pool.size() + 1);
    }
    if (path == "cluster.node" || path == "cluster.node.device") return true;
    return path == "cluster" &&
           axis.values != std::vector<std::string>{base_value(axis.path).value_or("")};
  });
}

AnyScenario Study::scenario(std::size_t combination) const {
  ScenarioOptions options;
  options.market_prices = varies_machine();
  for (const StudySetting* setting : settings(combination))
    if (setting != nullptr) options.overrides.push_back(setting->change);
  return read_any_scenario(base, options);
}

Study read_study(const std::string& path_or_name) {
  const core::LoadOptions load{.kind = "study", .folder = kStudyFolder};
  const ConfigDocument document = ConfigDocument::load(path_or_name, load);
  const ConfigNode root = document.root();
  Study study;
  study.name = document.name();
  study.file = document.file();
  (void)root.choice<JobKind>("job", {{"study", JobKind::study}});
  study.title = root.text_or("title", study.name);
  study.fidelity = root.choice_or<gpu::Fidelity>(
      "fidelity", {{"analytical", gpu::Fidelity::analytical}, {"cycle", gpu::Fidelity::cycle}},
      gpu::Fidelity::analytical);
  study.base = base_of(root);
  read_axes(root, document.files(), study);
  if (!study.base.empty()) {
    try {
      const ConfigDocument base = load_base(study.base);
      study.base_values = base.resolved(false);
      study.own = base.files();
    } catch (const core::ConfigError& error) {
      root.at("base").absorb(error);
    }
  }
  if (root.sound()) study.filters = read_filters(root, study);
  if (root.sound()) read_jobs(root, study);
  read_questions(root, study);
  document.finish();
  study.own.insert(study.own.end(), document.files().begin(), document.files().end());
  study.document = document.resolved(false).dump();
  if (study.kept().empty())
    throw core::ConfigError(
        root.origin("where"),
        fmt::format("where: found conditions that leave none of {} points", study.combinations()));
  ValueCheck{study}.run();
  check_questions(root, study);
  document.finish();
  return study;
}

}  // namespace tessera::app
