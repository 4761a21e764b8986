#include "sim/app/slurm_array.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <utility>

#include "sim/app/output_directory.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScript = "sweep.sbatch";

/// As a word of a shell's command.
std::string shell_word(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

bool is_found(const std::string& program) {
  const char* path = std::getenv("PATH");
  const std::string folders = path != nullptr ? path : "";
  for (std::size_t start = 0; start <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', start), folders.size());
    const fs::path candidate = fs::path(folders.substr(start, end - start)) / program;
    if (access(candidate.c_str(), X_OK) == 0) return true;
    start = end + 1;
  }
  return false;
}

/// What a command prints, without the line's end. Throws core::Refusal when it fails.
std::string output_of(const std::string& command) {
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::string text;
  std::array<char, 256> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  const int status = pclose(pipe);
  if (status != 0)
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("sbatch ended with code {}; nothing further was submitted",
                                    WIFEXITED(status) ? WEXITSTATUS(status) : status));
  text.erase(std::find(text.begin(), text.end(), '\n'), text.end());
  return text.substr(0, text.find(';'));  // "id;cluster"
}

void check_name(const std::string& option, const std::string& name) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' ||
           c == ',';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), allowed))
    throw core::ConfigError({option, 0, 0},
                            fmt::format("found '{}'; expected letters, digits, _, - and .", name));
}

/// Hands the script to sbatch and lets a merge follow it.
void submit_script(const SlurmArray& array, const std::string& script, const std::string& merge) {
  std::string pattern = (fs::temp_directory_path() / "tessera_sbatch_XXXXXX").string();
  const int descriptor = mkstemp(pattern.data());
  if (descriptor < 0) throw std::runtime_error("cannot make " + pattern);
  close(descriptor);
  std::ofstream{pattern} << script;
  std::string id;
  try {
    id = output_of("sbatch --parsable " + shell_word(pattern));
  } catch (...) {
    fs::remove(pattern);
    throw;
  }
  fs::remove(pattern);  // sbatch keeps a copy
  const std::string after =
      output_of(fmt::format("sbatch --parsable --partition={} --dependency=afterok:{} "
                            "--job-name=tessera_merge --wrap {}",
                            array.partition, id, shell_word(merge)));
  fmt::print("submitted array {} of {} tasks, and {} that merges after it\n", id, array.tasks,
             after);
}

}  // namespace

std::string sbatch_script(const SlurmArray& array, const std::string& program,
                          const std::string& folder) {
  const std::string fidelity =
      array.fidelity.empty() ? "" : fmt::format(" --fidelity {}", array.fidelity);
  return fmt::format(
      "#!/bin/bash\n"
      "#SBATCH --job-name=tessera_{0}\n"
      "#SBATCH --partition={1}\n"
      "#SBATCH --array=1-{2}\n"
      "#SBATCH --ntasks=1\n"
      "#SBATCH --cpus-per-task={3}\n"
      "# A task that is started again resumes its store. When all have ended:\n"
      "#   {4}\n"
      "set -euo pipefail\n"
      "cd {5}\n"
      "{6} sweep {7} --shard \"$SLURM_ARRAY_TASK_ID/{2}\" --jobs {3}{8} \\\n"
      "  --store {0}.\"$SLURM_ARRAY_TASK_ID\"_of_{2}.sqlite\n",
      array.name, array.partition, array.tasks, array.jobs, merge_command(array, program, folder),
      shell_word(folder), shell_word(program), shell_word(array.study), fidelity);
}

std::string merge_command(const SlurmArray& array, const std::string& program,
                          const std::string& folder) {
  return fmt::format("cd {} && {} merge {}.*_of_{}.sqlite --into {}.sqlite", shell_word(folder),
                     shell_word(program), array.name, array.tasks, array.name);
}

void submit(const SlurmArray& array, const std::string& out) {
  check_name("--slurm", array.partition);
  check_name("study", array.name);
  SlurmArray task = array;
  std::error_code error;
  if (fs::exists(task.study, error)) task.study = fs::absolute(task.study).string();
  const std::string program = fs::read_symlink("/proc/self/exe").string();
  const std::string folder = fs::current_path().string();
  const std::string script = sbatch_script(task, program, folder);
  const std::string merge = merge_command(task, program, folder);
  const bool can_submit = is_found("sbatch");
  if (!can_submit && out.empty())
    throw core::Refusal(core::RefusalKind::outside_model,
                        "sbatch is not on this machine's PATH; --out DIR writes the script, to be "
                        "submitted where Slurm is");
  if (!out.empty()) {
    const OutputDirectory directory{out, {kScript}};
    directory.commit([&](const fs::path& fresh) {
      std::ofstream file{fresh / kScript, std::ios::binary};
      file << script;
      file.close();
      if (!file) throw std::runtime_error("cannot write " + (fresh / kScript).string());
    });
    fmt::print("script: {}\n", (directory.path() / kScript).generic_string());
  }
  if (can_submit) return submit_script(task, script, merge);
  fmt::print(
      "not submitted, sbatch is not on this machine's PATH; where it is:\n"
      "  sbatch {}\nand when all tasks have ended:\n  {}\n",
      (fs::absolute(out) / kScript).lexically_normal().generic_string(), merge);
}

}  // namespace tessera::app
