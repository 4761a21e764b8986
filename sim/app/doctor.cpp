#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <boost/version.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "models/device/fit_file.hpp"
#include "sim/app/catalogue.hpp"
#include "sim/app/command.hpp"
#include "sim/app/kernel_cache.hpp"
#include "sim/core/data_root.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;

void line(const std::string& what, const std::string& found) {
  fmt::print("{:<18}{}\n", what, found);
}

/// The first executable of this name on PATH.
std::optional<fs::path> program_on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder) / name;
    std::error_code ignored;
    if (fs::is_regular_file(candidate, ignored) && access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return std::nullopt;
}

void tell_program(const std::string& name, const std::string& without) {
  const auto found = program_on_path(name);
  line(name, found ? found->string() : "not found: " + without);
}

void tell_cache() {
  const auto folder = default_cache_directory();
  if (!folder) return line("kernel cache", "none: neither XDG_CACHE_HOME nor HOME is set");
  const fs::path file = *folder / "kernels.sqlite";
  std::error_code error;
  const auto size = fs::file_size(file, error);
  line("kernel cache", error ? fmt::format("{} (not there yet)", file.string())
                             : fmt::format("{} ({} KiB)", file.string(), size / 1024));
}

/// Reads every description of a kind; returns the mistakes.
std::vector<core::Diagnostic> tell_kind(const Kind& kind) {
  std::vector<core::Diagnostic> mistakes;
  const std::vector<std::string> names = names_of(kind);
  std::size_t wrong = 0;
  for (const std::string& name : names) {
    try {
      kind.check(name, {});
    } catch (const core::ConfigError& error) {
      ++wrong;
      mistakes.insert(mistakes.end(), error.diagnostics().begin(), error.diagnostics().end());
    }
  }
  line(kind.plural, wrong == 0 ? fmt::format("{}, all read without a mistake", names.size())
                               : fmt::format("{}, {} of them wrong", names.size(), wrong));
  return mistakes;
}

void tell_fits() {
  for (const std::string& name : core::names_in(device::kFitFolder)) {
    const device::FitSet fit = device::load_fit(name);
    fmt::print("  {:<22}{} parameters, sha256 {}\n", name, fit.parameters.size(), fit.hash);
  }
}

void doctor() {
  line("tessera", TESSERA_VERSION);
  line("data", core::data_root().string());
  line("built with", fmt::format("Boost {}.{}, SQLite {}, C++ {}", BOOST_VERSION / 100000,
                                 BOOST_VERSION / 100 % 1000, sqlite3_libversion(), __VERSION__));
  tell_cache();
  tell_program("nvcc", "the probes of calibrate/ cannot be built here");
  tell_program("nvidia-smi", "no GPU to measure here");
  tell_program("chromium", "the tests that open a report in a browser are left out");
  std::vector<core::Diagnostic> mistakes;
  for (const Kind& kind : kinds()) {
    const std::vector<core::Diagnostic> found = tell_kind(kind);
    mistakes.insert(mistakes.end(), found.begin(), found.end());
    if (kind.name == "fit" && found.empty()) tell_fits();
  }
  if (!mistakes.empty()) throw core::ConfigError(std::move(mistakes));
}

}  // namespace

void add_doctor_command(CLI::App& program) {
  program
      .add_subcommand("doctor",
                      "Tell what is installed and found, and whether every description can be read")
      ->callback(doctor);
}

}  // namespace tessera::app
