#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

namespace fs = std::filesystem;
using testing::bytes_of;

/// 48 points, 8 of which contradict themselves or do not fit.
constexpr const char* kStudy = R"(job: study
title: A small study
base: base.yaml
axes:
  - grid:
      batch.micro_batch: [1, 2, 4]
      parallelism.expert: [4, 8]
      precision.recipe: [bf16, fp8]
      cluster.node.device.hbm.peak_rate: {from: 2 TB/s, to: 5 TB/s, step: 1 TB/s}
quantities: [tokens_per_second_per_gpu, step_time]
slo: {step_time: 5 s}
)";
constexpr int kPoints = 48;

/// A folder with the study in it.
class StudyFolder : public testing::TemporaryFolder {
 public:
  StudyFolder() {
    write("base.yaml", testing::kSmallTraining);
    write("small.yaml", kStudy);
  }

  [[nodiscard]] std::string study() const { return at("small.yaml").string(); }

  /// `sweep` of the study into a store of this folder.
  [[nodiscard]] Outcome sweep(const std::string& store, const std::string& more = "") const {
    return run_tessera("sweep " + study() + " --store " + at(store).string() + " " + more);
  }
};

/// Starts a sweep of its own process group and does not wait for it.
pid_t start(const StudyFolder& folder, const std::string& store) {
  std::fflush(nullptr);  // or the child would print it too
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    setpgid(0, 0);
    if (std::freopen("/dev/null", "w", stdout) == nullptr ||
        std::freopen("/dev/null", "w", stderr) == nullptr)
      _exit(126);
    execl(TESSERA_PROGRAM, "tessera", "sweep", folder.study().c_str(), "--store",
          folder.at(store).c_str(), "--jobs", "2", static_cast<char*>(nullptr));
    _exit(127);
  }
  return child;
}

int ended(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

std::vector<std::string> names_in(const StudyFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.at("")))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("a sweep ends with the same bytes whatever the number of workers", "[sweep]") {
  const StudyFolder folder;
  REQUIRE(folder.sweep("one.sqlite", "--jobs 1 --out " + folder.at("one").string()).exit_code == 0);
  REQUIRE(folder.sweep("three.sqlite", "--jobs 3 --out " + folder.at("three").string()).exit_code ==
          0);
  CHECK(bytes_of(folder.at("one.sqlite")) == bytes_of(folder.at("three.sqlite")));
  for (const char* file : {"points.csv", "result.json"}) {
    REQUIRE(fs::file_size(folder.at("one") / file) > 0);
    CHECK(bytes_of(folder.at("one") / file) == bytes_of(folder.at("three") / file));
  }
  const auto json = nlohmann::json::parse(bytes_of(folder.at("one") / "result.json"));
  CHECK(json.at("points").size() == kPoints);
  // Nothing but the store stays behind: no log, no lock.
  CHECK(names_in(folder) == std::vector<std::string>{"base.yaml", "one", "one.sqlite", "small.yaml",
                                                     "three", "three.sqlite"});
}

TEST_CASE("a finished sweep is not run again and its store stays untouched", "[sweep]") {
  const StudyFolder folder;
  REQUIRE(folder.sweep("s.sqlite").exit_code == 0);
  const std::string before = bytes_of(folder.at("s.sqlite"));
  const Outcome again = folder.sweep("s.sqlite");
  CHECK(again.exit_code == 0);
  CHECK(again.errors.find("48 of 48 points, 0 of them new") != std::string::npos);
  CHECK(bytes_of(folder.at("s.sqlite")) == before);
}

TEST_CASE("an edit of a file elsewhere that the base names makes the points new", "[sweep]") {
  const StudyFolder folder;
  fs::create_directory(folder.at("prices"));
  const auto write = [&](const std::string& pue) {
    folder.write("prices/own.yaml", "extends: prices\npue: {typical: " + pue + "}\n");
  };
  std::string base = testing::kSmallTraining;
  base.replace(base.find("prices.yaml"), 11, "prices/own.yaml");
  folder.write("base.yaml", base);
  write("1.15");
  const Outcome first = folder.sweep("s.sqlite");
  INFO(first.errors);
  REQUIRE(first.exit_code == 0);
  CHECK(folder.sweep("s.sqlite").errors.find(" 0 of them new") != std::string::npos);
  write("1.25");
  CHECK(folder.sweep("s.sqlite").errors.find(" 48 of them new") != std::string::npos);
}

TEST_CASE("killed at ten random moments, a sweep resumes and ends with equal bytes", "[sweep]") {
  const StudyFolder folder;
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(folder.sweep("whole.sqlite", "--jobs 2").exit_code == 0);
  const auto whole = std::chrono::steady_clock::now() - begin;
  std::mt19937 random{20};
  std::uniform_real_distribution<double> moment{0.05, 0.6};
  int killed = 0;
  for (int i = 0; i < 10; ++i) {
    const pid_t child = start(folder, "killed.sqlite");
    std::this_thread::sleep_for(whole * moment(random));
    kill(child, SIGKILL);  // its workers see that nobody takes their answers
    const int status = ended(child);
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  CHECK(killed >= 1);
  REQUIRE(folder.sweep("killed.sqlite", "--jobs 2").exit_code == 0);
  CHECK(bytes_of(folder.at("killed.sqlite")) == bytes_of(folder.at("whole.sqlite")));
}

TEST_CASE("two sweeps at once on one store lose nothing", "[sweep]") {
  const StudyFolder folder;
  REQUIRE(folder.sweep("alone.sqlite").exit_code == 0);
  const pid_t first = start(folder, "shared.sqlite");
  const pid_t second = start(folder, "shared.sqlite");
  CHECK(ended(first) == 0);
  CHECK(ended(second) == 0);
  CHECK(bytes_of(folder.at("shared.sqlite")) == bytes_of(folder.at("alone.sqlite")));
}

TEST_CASE("shards merge into the bytes of the whole sweep", "[sweep]") {
  const StudyFolder folder;
  REQUIRE(folder.sweep("whole.sqlite").exit_code == 0);
  std::string shards;
  for (int i = 1; i <= 3; ++i) {
    const std::string store = "part" + std::to_string(i) + ".sqlite";
    REQUIRE(folder.sweep(store, "--shard " + std::to_string(i) + "/3").exit_code == 0);
    shards = folder.at(store).string() + " " + shards;  // the order does not matter
  }
  const Outcome merged =
      run_tessera("merge " + shards + " --into " + folder.at("merged.sqlite").string() + " --out " +
                  folder.at("merged").string());
  CHECK(merged.exit_code == 0);
  CHECK(bytes_of(folder.at("merged.sqlite")) == bytes_of(folder.at("whole.sqlite")));
  CHECK(fs::exists(folder.at("merged") / "points.csv"));
  const Outcome part = run_tessera("merge " + folder.at("part1.sqlite").string() + " --into " +
                                   folder.at("lone.sqlite").string());
  CHECK(part.output.find("32 of 48 points are missing") != std::string::npos);
}

TEST_CASE("stores of several studies give no one report, and nothing is written", "[sweep]") {
  const StudyFolder folder;
  REQUIRE(folder.sweep("one.sqlite", "--shard 1/48").exit_code == 0);
  std::string other = kStudy;
  other.replace(other.find("A small"), 1, "Another");
  folder.write("small.yaml", other);
  REQUIRE(folder.sweep("two.sqlite", "--shard 1/48").exit_code == 0);
  const Outcome merged = run_tessera(
      "merge " + folder.at("one.sqlite").string() + " " + folder.at("two.sqlite").string() +
      " --into " + folder.at("both.sqlite").string() + " --out " + folder.at("out").string());
  CHECK(merged.exit_code == 2);
  CHECK(merged.errors.find("found 2 studies in the stores; expected one") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.at("both.sqlite")));
  CHECK_FALSE(fs::exists(folder.at("out")));
}

TEST_CASE("what is no store is refused and left alone", "[sweep]") {
  const StudyFolder folder;
  folder.write("text.sqlite", std::string(5000, 'x'));
  const Outcome text = folder.sweep("text.sqlite");
  CHECK(text.exit_code == 2);
  CHECK(text.errors.find("damaged or no store") != std::string::npos);
  CHECK(bytes_of(folder.at("text.sqlite")) == std::string(5000, 'x'));
  const Outcome missing = run_tessera("merge " + folder.at("nowhere.sqlite").string());
  CHECK(missing.exit_code == 2);
  CHECK_FALSE(fs::exists(folder.at("nowhere.sqlite")));
  const Outcome shard = folder.sweep("s.sqlite", "--shard 4/3");
  CHECK(shard.exit_code == 2);
  CHECK(shard.errors.find("expected I/N with 1 <= I <= N") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.at("s.sqlite")));
}

TEST_CASE("a Slurm array is written, and submitted where sbatch is", "[sweep]") {
  const StudyFolder folder;
  const std::string study = folder.study();
  const Outcome bare = run_tessera("sweep " + study + " --slurm long", "PATH=/nowhere");
  CHECK(bare.exit_code == 1);
  CHECK(bare.errors.find("sbatch is not on this machine's PATH") != std::string::npos);
  const Outcome written = run_tessera(
      "sweep " + study + " --slurm long --tasks 5 --jobs 4 --out " + folder.at("array").string(),
      "PATH=/nowhere");
  CHECK(written.exit_code == 0);
  const std::string script = bytes_of(folder.at("array") / "sweep.sbatch");
  CHECK(script.find("#SBATCH --partition=long\n") != std::string::npos);
  CHECK(script.find("#SBATCH --array=1-5\n") != std::string::npos);
  CHECK(script.find("#SBATCH --cpus-per-task=4\n") != std::string::npos);
  CHECK(written.output.find("merge small.*_of_5.sqlite --into small.sqlite") != std::string::npos);

  const fs::path sbatch = folder.at("sbatch");
  std::ofstream{sbatch} << "#!/bin/sh\necho \"$@\" >> " << folder.at("calls").string()
                        << "\ncat \"$2\" > " << folder.at("submitted").string()
                        << " 2>/dev/null\necho 77\n";
  fs::permissions(sbatch, fs::perms::owner_all);
  const Outcome sent = run_tessera("sweep " + study + " --slurm long --tasks 5",
                                   "PATH=" + folder.at("").string() + ":$PATH");
  CHECK(sent.exit_code == 0);
  CHECK(sent.output.find("submitted array 77 of 5 tasks") != std::string::npos);
  const std::string calls = bytes_of(folder.at("calls"));
  CHECK(calls.find("--dependency=afterok:77") != std::string::npos);
  const Outcome odd = run_tessera("sweep " + study + " --slurm 'a b'");
  CHECK(odd.exit_code == 2);
}

}  // namespace tessera::end_to_end
