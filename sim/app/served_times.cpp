#include "sim/app/served_times.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "calibrate/collective_rows.hpp"
#include "calibrate/fit_record.hpp"
#include "calibrate/served_job.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/serving/iteration_model.hpp"
#include "models/serving/legality.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/app/gpu_timer.hpp"
#include "sim/app/kernel_cache.hpp"

namespace tessera::app {

namespace {

double milliseconds(double seconds) { return 1000 * seconds; }

/// Rows of one GPU kind.
class GpuServers {
 public:
  GpuServers(const std::string& gpu, const ServedTimesOptions& options,
             std::shared_ptr<const calibrate::ServedMaps> maps,
             calibrate::MeasuredClusters& clusters)
      : options_(options),
        device_(device::load_device(gpu)),
        fits_(calibrate::load_record_for(device_, folder()).record.fits),
        maps_(std::move(maps)),
        gpu_(device_, fits_, kernels::ImplementationLibrary::load(), options.fidelity),
        estimates_(device_, fits_, kernels::ImplementationLibrary::load(),
                   gpu::Fidelity::analytical),
        timer_(gpu_, nullptr, {}),
        // Experts of all rows are replicated: nothing asks for an exchange.
        network_(clusters.spec(gpu, 1), {}, {}, fabric::Folding::automatic,
                 fabric::load_parameters(device_, folder())),
        gpus_(clusters.cluster(gpu, 1).gpus()) {}
  GpuServers(const GpuServers&) = delete;  // holds references to its own parts
  GpuServers& operator=(const GpuServers&) = delete;

  void add(TimedRow& row) {
    try {
      if (row.row.layout.gpus() > gpus_)
        throw core::Refusal(core::RefusalKind::outside_model, "servers of several nodes");
      asked_.push_back({&row, served_jobs(row.row, device_, maps_)});
      const calibrate::ServedJobs& jobs = asked_.back().jobs;
      serving::require_legal(jobs.decode);
      serving::require_legal(jobs.prefill);
      if (jobs.drafting) serving::require_legal(*jobs.drafting);
      row.mixes = jobs.mixes;
      row.eager = jobs.decode.eager;
      row.layers = jobs.decode.architecture.layers;
      row.architecture = jobs.decode.architecture.name;
      row.can_speculate = jobs.decode.architecture.mtp_modules > 0;
    } catch (const core::Refusal& refusal) {
      row.refused = refusal.what();
    }
  }

  /// Learns which kernels iterations ask for, has them simulated in worker processes, and times the
  /// iterations.
  void run() {
    const auto model = [&](gpu::KernelTimer& kernels) {
      for (const Asked& asked : asked_) time(asked, kernels);
    };
    const auto simulate = [&](const std::vector<KernelQuery>& missing) {
      timer_.run_many(missing, options_.jobs, progress_on_terminal(device_.name));
    };
    if (options_.fidelity == gpu::Fidelity::analytical ||
        !survey_kernels(timer_, estimates_, model, simulate))
      model(timer_);
  }

 private:
  struct Asked {
    TimedRow* row;
    calibrate::ServedJobs jobs;
  };

  [[nodiscard]] std::string folder() const {
    return options_.fits.empty() ? device::kFitFolder : options_.fits;
  }

  void time(const Asked& asked, gpu::KernelTimer& kernels) {
    TimedRow& row = *asked.row;
    if (!row.refused.empty()) return;
    try {
      const serving::IterationModel decode(asked.jobs.decode, kernels, network_);
      row.decode = time_of(decode);
      row.weights_ms = milliseconds(serving::weight_bytes(decode) / device_.hbm.peak_rate.value());
      if (asked.jobs.drafting) {
        row.drafting = time_of(serving::IterationModel(*asked.jobs.drafting, kernels, network_));
        row.drafted_tokens = asked.jobs.drafting->speculation.tokens_per_iteration();
      }
      row.prefill = time_of(serving::IterationModel(asked.jobs.prefill, kernels, network_));
    } catch (const core::Refusal& refusal) {
      row.refused = refusal.what();
    }
  }

  static ServedTime time_of(const serving::IterationModel& model) {
    const core::Estimate seconds = run_ensemble(model).estimate(
        [](const serving::IterationRun& run) { return core::to_seconds(run.time).value(); }, "s");
    return {milliseconds(seconds.value), milliseconds(seconds.lower), milliseconds(seconds.upper)};
  }

  const ServedTimesOptions& options_;
  device::DeviceSpec device_;
  device::FitSet fits_;
  std::shared_ptr<const calibrate::ServedMaps> maps_;
  gpu::Gpu gpu_, estimates_;
  CachedKernelTimer timer_;
  FabricNetworkTimer network_;
  int gpus_;
  std::vector<Asked> asked_;
};

}  // namespace

calibrate::ClosedLoopTimes TimedRow::at(double overhead_ms) const {
  return at(overhead_ms, decode.ms, prefill.ms);
}

calibrate::ClosedLoopTimes TimedRow::at(double overhead_ms, double decode_ms, double prefill_ms,
                                        double tokens) const {
  const auto iteration = [&](double gpu_ms) {
    const double ms =
        eager ? std::max(gpu_ms, overhead_ms * static_cast<double>(layers)) : gpu_ms + overhead_ms;
    return core::Seconds{ms / 1000};
  };
  return calibrate::closed_loop({.requests = static_cast<int>(row.batch()),
                                 .output = row.mean_output(),
                                 .decode = iteration(decode_ms) / tokens,
                                 .prefill = iteration(prefill_ms),
                                 .mixes = mixes});
}

std::vector<TimedRow> time_served_rows(const calibrate::CsvTable& table,
                                       const std::vector<std::size_t>& rows,
                                       const ServedTimesOptions& options) {
  const auto maps = calibrate::ServedMaps::load();
  calibrate::MeasuredClusters clusters;
  std::vector<TimedRow> timed(rows.size());
  std::map<std::string, std::unique_ptr<GpuServers>> gpus;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    try {
      timed[i].row = calibrate::read_served_row(table, rows[i]);
    } catch (const core::Refusal& refusal) {
      timed[i].row.row = rows[i];
      timed[i].refused = refusal.what();
      continue;
    }
    auto& gpu = gpus[timed[i].row.gpu];
    if (!gpu) gpu = std::make_unique<GpuServers>(timed[i].row.gpu, options, maps, clusters);
    gpu->add(timed[i]);
  }
  for (auto& [name, gpu] : gpus) gpu->run();
  return timed;
}

}  // namespace tessera::app
