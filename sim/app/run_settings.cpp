#include "sim/app/run_settings.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "sim/app/worker_pool.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

void warn(const std::string& text) { fmt::print(stderr, "tessera: warning: {}\n", text); }

std::unique_ptr<KernelCache> open_cache(const RunSettings& settings) {
  if (settings.no_cache) return nullptr;
  if (!settings.cache.empty()) {
    try {
      return std::make_unique<KernelCache>(settings.cache, warn);
    } catch (const std::exception& error) {
      throw core::ConfigError({"--cache", 0, 0}, error.what());
    }
  }
  const auto directory = default_cache_directory();
  if (!directory) return nullptr;
  try {
    return std::make_unique<KernelCache>(*directory, warn);
  } catch (const std::exception& error) {
    warn(fmt::format("no kernel cache: {}", error.what()));
    return nullptr;
  }
}

}  // namespace

void RunSettings::add_to(CLI::App& command) {
  constexpr int kMaxJobs = 4096;
  command.add_option("--fidelity", fidelity, "Kernels cycle by cycle, or in closed form")
      ->check(CLI::IsMember({"cycle", "analytical"}));
  command.add_option("--jobs", jobs, "Worker processes (default: all cores)")
      ->check(CLI::Range(1, kMaxJobs));
  command.add_flag("--verbose", verbose, "Tell speeds, cache use and memory on stderr");
  command.add_flag("--sensitivity", sensitivity,
                   "Repeat the job with each unpublished choice made differently");
  command.add_flag("--unfold", unfold,
                   "Route the network traffic of every GPU, also where domains are alike");
  auto* folder = command.add_option("--cache", cache, "Folder of the kernel cache");
  command.add_flag("--no-cache", no_cache, "Neither read nor write the kernel cache")
      ->excludes(folder);
}

RunContext::RunContext(const RunSettings& settings)
    : cache_(open_cache(settings)), verbose_(settings.verbose) {
  options_.fidelity =
      settings.fidelity == "cycle" ? gpu::Fidelity::cycle : gpu::Fidelity::analytical;
  options_.jobs = settings.jobs > 0 ? settings.jobs : available_cores();
  options_.cache = cache_.get();
  options_.sensitivity = settings.sensitivity;
  options_.unfold = settings.unfold;
}

void RunContext::report() const {
  if (!verbose_) return;
  std::fflush(stdout);  // what was printed comes first, also where both go to one file
  const KernelStatistics& k = statistics_.kernels;
  const auto rate = [](std::uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin_;
  fmt::print(stderr,
             "kernels: {} simulated in {:.2f} s ({:.1f} kernels/s, {:.3g} events/s), {} from the "
             "cache file, {} asked again\n",
             k.simulated, k.wall_seconds, rate(k.simulated, k.wall_seconds),
             rate(k.events, k.wall_seconds), k.disk_hits, k.memory_hits);
  fmt::print(stderr, "system: {} events in {:.2f} s ({:.3g} events/s)\n",
             statistics_.pipeline_events, statistics_.pipeline_seconds,
             rate(statistics_.pipeline_events, statistics_.pipeline_seconds));
  constexpr double kMiB = 1 << 20;
  const double own = static_cast<double>(own_peak_memory().value()) / kMiB;
  const double workers = static_cast<double>(k.workers_memory.value()) / kMiB;
  fmt::print(stderr,
             "memory: at most {:.0f} MiB resident ({:.0f} MiB this process, {:.0f} MiB its "
             "workers together)\n",
             own + workers, own, workers);
  fmt::print(stderr, "wall: {:.2f} s\n", wall.count());
}

}  // namespace tessera::app
