#include "sim/app/study_points.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "reports/aggregate.hpp"
#include "reports/format.hpp"
#include "reports/study_tables.hpp"
#include "sim/app/scenario_cost.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kKeyDigits = 32;  ///< 128 bits: no two of 10^9 points are taken for one.
/// Data files larger than this are not part of a configuration.
constexpr std::size_t kMaxDataBytes = std::size_t{64} << 20;

/// Folders below the data root whose files a point may read.
constexpr std::array kDataFolders = {"hw_configs", "calibrate/fits", "workloads/architectures",
                                     "workloads/routing"};

bool is_data(const fs::path& path) {
  constexpr std::array<std::string_view, 4> kEndings = {".yaml", ".yml", ".json", ".csv"};
  return std::find(kEndings.begin(), kEndings.end(), path.extension().string()) != kEndings.end();
}

void add_file(std::string& text, const fs::path& path, const std::string& name) {
  const std::string content = core::read_text_file({path, name}, kMaxDataBytes);
  text += fmt::format("{} {}\n", name, core::sha256(content));
}

bool is_shipped(const fs::path& file) {
  const fs::path from = file.lexically_relative(fs::absolute(core::data_root()).lexically_normal());
  return !from.empty() && *from.begin() != "..";
}

void add_scalars(const core::YamlNode& node, std::vector<std::string>& texts) {
  if (node.kind == core::YamlNode::Kind::scalar) texts.push_back(node.scalar);
  for (const core::YamlNode& item : node.items) add_scalars(item, texts);
  for (const core::YamlEntry& entry : node.entries) add_scalars(entry.value, texts);
}

/// Adds the user's files that `file` names by path, as clusters, price lists and recorded loads,
/// and those that they name.
void follow(const fs::path& file, std::set<fs::path>& found) {
  const std::string ending = file.extension().string();
  if (ending != ".yaml" && ending != ".yml") return;
  std::vector<std::string> texts;
  const std::string name = file.filename().string();
  add_scalars(core::parse_yaml(core::read_text_file({file, name}), name), texts);
  for (const std::string& text : texts) {
    const fs::path path = (file.parent_path() / text).lexically_normal();
    std::error_code error;
    if (is_data(path) && fs::is_regular_file(path, error) && !is_shipped(path) &&
        found.insert(path).second)
      follow(path, found);
  }
}

/// Names and hashes of everything that readers of named files can meet: what ships, what lies
/// beside files of the user's own, and what these name. More than a point reads, so that an edit is
/// never missed.
std::string configuration_text(const Study& study) {
  std::set<fs::path> shipped;
  const fs::path root = core::data_root();
  for (const char* folder : kDataFolders) {
    std::error_code error;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder, error))
      if (entry.is_regular_file() && is_data(entry.path())) shipped.insert(entry.path());
  }
  std::string text;
  for (const fs::path& path : shipped)
    add_file(text, path, path.lexically_relative(root).generic_string());
  std::set<fs::path> beside;
  for (const fs::path& own : study.own) {
    const fs::path file = fs::absolute(own).lexically_normal();
    follow(file, beside);
    if (is_shipped(file)) continue;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(file.parent_path(), error))
      if (entry.is_regular_file() && is_data(entry.path())) beside.insert(entry.path());
  }
  // The study itself counts by what it sets, not by how it says so.
  for (const fs::path& path : beside)
    if (path.filename() != fs::path(study.file).filename())
      add_file(text, path, path.filename().generic_string());
  return text;
}

std::string program_hash() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return TESSERA_VERSION;
  constexpr std::size_t kMaxProgramBytes = std::size_t{1} << 32;
  return core::sha256(core::read_text_file({program, "the program"}, kMaxProgramBytes));
}

Json target_json(const core::StudyTarget& t) {
  return {{"quantity", t.quantity}, {"at_most", t.at_most}, {"limit", t.limit}, {"unit", t.unit}};
}

/// The first point that can be read; check_questions has found one that answers.
AnyScenario first_sound(const Study& study) {
  for (const std::size_t combination : study.kept()) {
    try {
      return study.scenario(combination);
    } catch (const core::ConfigError&) {  // contradicts itself, as points may
    } catch (const core::Refusal&) {
    }
  }
  return read_any_scenario(study.base);
}

/// What the reader of a report must know about its prices.
std::vector<std::string> warnings_of(const Study& study) {
  if (!study.varies_machine()) return {};
  std::vector<std::string> warnings;
  const AnyScenario first = first_sound(study);
  for (const Scenario* part : parts_of(first)) {
    const bool owned = part->cost.ownership.has_value();
    const auto& stated = owned ? part->stated_server : part->stated_rental;
    const std::string key = owned ? "cost.server" : "cost.rental";
    const bool varied =
        std::any_of(study.axes.begin(), study.axes.end(), [&](const core::StudyAxis& axis) {
          return axis.path == key || axis.path.ends_with("." + key);
        });
    if (stated && !varied)
      warnings.push_back(fmt::format(
          "All machines are priced by the price list; the {} of {:.6g} {} that {} "
          "states for its own is not taken.",
          owned ? "server price" : "rent", *stated, owned ? kServer : kRent, part->name));
  }
  return warnings;
}

/// All that a report needs besides the points, so that a store alone can make one.
std::string document_of(const Study& study) {
  Json json;
  json["title"] = study.title;
  json["base"] = fs::path(study.base).stem().string();
  json["fidelity"] = study.fidelity == gpu::Fidelity::cycle ? "cycle" : "analytical";
  json["tessera"] = TESSERA_VERSION;
  json["axes"] = Json::array();
  for (const core::StudyAxis& axis : study.axes)
    json["axes"].push_back({{"path", axis.path}, {"values", axis.values}});
  json["for_each"] = study.for_each;
  json["warnings"] = warnings_of(study);
  json["quantities"] = study.quantities;
  json["slo"] = Json::array();
  for (const core::StudyTarget& target : study.targets) json["slo"].push_back(target_json(target));
  json["objective"] = study.objective.value_or("");
  if (study.front) json["front"] = {study.front->first, study.front->second};
  json["excluded"] = study.combinations() - study.kept().size();
  return json.dump();
}

/// "does_not_fit: reason" of a result as its two parts.
std::pair<std::string, std::string> split_refusal(const std::string& text) {
  const std::size_t colon = text.find(": ");
  if (colon == std::string::npos) return {"outside_model", text};
  return {text.substr(0, colon), text.substr(colon + 2)};
}

std::string reason_of(const core::ConfigError& error) {
  std::string text;
  for (const core::Diagnostic& mistake : error.diagnostics())
    text += (text.empty() ? "" : "; ") + mistake.message;
  return text;
}

/// What bounds most of the step, networks and hosts included where the result says it; else of the
/// kernels' time.
std::string binding_text(const core::Result& result) {
  auto shares = reports::time_by_binding(result);
  double total = 0;
  const auto bindings = reports::bindings_over_ranks(result);
  for (const reports::PhaseSummary& row : bindings) total += row.mean;
  if (total > 0) shares.clear();
  for (const reports::PhaseSummary& row : bindings)
    shares.emplace_back(row.phase.substr(std::string_view(core::kBoundBy).size()),
                        row.mean / total);
  if (shares.empty()) return "";
  const auto most =
      std::max_element(shares.begin(), shares.end(),
                       [](const auto& x, const auto& y) { return x.second < y.second; });
  return fmt::format("{} {:.0f} %", most->first, 100 * most->second);
}

/// The same; of pools of servers, of each.
std::string bindings_text(const core::Result& result) {
  if (result.job != kDisaggregation) return binding_text(result);
  std::string text;
  for (const std::string& rank : reports::ranks_of(result.phases)) {
    core::Result pool;
    std::copy_if(result.phases.begin(), result.phases.end(), std::back_inserter(pool.phases),
                 [&](const core::PhaseRow& row) { return row.rank == rank; });
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", rank, binding_text(pool));
  }
  return text;
}

Json facts_of(const core::Result& result) {
  Json facts{{core::kDeviceFact, result.machine.device}};
  if (const std::string binding = bindings_text(result); !binding.empty())
    facts["binding"] = binding;
  return facts;
}

core::StudyPoint point_of(const PointRecord& record, const core::StudyResult& study) {
  core::StudyPoint point;
  const Json settings = Json::parse(record.settings);
  for (const core::StudyAxis& axis : study.axes)
    point.settings.push_back(settings.contains(axis.path) ? settings[axis.path].get<std::string>()
                                                          : "");
  point.job = core::job_of(study, point);
  const Json facts = Json::parse(record.facts);
  for (const auto& [name, text] : facts.items())
    point.facts.emplace_back(name, text.get<std::string>());
  if (record.outcome != "done") {
    point.refusal_kind = record.outcome;
    point.refused = record.reason;
    point.attainment = core::Attainment::no;
    return point;
  }
  for (const std::string& name : study.quantities) {
    const auto found = std::find_if(record.quantities.begin(), record.quantities.end(),
                                    [&](const auto& row) { return row.first == name; });
    point.quantities.push_back(found == record.quantities.end() ? std::nullopt
                                                                : std::optional(found->second));
  }
  point.attainment = core::attainment(study, point);
  return point;
}

void count_refusals(core::StudyResult& study) {
  std::map<std::string, std::size_t> counts;
  for (const core::StudyPoint& point : study.points)
    if (point.refused) ++counts[point.refusal_kind];
  study.refusals.assign(counts.begin(), counts.end());
  std::stable_sort(study.refusals.begin(), study.refusals.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
}

/// The best point in the objective that keeps the targets, among those of `job`.
const core::StudyPoint* best_of(const core::StudyResult& study, const std::string& job) {
  const core::StudyPoint* best = nullptr;
  double value = 0;
  for (const core::StudyPoint& point : study.points) {
    const core::Estimate* e = study.find(point, study.objective);
    if (e == nullptr || point.attainment > core::Attainment::probably) continue;
    if (point.job != job) continue;
    const bool better = core::more_is_better(study.objective) ? e->value > value : e->value < value;
    if (best && !better) continue;
    best = &point;
    value = e->value;
  }
  return best;
}

/// How many others that keep the targets may be as good: their ratio's interval reaches 1.
std::size_t rivals_of(const core::StudyResult& study, const core::StudyPoint& best) {
  const auto rivals = [&](const core::StudyPoint& other) {
    return &other != &best && study.find(other, study.objective) != nullptr &&
           other.attainment <= core::Attainment::probably && other.job == best.job &&
           !core::surely_no_worse(study, best, other, study.objective);
  };
  return static_cast<std::size_t>(std::count_if(study.points.begin(), study.points.end(), rivals));
}

/// The answer to one job.
void add_answer(core::StudyResult& study, const std::string& job) {
  const std::string kept = study.targets.empty() ? "" : " with " + reports::targets_text(study);
  const std::string for_job = job.empty() ? "" : " at " + job;
  const core::StudyPoint* best = best_of(study, job);
  if (!best) {
    study.answer.push_back("No point answers" + for_job + kept + ".");
    return;
  }
  const core::Estimate e = reports::shown(study.objective, *study.find(*best, study.objective));
  std::string text = fmt::format("Best {}{}{}: {} ({}), point {}: {}.", study.objective, for_job,
                                 kept, reports::quantity(e.value, e.unit), reports::interval(e),
                                 best->number, reports::settings_text(study, *best));
  if (best->attainment == core::Attainment::probably)
    text += " Its interval reaches beyond a target.";
  const std::size_t rivals = rivals_of(study, *best);
  text += rivals == 0
              ? " No other can be as good at 90 %."
              : fmt::format(" {} other{} may be as good at 90 %.", rivals, rivals == 1 ? "" : "s");
  study.answer.push_back(text);
  study.best.push_back({"Best " + study.objective + for_job + kept,
                        static_cast<std::size_t>(best - study.points.data()),
                        {}});
}

void add_answers(core::StudyResult& study) {
  if (study.objective.empty()) return;
  for (const std::string& job : core::jobs_of(study)) add_answer(study, job);
}

}  // namespace

StudyPoints points_of(const Study& study) {
  StudyPoints points;
  points.combinations = study.kept();
  const std::string common = fmt::format(
      "{}\n{}\n{}\n{}\n{}\n{}\n", TESSERA_VERSION, program_hash(), configuration_text(study),
      study.base_values.dump(), study.fidelity == gpu::Fidelity::cycle ? "cycle" : "analytical",
      Json(study.quantities).dump());
  const std::string common_hash = core::sha256(common);
  for (const std::size_t combination : points.combinations)
    points.stored.keys.push_back(
        core::sha256(common_hash + settings_json(study, combination)).substr(0, kKeyDigits));
  points.stored.name = study.name;
  points.stored.document = document_of(study);
  std::string all = study.name + points.stored.document;
  for (const std::string& key : points.stored.keys) all += key;
  points.stored.digest = core::sha256(all).substr(0, kKeyDigits);
  return points;
}

std::string settings_json(const Study& study, std::size_t combination) {
  Json json = Json::object();
  for (const StudySetting* setting : study.settings(combination))
    if (setting != nullptr) json[setting->path] = setting->change.value;
  return json.dump();
}

PointRecord run_point(const Study& study, std::size_t combination, const std::string& key,
                      const RunOptions& options, RunStatistics& statistics) {
  return record_run(
      {key, settings_json(study, combination), "done", "", "{}", {}},
      [&] { return study.scenario(combination); }, study.quantities, options, statistics);
}

PointRecord record_run(PointRecord record, const std::function<AnyScenario()>& read,
                       const std::vector<std::string>& quantities, const RunOptions& options,
                       RunStatistics& statistics) {
  try {
    const core::Result result = run_any_scenario(read(), options, statistics);
    if (result.refused) {
      std::tie(record.outcome, record.reason) = split_refusal(*result.refused);
      return record;
    }
    record.facts = facts_of(result).dump();
    Quantities all = quantities_of(result);
    for (const std::string& name : quantities)
      for (const auto& row : all)
        if (row.first == name) record.quantities.push_back(row);
    if (quantities.empty()) record.quantities = std::move(all);
  } catch (const core::Refusal& refusal) {
    record.outcome = core::to_string(refusal.kind());
    record.reason = refusal.what();
  } catch (const core::ConfigError& error) {
    record.outcome = core::to_string(core::RefusalKind::illegal_combination);
    record.reason = reason_of(error);
  }
  return record;
}

core::StudyResult study_result(const StoredStudy& stored, StudyStore& store) {
  const Json json = Json::parse(stored.document);
  core::StudyResult study;
  study.kind = "sweep";
  study.name = stored.name;
  study.title = json.at("title");
  study.base = json.at("base");
  study.fidelity = json.at("fidelity");
  study.tessera_version = json.at("tessera");
  study.excluded = json.at("excluded");
  for (const Json& axis : json.at("axes"))
    study.axes.push_back({axis.at("path"), axis.at("values").get<std::vector<std::string>>()});
  study.for_each = json.at("for_each").get<std::vector<std::string>>();
  study.warnings = json.at("warnings").get<std::vector<std::string>>();
  study.quantities = json.at("quantities").get<std::vector<std::string>>();
  for (const Json& t : json.at("slo"))
    study.targets.push_back({t.at("quantity"), t.at("at_most"), t.at("limit"), t.at("unit")});
  study.objective = json.at("objective");
  for (std::size_t i = 0; i < stored.keys.size(); ++i) {
    const auto record = store.find(stored.keys[i]);
    if (!record) continue;
    study.points.push_back(point_of(*record, study));
    study.points.back().number = i;
  }
  count_refusals(study);
  if (json.contains("front"))
    study.front = core::front_of(study, json["front"][0], json["front"][1]);
  add_answers(study);
  return study;
}

}  // namespace tessera::app
