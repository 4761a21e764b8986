#include "sim/app/serving_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "models/device/cluster_file.hpp"
#include "models/device/export_rules.hpp"
#include "reports/export_check.hpp"
#include "reports/format.hpp"
#include "reports/study_tables.hpp"
#include "sim/app/study_points.hpp"
#include "sim/app/study_questions.hpp"
#include "sim/app/training_run.hpp"
#include "sim/app/worker_pool.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kBatch = "batch.sequences";
/// No more sequences are tried; far beyond what any GPU's memory holds.
constexpr std::int64_t kMaxBatch = 1 << 20;

/// The named cluster, or as many GPUs of the named device as the scenario's cluster has.
std::string cluster_of(const std::string& name, int gpus) {
  const auto devices = core::names_in("hw_configs/devices");
  const bool is_device = std::find(devices.begin(), devices.end(), name) != devices.end();
  return is_device ? fmt::format("{}_{}", name, gpus) : name;
}

/// Limits of one set, as they are written.
std::vector<std::pair<std::string, std::string>> split_limits(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> limits;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    const std::string one = text.substr(start, end - start);
    const std::size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0)
      throw core::ConfigError(
          {"--slo", 0, 0}, fmt::format("found '{}'; expected quantity=limit, as tpot=50ms", one));
    limits.emplace_back(one.substr(0, equals), one.substr(equals + 1));
    start = end + 1;
  }
  return limits;
}

/// The scenario on one cluster at a batch.
Scenario read_column(const ServingQuestion& question, const std::string& cluster, bool is_own,
                     std::int64_t batch) {
  ScenarioOptions options;
  options.set = question.set;
  options.set.push_back(fmt::format("{}={}", kBatch, batch));
  if (!is_own) options.other_cluster = cluster;
  return read_scenario(question.scenario, question.prices.apply(options));
}

/// Runs batches of the scenario on one cluster and remembers them.
class BatchRunner {
 public:
  BatchRunner(const ServingQuestion& question, std::string cluster, bool is_own,
              const RunOptions& options, RunStatistics& statistics)
      : question_(question),
        cluster_(std::move(cluster)),
        is_own_(is_own),
        options_(options),
        statistics_(statistics) {}

  const PointRecord& run(std::int64_t batch) {
    auto found = records_.find(batch);
    if (found == records_.end()) found = records_.emplace(batch, simulate(batch)).first;
    return found->second;
  }
  [[nodiscard]] const std::map<std::int64_t, PointRecord>& records() const { return records_; }

 private:
  PointRecord simulate(std::int64_t batch) const {
    const std::string settings =
        Json{{"cluster", cluster_}, {kBatch, std::to_string(batch)}}.dump();
    return record_run(
        {"", settings, "done", "", "{}", {}},
        [&] { return read_column(question_, cluster_, is_own_, batch); }, {}, options_,
        statistics_);
  }

  const ServingQuestion& question_;
  std::string cluster_;
  bool is_own_;
  const RunOptions& options_;
  RunStatistics& statistics_;
  std::map<std::int64_t, PointRecord> records_;
};

const core::Estimate* find(const PointRecord& record, const std::string& name) {
  for (const auto& [key, estimate] : record.quantities)
    if (key == name) return &estimate;
  return nullptr;
}

/// Whether the record keeps all limits in value. Limits are read in the units of the record; those
/// that cannot be are nowhere kept, and targets_of says what is wrong with them.
bool keeps(const PointRecord& record, const std::string& slo) try {
  if (record.outcome != "done") return false;
  if (slo.empty()) return true;
  for (const auto& [name, text] : split_limits(slo)) {
    const core::Estimate* e = find(record, name);
    if (e == nullptr) return false;
    const core::StudyTarget target = read_target(name, e->unit, text, {"--slo", 0, 0});
    if (target.at_most ? e->value > target.limit : e->value < target.limit) return false;
  }
  return true;
} catch (const core::ConfigError&) {
  return false;
}

/// The smallest power of two that the job can do at all: two micro-batches need two sequences.
std::int64_t smallest_batch(BatchRunner& runner) {
  constexpr std::int64_t kTried = 64;
  const std::string contradiction = core::to_string(core::RefusalKind::illegal_combination);
  for (std::int64_t batch = 1; batch <= kTried; batch *= 2)
    if (runner.run(batch).outcome != contradiction) return batch;
  return 1;
}

/// Tries powers of two up to the largest batch that fits, then halves the last step for each set
/// of limits.
void search(BatchRunner& runner, const std::vector<std::string>& slo) {
  const std::int64_t least = smallest_batch(runner);
  std::int64_t most = kMaxBatch;
  if (const core::Estimate* e = find(runner.run(least), "largest_batch"))
    most = std::max<std::int64_t>(least, std::llround(std::floor(e->value)));
  std::int64_t fits = 0;  // none
  std::int64_t failed = most + 1;
  for (std::int64_t batch = least; batch <= most;
       batch = batch < most ? std::min(2 * batch, most) : most + 1) {
    if (runner.run(batch).outcome != "done") {
      failed = batch;
      break;
    }
    fits = batch;
  }
  if (fits == 0) return;
  for (const std::string& limits : slo) {
    std::int64_t good = 0;  // none
    std::int64_t bad = failed;
    for (const auto& [batch, record] : runner.records())
      if (keeps(record, limits)) good = batch;
    for (const auto& [batch, record] : runner.records())
      if (batch > good && batch < bad) bad = batch;
    while (good > 0 && bad - good > 1) {
      const std::int64_t middle = good + (bad - good) / 2;
      (keeps(runner.run(middle), limits) ? good : bad) = middle;
    }
  }
}

std::string encode_all(const std::map<std::int64_t, PointRecord>& records) {
  Json json = Json::array();
  for (const auto& [batch, record] : records) {
    const std::string bytes = encode(record);
    json.push_back({batch, Json::binary({bytes.begin(), bytes.end()})});
  }
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

std::map<std::int64_t, PointRecord> decode_all(const std::string& bytes) {
  std::map<std::int64_t, PointRecord> records;
  const Json json = Json::from_cbor(bytes);
  for (const Json& row : json) {
    const auto& binary = row.at(1).get_binary();
    records.emplace(row.at(0).get<std::int64_t>(),
                    decode_point(std::string(binary.begin(), binary.end())));
  }
  return records;
}

/// One cluster's part of the comparison.
struct Searched {
  device::ClusterSpec cluster;
  std::map<std::int64_t, PointRecord> records;
  std::vector<std::pair<std::string, std::string>> facts;  ///< Of the device.
};

std::vector<std::pair<std::string, std::string>> facts_of(const device::DeviceSpec& device) {
  static const device::ExportRules rules = device::load_export_rules();
  const reports::ExportCheck check = reports::export_check(device, rules, reports::last_day(rules));
  return {{"tpp", fmt::format("{:.0f}", check.figures.tpp)},
          {"export_class", check.standing.class_text()},
          {"export_date", check.date}};
}

/// Names of quantities, in the order of the first record that has them.
std::vector<std::string> quantity_names(const std::vector<Searched>& searched) {
  std::vector<std::string> names;
  for (const Searched& one : searched)
    for (const auto& [batch, record] : one.records)
      for (const auto& [name, unused] : record.quantities)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

core::StudyPoint point_of(const Searched& searched, std::int64_t batch, const PointRecord& record,
                          const std::vector<std::string>& names) {
  core::StudyPoint point;
  point.name = searched.cluster.name;
  point.settings = {searched.cluster.name, std::to_string(batch)};
  point.facts = {{core::kDeviceFact, searched.cluster.node.device.name}};
  const Json facts = Json::parse(record.facts);
  for (const auto& [name, text] : facts.items())
    if (name != core::kDeviceFact) point.facts.emplace_back(name, text.get<std::string>());
  point.facts.insert(point.facts.end(), searched.facts.begin(), searched.facts.end());
  if (record.outcome != "done") {
    point.refusal_kind = record.outcome;
    point.refused = record.reason;
    return point;
  }
  for (const std::string& name : names) {
    const core::Estimate* e = find(record, name);
    point.quantities.push_back(e ? std::optional(*e) : std::nullopt);
  }
  return point;
}

/// All points, by cluster and batch, with the front of price against speed.
core::StudyResult study_of(const Scenario& base, const std::vector<Searched>& searched,
                           bool analytical) {
  core::StudyResult study;
  study.kind = "comparison";
  study.name = base.name;
  study.title = base.title;
  study.base = base.name;
  study.fidelity = analytical ? "analytical" : "cycle";
  study.tessera_version = TESSERA_VERSION;
  study.axes = {{"cluster", {}}, {kBatch, {}}};
  study.quantities = quantity_names(searched);
  study.objective = "tokens_per_second_per_gpu";
  std::map<std::int64_t, bool> batches;
  std::map<std::string, std::size_t> refusals;
  for (const Searched& one : searched) {
    study.axes[0].values.push_back(one.cluster.name);
    for (const auto& [batch, record] : one.records) {
      batches[batch] = true;
      study.points.push_back(point_of(one, batch, record, study.quantities));
      study.points.back().number = study.points.size() - 1;
      if (study.points.back().refused) ++refusals[record.outcome];
    }
  }
  for (const auto& [batch, unused] : batches) study.axes[1].values.push_back(std::to_string(batch));
  study.refusals.assign(refusals.begin(), refusals.end());
  study.front = core::front_of(study, "tokens_per_second_per_user", "tokens_per_dollar");
  return study;
}

/// The largest batch that keeps the limits, or why there is none.
ServingColumn column_of(core::StudyResult& study, const Searched& searched,
                        const std::string& slo) {
  ServingColumn column{searched.cluster.name, searched.cluster.node.device.name, {}, "", {}};
  std::optional<std::size_t> smallest;
  for (std::size_t i = 0; i < study.points.size(); ++i) {
    if (study.points[i].name != column.name) continue;
    // Of batches that are too small for the job nobody wants to read.
    if (!smallest || study.points[*smallest].refused) smallest = i;
    if (keeps(searched.records.at(std::stoll(study.points[i].settings[1])), slo)) column.point = i;
  }
  if (column.point) {
    column.attainment = core::attainment(study, study.points[*column.point]);
    return column;
  }
  const core::StudyPoint& point = study.points[*smallest];
  if (point.refused) {
    column.reason = point.refusal_kind + ": " + *point.refused;
    return column;
  }
  const bool one = point.settings[1] == "1";
  column.reason = fmt::format(
      "not even {} a rank {} the limits:", one ? "one sequence" : point.settings[1] + " sequences",
      one ? "keeps" : "keep");
  for (const core::StudyTarget& target : study.targets)
    if (const core::Estimate* e = study.find(point, target.quantity))
      column.reason += fmt::format(" {} {}", target.quantity, reports::quantity(e->value, e->unit));
  return column;
}

std::vector<core::StudyTarget> targets_of(const core::StudyResult& study, const std::string& slo) {
  std::vector<core::StudyTarget> targets;
  if (slo.empty()) return targets;
  for (const auto& [name, text] : split_limits(slo)) {
    const core::Estimate* e = nullptr;
    for (const core::StudyPoint& point : study.points)
      if (e == nullptr) e = study.find(point, name);
    const bool answers = std::any_of(study.points.begin(), study.points.end(),
                                     [](const core::StudyPoint& p) { return !p.refused; });
    if (e == nullptr && answers)
      throw core::ConfigError({"--slo", 0, 0}, core::unknown_name(name, study.quantities));
    if (e != nullptr) targets.push_back(read_target(name, e->unit, text, {"--slo", 0, 0}));
  }
  return targets;
}

std::vector<Searched> clusters_of(const ServingQuestion& question, const Scenario& base) {
  std::vector<Searched> clusters;
  const auto add = [&](device::ClusterSpec cluster) {
    for (const Searched& known : clusters)
      if (known.cluster.name == cluster.name) return;
    clusters.push_back({std::move(cluster), {}, {}});
    clusters.back().facts = facts_of(clusters.back().cluster.node.device);
  };
  if (question.clusters.empty()) add(base.cluster);
  for (const std::string& name : question.clusters)
    add(name == base.cluster.name ? base.cluster
                                  : device::load_cluster(cluster_of(name, base.cluster.gpus())));
  return clusters;
}

/// The columns' points, each under its name and limits.
void add_best(core::StudyResult& study, const ServingAnswer& answer) {
  const std::string limits = reports::targets_text(study);
  for (const ServingColumn& column : answer.columns)
    if (column.point)
      study.best.push_back(
          {limits.empty() ? column.name : column.name + ", " + limits, *column.point, {}});
}

/// What the bills rest on: a scenario read on each cluster says it.
std::vector<std::string> notes_of(const ServingQuestion& question, const Scenario& base,
                                  const std::vector<Searched>& searched) {
  std::vector<Scenario> scenarios;
  for (const Searched& one : searched) {
    const auto answers = std::find_if(one.records.begin(), one.records.end(),
                                      [](const auto& row) { return row.second.outcome == "done"; });
    if (answers == one.records.end()) continue;
    const bool is_own = one.cluster.name == base.cluster.name;
    scenarios.push_back(read_column(question, one.cluster.name, is_own, answers->first));
  }
  std::vector<const Scenario*> list;
  for (const Scenario& scenario : scenarios) list.push_back(&scenario);
  return price_notes(question.prices, list);
}

}  // namespace

void complete_best(ServingComparison& comparison, const ServingQuestion& question,
                   const RunSettings& settings) {
  const core::ParsedFiles parsed;
  const std::string own = read_scenario(question.scenario, {question.set, {}}).cluster.name;
  RunContext context{settings};
  KernelSources sources;
  RunOptions options = context.options();
  options.sources = &sources;
  for (core::StudyBest& best : comparison.study.best) {
    const auto& settings_of = comparison.study.points[best.point].settings;
    best.result = run_scenario(
        read_column(question, settings_of[0], settings_of[0] == own, std::stoll(settings_of[1])),
        options, context.statistics());
  }
}

ServingComparison compare_serving(const ServingQuestion& question, const RunSettings& settings) {
  const core::ParsedFiles parsed;
  const Scenario base = read_scenario(question.scenario, question.prices.apply({question.set, {}}));
  const std::vector<std::string> slo =
      question.slo.empty() ? std::vector<std::string>{""} : question.slo;
  for (const std::string& one : slo)
    if (!one.empty()) (void)split_limits(one);
  std::vector<Searched> searched = clusters_of(question, base);
  std::vector<std::string> devices;
  for (const Searched& one : searched) devices.push_back(one.cluster.node.device.name);
  check_quotes(question.prices, devices, base.cost.ownership.has_value());
  const int jobs = settings.jobs > 0 ? settings.jobs : available_cores();
  const auto outcomes = work_in_processes(searched.size(), jobs, [&](std::size_t i) {
    RunContext context{settings};
    KernelSources sources;
    RunOptions options = context.options();
    options.jobs = 1;
    options.check_fidelity = false;
    options.sources = &sources;
    BatchRunner runner{question, searched[i].cluster.name,
                       searched[i].cluster.name == base.cluster.name, options,
                       context.statistics()};
    search(runner, slo);
    return encode_all(runner.records());
  });
  for (std::size_t i = 0; i < searched.size(); ++i)
    searched[i].records = decode_all(outcomes[i].get());
  ServingComparison comparison;
  comparison.study = study_of(base, searched, settings.fidelity == "analytical");
  for (const std::string& one : slo) {
    ServingAnswer answer;
    answer.targets = targets_of(comparison.study, one);
    comparison.study.targets = answer.targets;
    for (const Searched& cluster : searched)
      answer.columns.push_back(column_of(comparison.study, cluster, one));
    answer.sentences = winners(comparison.study, answer);
    add_best(comparison.study, answer);
    comparison.study.answer.insert(comparison.study.answer.end(), answer.sentences.begin(),
                                   answer.sentences.end());
    comparison.answers.push_back(std::move(answer));
  }
  comparison.study.targets = comparison.answers.front().targets;
  comparison.study.warnings = notes_of(question, base, searched);
  for (core::StudyPoint& point : comparison.study.points)
    point.attainment = core::attainment(comparison.study, point);
  return comparison;
}

}  // namespace tessera::app
