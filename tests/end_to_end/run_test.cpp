#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

namespace fs = std::filesystem;

/// DeepSeek-V3 cut down to four layers on 16 GPUs, so that a run takes a moment.
const std::string kSmall =
    " deepseek_v3_pretrain_h800 --set cluster.domains=2 --set architecture.layers=4 "
    "--set architecture.dense_layers=1 --set architecture.vocabulary=4096 "
    "--set parallelism.pipeline=2 --set parallelism.expert=8 --set batch.sequences=64 "
    "--set batch.sequence_length=512 --set routing.node_limit=0 --set sensitivity=false ";
const std::string kClosedForm = " --fidelity analytical --no-cache ";

std::string out(const fs::path& folder) { return " --out " + folder.string(); }
std::string cache(const fs::path& folder) { return " --cache " + folder.string(); }

/// A process that runs the program beside this one.
pid_t start(const std::string& arguments) {
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string line = "exec " TESSERA_PROGRAM " " + arguments + " >/dev/null 2>&1";
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("a run ends with 0 and writes its result whole", "[run]") {
  const testing::TemporaryFolder folder;
  const Outcome outcome = run_tessera("run" + kSmall + kClosedForm + out(folder.at("r")));
  INFO(outcome.errors);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.output.find("Step time") != std::string::npos);
  for (const char* name : {"result.json", "kernels.csv", "spans.json", "report.html"})
    CHECK(fs::file_size(folder.at("r") / name) > 100);
  const auto json = nlohmann::json::parse(testing::bytes_of(folder.at("r") / "result.json"));
  CHECK(json["refused"].is_null());
  CHECK(json["quantities"]["step_time"]["value"] > 0);
  CHECK(json["quantities"]["gpu_hours"]["unit"] == "GPU-h");
  CHECK(json["scenario"]["overrides"]["cluster.domains"] == "2");
  CHECK(json["machine"]["gpus"] == 16);
}

TEST_CASE("json on standard output is what --out writes", "[run]") {
  const testing::TemporaryFolder folder;
  const Outcome outcome =
      run_tessera("run" + kSmall + kClosedForm + "--format json" + out(folder.at("r")));
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.output == testing::bytes_of(folder.at("r") / "result.json"));
}

TEST_CASE("wrong input ends with 2, says where, and leaves nothing", "[run]") {
  const testing::TemporaryFolder folder;
  for (const std::string& wrong :
       {kSmall + "--set batch.sequences=63" + kClosedForm, std::string(" no_such_scenario"),
        kSmall + "--fidelity exact", kSmall + "--jobs 0", kSmall + "--set nonsense",
        std::string(" ")}) {
    INFO(wrong);
    const Outcome outcome =
        run_tessera("run" + wrong + out(folder.at("r")) + cache(folder.at("c")));
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.output.empty());
    CHECK_FALSE(outcome.errors.empty());
    CHECK(fs::is_empty(folder.path()));
  }
}

TEST_CASE("a folder with anything but results is not overwritten", "[run]") {
  const testing::TemporaryFolder folder;
  fs::create_directory(folder.at("r"));
  std::ofstream(folder.at("r") / "thesis.tex") << "years of work";
  const Outcome outcome = run_tessera("run" + kSmall + kClosedForm + out(folder.at("r")));
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.errors.find("which holds 'thesis.tex'") != std::string::npos);
  CHECK(testing::bytes_of(folder.at("r") / "thesis.tex") == "years of work");
  const Outcome nowhere = run_tessera("run" + kSmall + kClosedForm + out(folder.at("no")) + "/r");
  CHECK(nowhere.exit_code == 2);
}

TEST_CASE("earlier results are replaced", "[run]") {
  const testing::TemporaryFolder folder;
  REQUIRE(run_tessera("run" + kSmall + kClosedForm + out(folder.at("r"))).exit_code == 0);
  const std::string first = testing::bytes_of(folder.at("r") / "result.json");
  REQUIRE(
      run_tessera("run" + kSmall + "--set batch.sequences=128" + kClosedForm + out(folder.at("r")))
          .exit_code == 0);
  CHECK(testing::bytes_of(folder.at("r") / "result.json") != first);
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("a refusal ends with 1 and is written down", "[run]") {
  const testing::TemporaryFolder folder;
  const Outcome outcome =
      run_tessera("run" + kSmall + "--set 'cluster.node.device.hbm.size=10 GB'" + kClosedForm +
                  out(folder.at("r")));
  CHECK(outcome.exit_code == 1);
  const auto json = nlohmann::json::parse(testing::bytes_of(folder.at("r") / "result.json"));
  CHECK(json["refused"].get<std::string>().starts_with("does_not_fit: "));
  CHECK(run_tessera("run" + kSmall + "--set job=serving").exit_code == 1);
}

TEST_CASE("jobs and the state of the cache change no byte of the result", "[run]") {
  const testing::TemporaryFolder folder;
  const std::string one = "run" + kSmall + "--jobs 1 --format json" + cache(folder.at("c"));
  const Outcome cold = run_tessera(one);
  const Outcome warm = run_tessera(one + " --verbose");
  const Outcome two = run_tessera("run" + kSmall + "--jobs 2 --format json --no-cache");
  REQUIRE(cold.exit_code == 0);
  CHECK(warm.output == cold.output);
  CHECK(two.output == cold.output);
  CHECK(warm.errors.find("kernels: 0 simulated") != std::string::npos);
  CHECK(warm.errors.find(" 0 MiB its workers together") != std::string::npos);
}

TEST_CASE("a verbose run tells the memory of the command and its workers", "[run]") {
  const Outcome outcome = run_tessera("run" + kSmall + "--jobs 2 --no-cache --verbose");
  INFO(outcome.errors);
  const std::size_t at = outcome.errors.find("memory: at most ");
  REQUIRE(at != std::string::npos);
  double all = 0, own = 0, workers = 0;
  REQUIRE(std::sscanf(outcome.errors.c_str() + at,
                      "memory: at most %lf MiB resident (%lf MiB this process, %lf MiB", &all, &own,
                      &workers) == 3);
  CHECK(own > 1);
  CHECK(workers > 1);
  CHECK(std::abs(all - own - workers) <= 1);
}

TEST_CASE("the main scenario, cold: equal bytes from one worker and two, within 2 GiB",
          "[run][slow]") {
  const std::string cold = "run deepseek_v3_pretrain_h800 --no-cache --format json --verbose ";
  const Outcome one = run_tessera(cold + "--jobs 1");
  const Outcome two = run_tessera(cold + "--jobs 2");
  REQUIRE(one.exit_code == 0);
  CHECK(one.output == two.output);
  const std::size_t at = two.errors.find("memory: at most ");
  REQUIRE(at != std::string::npos);
  CHECK(std::stod(two.errors.substr(at + std::string("memory: at most ").size())) < 2048);
}

TEST_CASE("two runs share a cache, and one that is killed leaves it whole", "[run]") {
  const testing::TemporaryFolder folder;
  const std::string with_cache = "run" + kSmall + "--jobs 1" + cache(folder.at("c"));
  const pid_t killed = start(with_cache + out(folder.at("k")));
  const pid_t other = start(with_cache + out(folder.at("o")));
  const fs::path file = folder.at("c") / "kernels.sqlite";
  for (int i = 0; i < 2000 && !fs::exists(file); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  kill(killed, SIGKILL);
  (void)wait_for(killed);
  CHECK(wait_for(other) == 0);
  const Outcome after = run_tessera(with_cache + " --verbose" + out(folder.at("a")));
  CHECK(after.exit_code == 0);
  CHECK(after.errors.find("kernels: 0 simulated") != std::string::npos);
  CHECK(after.errors.find("warning") == std::string::npos);
  CHECK(testing::bytes_of(folder.at("a") / "result.json") ==
        testing::bytes_of(folder.at("o") / "result.json"));
}

TEST_CASE("a damaged cache is begun anew with a warning", "[run]") {
  const testing::TemporaryFolder folder;
  fs::create_directory(folder.at("c"));
  std::ofstream(folder.at("c") / "kernels.sqlite") << std::string(10'000, 'x');
  const Outcome outcome = run_tessera("run" + kSmall + cache(folder.at("c")));
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.errors.find("is begun anew") != std::string::npos);
}

TEST_CASE("compare puts clusters side by side", "[run]") {
  const testing::TemporaryFolder folder;
  const Outcome outcome = run_tessera("compare" + kSmall + "--set cluster.gpus_per_domain=8" +
                                      kClosedForm + out(folder.at("r")));
  INFO(outcome.errors);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output.find("MWh / T tokens") != std::string::npos);
  CHECK(fs::exists(folder.at("r") / "comparison.html"));
  CHECK(nlohmann::json::parse(testing::bytes_of(folder.at("r") / "comparison.json")).size() == 1);
}

TEST_CASE("a drawn schedule is added to the terminal, the page and the folder", "[run]") {
  const testing::TemporaryFolder folder;
  const Outcome drawn = run_tessera("run" + kSmall + kClosedForm +
                                    "--draw --set schedule.kind=zb_v" + out(folder.at("r")));
  REQUIRE(drawn.exit_code == 0);
  CHECK(drawn.output.find("\nrank 1 ") != std::string::npos);
  CHECK(drawn.output.find("O optimizer, . idle") != std::string::npos);
  const std::string svg = testing::bytes_of(folder.at("r") / "schedule.svg");
  CHECK(svg.starts_with("<svg "));
  CHECK(testing::bytes_of(folder.at("r") / "report.html").find(svg) != std::string::npos);
}

TEST_CASE("failures of weeks and outer steps across sites are told beside the step", "[run]") {
  const std::string weeks =
      " --set 'reliability={components: [{name: node, per: node, mtbf: 30 d}], restart: 5 min, "
      "checkpoint: {write: 10 s, interval: simulate}, spares: 1, repair: 1 d, runs: 50}' "
      "--set run.tokens=1e12";
  const Outcome once = run_tessera("run" + kSmall + kClosedForm + weeks + " --format json");
  REQUIRE(once.exit_code == 0);
  const auto json = nlohmann::json::parse(once.output);
  const auto days = json["quantities"]["days_to_train"];
  CHECK(days["lower"] < days["value"]);
  CHECK(days["value"] < days["upper"]);
  CHECK(json["quantities"]["effective_training_fraction"]["value"] < 1);
  CHECK(json["goodput"].size() == 13);
  CHECK(run_tessera("run" + kSmall + kClosedForm + weeks + " --format json").output == once.output);
  const std::string sites =
      " --set 'sites={count: 2, link: 10 Gb/s, latency: 20 ms, inner_steps: 100}'";
  const Outcome outer = run_tessera("run" + kSmall + kClosedForm + sites + " --format json");
  REQUIRE(outer.exit_code == 0);
  const auto across = nlohmann::json::parse(outer.output)["quantities"];
  CHECK(across["step_time_across_sites"]["value"] > across["step_time"]["value"]);
  const Outcome both = run_tessera("run" + kSmall + kClosedForm + weeks + sites);
  CHECK(both.exit_code == 2);
}

TEST_CASE("options of a training step are refused with other jobs", "[run]") {
  const Outcome drawn = run_tessera("run deepseek_v3_decode_h800 --fidelity analytical --draw");
  CHECK(drawn.exit_code == 2);
  CHECK(drawn.errors.find("--draw: found with job decode; expected a training") !=
        std::string::npos);
  const Outcome varied =
      run_tessera("run deepseek_v3_disaggregated_h800 --fidelity analytical --sensitivity");
  CHECK(varied.exit_code == 2);
  CHECK(varied.output.empty());
}

}  // namespace tessera::end_to_end
