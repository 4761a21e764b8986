#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reports/study_tables.hpp"
#include "sim/app/command.hpp"
#include "sim/app/output_directory.hpp"
#include "sim/app/study_output.hpp"
#include "sim/app/study_points.hpp"
#include "sim/app/study_store.hpp"

namespace tessera::app {
namespace {

struct Arguments {
  std::vector<std::string> stores;
  std::string into;
  std::string out;
};

struct MergeCount {
  std::size_t points = 0;
  std::size_t fresh = 0;
};

/// Takes over what `source` knows. Throws core::Refusal when both know a point differently.
MergeCount take(StudyStore& target, StudyStore& source, const std::string& name) {
  MergeCount count;
  for (const StoredStudy& study : source.studies()) {
    target.add(study);
    for (const std::string& key : study.keys) {
      const auto point = source.find(key);
      if (!point) continue;
      ++count.points;
      const auto known = target.find(key);
      const bool open = !known || known->outcome == "failed";
      if (!open && point->outcome != "failed" && encode(*known) != encode(*point))
        throw core::Refusal(core::RefusalKind::illegal_combination,
                            fmt::format("{} answers the point {} differently from another store; "
                                        "they were not made by the same program and files",
                                        name, point->settings));
      if (!open) continue;
      target.put(*point);
      ++count.fresh;
    }
  }
  return count;
}

/// One study whose points all stores hold parts of, named as the target.
std::string target_of(const Arguments& arguments) {
  if (!arguments.into.empty()) return arguments.into;
  StudyStore first{arguments.stores.front()};
  const auto studies = first.studies();
  if (studies.size() != 1)
    throw core::ConfigError({"--into", 0, 0},
                            fmt::format("missing; {} holds {} studies, so expected the name of the "
                                        "store that is to hold them",
                                        arguments.stores.front(), studies.size()));
  first.close();
  return studies.front().name + ".sqlite";
}

void check_stores(const Arguments& arguments) {
  for (const std::string& store : arguments.stores)
    if (!std::filesystem::is_regular_file(store))
      throw core::ConfigError({"stores", 0, 0},
                              fmt::format("found '{}', which does not exist; expected a store that "
                                          "`tessera sweep` wrote",
                                          store));
}

/// A folder holds the report of one study.
void check_one_study(const Arguments& arguments, const std::string& into) {
  std::set<std::string> digests;
  std::vector<std::string> stores = arguments.stores;
  if (std::filesystem::is_regular_file(into)) stores.push_back(into);
  for (const std::string& name : stores) {
    StudyStore store{name};
    for (const StoredStudy& study : store.studies()) digests.insert(study.digest);
    store.close();
  }
  if (digests.size() != 1)
    throw core::ConfigError(
        {"--out", 0, 0},
        fmt::format("found {} studies in the stores; expected one", digests.size()));
}

void merge(const Arguments& arguments) {
  check_stores(arguments);
  const std::string into = target_of(arguments);
  std::optional<OutputDirectory> out;
  if (!arguments.out.empty()) {
    check_one_study(arguments, into);
    out.emplace(arguments.out, study_files());
  }
  StudyStore target{into};
  for (const std::string& name : arguments.stores) {
    std::error_code error;
    if (std::filesystem::equivalent(name, into, error)) continue;
    StudyStore source{name};
    const MergeCount count = take(target, source, name);
    source.close();
    fmt::print(stderr, "{}: {} points, {} of them new\n", name, count.points, count.fresh);
  }
  const std::vector<StoredStudy> studies = target.studies();
  std::vector<core::StudyResult> results;
  for (const StoredStudy& study : studies) results.push_back(study_result(study, target));
  target.close();
  if (out) {
    results.front().warnings.push_back(fmt::format(
        "A store keeps no bills: `tessera sweep {} --store {} --out DIR` adds those of the best "
        "points and what they rest on.",
        studies.front().name, std::filesystem::path(into).filename().string()));
    out->commit([&](const std::filesystem::path& folder) { write_study(results.front(), folder); });
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    reports::print_study(results[i], stdout);
    if (results[i].points.size() < studies[i].keys.size())
      fmt::print("{} of {} points are missing; `tessera sweep {} --store {}` runs them\n",
                 studies[i].keys.size() - results[i].points.size(), studies[i].keys.size(),
                 studies[i].name, into);
  }
  std::fflush(stdout);
  fmt::print(stderr, "store: {}\n", into);
}

}  // namespace

void add_merge_command(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      program.add_subcommand("merge", "Make one store of those that shards of a sweep wrote");
  command->add_option("stores", arguments->stores, "Stores of `tessera sweep`")->required();
  command->add_option("--into", arguments->into, "The store to fill (default: STUDY.sqlite)");
  command->add_option("--out", arguments->out, "Folder for points.csv, result.json and study.html");
  command->callback([arguments] { merge(*arguments); });
}

}  // namespace tessera::app
