#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reports/study_tables.hpp"
#include "sim/app/command.hpp"
#include "sim/app/output_directory.hpp"
#include "sim/app/progress.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/app/slurm_array.hpp"
#include "sim/app/study.hpp"
#include "sim/app/study_output.hpp"
#include "sim/app/study_points.hpp"
#include "sim/app/study_store.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {
namespace {

/// After so many points a worker forgets its kernels, so that its memory stays bounded.
constexpr std::size_t kPointsRemembered = 10'000;

struct Arguments {
  std::string study;
  std::string store;
  std::string out;
  std::string shard;
  std::string slurm;
  int tasks = 8;
  std::string fidelity;
  RunSettings settings;
};

/// The part of a study that one task of an array does: points whose number leaves `index` when
/// divided by `count`.
struct Shard {
  std::size_t index = 0;
  std::size_t count = 1;
};

Shard read_shard(const std::string& text) {
  if (text.empty()) return {};
  const std::size_t slash = text.find('/');
  const auto number = [](std::string_view part) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc{} && end == part.data() + part.size() ? value : 0;
  };
  const std::size_t index = number(std::string_view(text).substr(0, slash));
  const std::size_t count =
      slash == std::string::npos ? 0 : number(std::string_view(text).substr(slash + 1));
  if (index < 1 || index > count)
    throw core::ConfigError({"--shard", 0, 0},
                            fmt::format("found '{}'; expected I/N with 1 <= I <= N", text));
  return {index - 1, count};
}

std::string default_store(const Study& study, const Shard& shard) {
  if (shard.count == 1) return study.name + ".sqlite";
  return fmt::format("{}.{}_of_{}.sqlite", study.name, shard.index + 1, shard.count);
}

/// What a worker keeps from point to point. Made in the worker: a kernel cache must not be open
/// across a fork.
class PointWorker {
 public:
  PointWorker(const Study& study, const StudyPoints& points, const RunSettings& settings)
      : study_(study), points_(points), settings_(settings) {}

  std::string work(std::size_t number) {
    if (!context_) context_ = std::make_unique<RunContext>(settings_);
    if (done_++ % kPointsRemembered == 0) sources_ = std::make_unique<KernelSources>();
    RunOptions options = context_->options();
    options.fidelity = study_.fidelity;
    options.jobs = 1;  // the cores are busy with other points
    options.check_fidelity = false;
    options.sources = sources_.get();
    return encode(run_point(study_, points_.combinations[number], points_.stored.keys[number],
                            options, context_->statistics()));
  }

 private:
  const Study& study_;
  const StudyPoints& points_;
  RunSettings settings_;
  std::unique_ptr<RunContext> context_;
  std::unique_ptr<KernelSources> sources_;
  std::size_t done_ = 0;
};

/// Runs the points that the store lacks.
class Sweep {
 public:
  Sweep(const Study& study, const StudyPoints& points, const Shard& shard, StudyStore& store)
      : study_(study), points_(points), store_(store) {
    const auto known = store.known();
    for (std::size_t i = shard.index; i < points.combinations.size(); i += shard.count)
      if (!known.contains(points.stored.keys[i])) waiting_.push_back(i);
    // Another program that is at work begins at the front; from the back the two meet once.
    if (store.is_shared()) std::reverse(waiting_.begin(), waiting_.end());
  }

  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

  void run(const RunSettings& settings) {
    PointWorker worker{study_, points_, settings};
    Progress progress{"points"};
    const int jobs = settings.jobs > 0 ? settings.jobs : available_cores();
    stream_in_processes([&]() { return next(); }, jobs,
                        [&](std::size_t number) { return worker.work(number); },
                        [&](std::size_t number, const WorkOutcome& outcome) {
                          store_.put(record_of(number, outcome));
                          progress.show(++done_, waiting_.size());
                        });
  }

 private:
  /// The next point that nobody has done meanwhile.
  std::optional<std::size_t> next() {
    while (at_ < waiting_.size()) {
      const std::size_t number = waiting_[at_++];
      if (!store_.has(points_.stored.keys[number])) return number;
      ++done_;
    }
    return std::nullopt;
  }

  PointRecord record_of(std::size_t number, const WorkOutcome& outcome) const {
    if (outcome.kind == WorkOutcome::Kind::done) return decode_point(outcome.bytes);
    PointRecord record;
    record.key = points_.stored.keys[number];
    record.settings = settings_json(study_, points_.combinations[number]);
    record.outcome = "failed";
    record.facts = "{}";
    record.reason = outcome.reason;
    return record;
  }

  const Study& study_;
  const StudyPoints& points_;
  StudyStore& store_;
  std::vector<std::size_t> waiting_;
  std::size_t at_ = 0;
  std::size_t done_ = 0;
};

std::size_t failed(const core::StudyResult& result) {
  const auto& refusals = result.refusals;
  const auto found = std::find_if(refusals.begin(), refusals.end(),
                                  [](const auto& row) { return row.first == "failed"; });
  return found == refusals.end() ? 0 : found->second;
}

/// Runs the best points once more for their whole answers, which a store does not keep.
void complete_best(core::StudyResult& result, const Study& study, const StudyPoints& points,
                   const RunSettings& settings) {
  RunContext context{settings};
  RunOptions options = context.options();
  options.fidelity = study.fidelity;
  for (core::StudyBest& best : result.best)
    best.result =
        run_any_scenario(study.scenario(points.combinations[result.points[best.point].number]),
                         options, context.statistics());
}

void sweep(const Arguments& arguments) {
  const Shard shard = read_shard(arguments.shard);
  const core::ParsedFiles parsed;
  Study study = read_study(arguments.study);
  if (!arguments.fidelity.empty())
    study.fidelity =
        arguments.fidelity == "cycle" ? gpu::Fidelity::cycle : gpu::Fidelity::analytical;
  const StudyPoints points = points_of(study);
  std::optional<OutputDirectory> out;
  if (!arguments.out.empty()) out.emplace(arguments.out, study_files());
  StudyStore store{arguments.store.empty() ? default_store(study, shard) : arguments.store};
  store.add(points.stored);
  Sweep work{study, points, shard, store};
  const std::size_t fresh = work.size();
  if (fresh > 0) work.run(arguments.settings);
  core::StudyResult result = study_result(points.stored, store);
  const bool last = store.close();
  if (out) {
    complete_best(result, study, points, arguments.settings);
    out->commit([&](const std::filesystem::path& folder) { write_study(result, folder); });
  }
  reports::print_study(result, stdout);
  std::fflush(stdout);
  const std::string path = arguments.store.empty() ? default_store(study, shard) : arguments.store;
  fmt::print(stderr, "store: {}, {} of {} points, {} of them new{}\n", path, result.points.size(),
             points.combinations.size(), fresh,
             last ? "" : "; another sweep is still at work on it");
  if (failed(result) > 0)
    throw std::runtime_error(
        fmt::format("{} points failed; the next sweep tries them again", failed(result)));
  const bool none = std::all_of(result.points.begin(), result.points.end(),
                                [](const core::StudyPoint& point) { return point.refused; });
  if (none) throw RefusedResult("every point");
}

void run(const Arguments& arguments) {
  if (arguments.slurm.empty()) return sweep(arguments);
  SlurmArray array;
  array.partition = arguments.slurm;
  array.tasks = arguments.tasks;
  array.jobs = arguments.settings.jobs > 0 ? arguments.settings.jobs : 1;
  array.study = arguments.study;
  array.name = read_study(arguments.study).name;
  array.fidelity = arguments.fidelity;
  submit(array, arguments.out);
}

}  // namespace

void add_sweep_command(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  constexpr int kMaxJobs = 4096;
  CLI::App* command = program.add_subcommand(
      "sweep", "Run every point of a study, on all cores, into a store that resumes");
  command->add_option("study", arguments->study, "A file, or a name of workloads/studies")
      ->required();
  command->add_option("--store", arguments->store,
                      "Where answers are kept (default: STUDY.sqlite)");
  command->add_option("--out", arguments->out, "Folder for points.csv, result.json and study.html");
  auto* shard = command->add_option("--shard", arguments->shard,
                                    "I/N: do the I-th of N parts, into a store of its own");
  auto* slurm = command
                    ->add_option("--slurm", arguments->slurm,
                                 "Submit an array of shards to this partition; with --out, also "
                                 "write its script there")
                    ->excludes(shard);
  command->add_option("--tasks", arguments->tasks, "Shards of the array (default: 8)")
      ->check(CLI::Range(1, 100'000))
      ->needs(slurm);
  command->add_option("--fidelity", arguments->fidelity, "Instead of the study's own")
      ->check(CLI::IsMember({"cycle", "analytical"}));
  command->add_option("--jobs", arguments->settings.jobs, "Worker processes (default: all cores)")
      ->check(CLI::Range(1, kMaxJobs));
  auto* cache =
      command->add_option("--cache", arguments->settings.cache, "Folder of the kernel cache");
  command
      ->add_flag("--no-cache", arguments->settings.no_cache,
                 "Neither read nor write the kernel cache")
      ->excludes(cache);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace tessera::app
