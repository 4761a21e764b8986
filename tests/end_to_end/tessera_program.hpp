#pragma once

#include <sys/wait.h>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace tessera::end_to_end {

/// How a run of the program ended.
struct Outcome {
  int exit_code;
  std::string output;  ///< stdout
  std::string errors;  ///< stderr
};

/// Runs the program with arguments as a shell would read them; `environment` is put before, for
/// example "TESSERA_DATA=/tmp".
inline Outcome run_tessera(const std::string& arguments, const std::string& environment = "") {
  std::string errors = (std::filesystem::temp_directory_path() / "tessera_stderr_XXXXXX").string();
  const int descriptor = mkstemp(errors.data());
  REQUIRE(descriptor >= 0);
  FILE* pipe =
      popen((environment + " " TESSERA_PROGRAM " " + arguments + " 2>" + errors).c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome{};
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    outcome.output.append(buffer, n);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::ostringstream text;
  text << std::ifstream(errors).rdbuf();
  outcome.errors = text.str();
  std::filesystem::remove(errors);
  return outcome;
}

/// stdout of a run that has to succeed.
inline std::string printed(const std::string& arguments) {
  const Outcome run = run_tessera(arguments);
  INFO(arguments << "\n" << run.errors);
  REQUIRE(run.exit_code == 0);
  return run.output;
}

/// The JSON that a run has to print.
inline nlohmann::json printed_json(const std::string& arguments) {
  return nlohmann::json::parse(printed(arguments + " --format json"));
}

/// What is said to a command that is wrong: code 2, and nothing on stdout.
inline std::string mistake_in(const std::string& arguments) {
  const Outcome run = run_tessera(arguments);
  INFO(arguments);
  CHECK(run.exit_code == 2);
  CHECK(run.output.empty());
  return run.errors;
}

/// Why a run is refused: code 1.
inline std::string refusal_of(const std::string& arguments) {
  const Outcome run = run_tessera(arguments);
  INFO(arguments);
  CHECK(run.exit_code == 1);
  return run.errors;
}

}  // namespace tessera::end_to_end
