#include "sim/app/served_times.hpp"

#include <array>
#include <cmath>
#include <memory>

#include "calibrate/collective_rows.hpp"
#include "calibrate/fit_record.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/workload/architecture_file.hpp"
#include "sim/app/gpu_timer.hpp"

namespace tessera::app {

namespace {

using calibrate::ServedTransfer;

double milliseconds(core::Time time) { return core::to_microseconds(time) / 1000; }

fabric::ReduceLibrary library_of(const std::string& framework) {
  if (framework == "trtllm") return fabric::ReduceLibrary::trtllm;
  return framework == "sglang" ? fabric::ReduceLibrary::sglang : fabric::ReduceLibrary::vllm;
}

/// Kernels and transfers of one GPU kind.
class GpuServers {
 public:
  GpuServers(const std::string& gpu, const ServedTimesOptions& options,
             const calibrate::ServedMap& served, const calibrate::MeasurementMap& map,
             calibrate::MeasuredClusters& clusters)
      : options_(options),
        device_(device::load_device(gpu)),
        fits_(calibrate::load_record_for(device_, folder()).record.fits),
        served_(served),
        map_(map),
        gpu_(device_, fits_, kernels::ImplementationLibrary::load(), options.fidelity),
        topology_(clusters.cluster(gpu, 1)),
        parameters_(fabric::load_parameters(device_, folder())),
        collectives_(topology_, parameters_),
        reduces_(topology_, parameters_, device_.hbm.peak_rate * device_.hbm.reachable) {}
  GpuServers(const GpuServers&) = delete;  // holds references to its own parts
  GpuServers& operator=(const GpuServers&) = delete;

  void add(TimedRow& row) {
    try {
      const calibrate::ServedAs as = served_.of(row.row, device_.generation);
      const auto architecture = workload::load_architecture(as.architecture);
      row.mixes = as.habits.prefill_with_decode;
      row.architecture = as.architecture;
      row.can_speculate = architecture.mtp_modules > 0;
      Asked asked{.row = &row};
      const calibrate::ServedRow& r = row.row;
      const auto iteration = [&](const calibrate::ServedPass& pass) {
        return served_iteration(architecture, as, r.layout, pass, device_, served_, map_);
      };
      if (r.layout.gpus() > topology_.gpus())
        throw core::Refusal(core::RefusalKind::outside_model, "servers of several nodes");
      const std::int64_t prompt = r.mean_prompt();
      asked.decode = iteration(
          {.sequences = r.batch(), .context = prompt + std::llround(r.mean_output() / 2)});
      asked.prefill = iteration({.tokens = prompt, .context = prompt});
      row.weights_ms = asked.decode.weight_bytes / device_.hbm.peak_rate.value() * 1000;
      asked_.push_back(std::move(asked));
    } catch (const core::Refusal& refusal) {
      row.refused = refusal.what();
    }
  }

  void run() {
    std::vector<calibrate::KernelQuery> queries;
    for (const Asked& asked : asked_)
      for (const auto* iteration : {&asked.decode, &asked.prefill})
        for (const calibrate::ServedKernel& kernel : iteration->kernels)
          queries.push_back(kernel.query);
    const auto answers =
        run_kernels(gpu_, queries, options_.jobs, progress_on_terminal(device_.name));
    std::size_t at = 0;
    for (const Asked& asked : asked_) {
      TimedRow& row = *asked.row;
      row.decode = sum(asked.decode, row, answers, at);
      row.prefill = sum(asked.prefill, row, answers, at);
    }
  }

 private:
  struct Asked {
    TimedRow* row;
    calibrate::ServedIteration decode{}, prefill{};
  };

  [[nodiscard]] std::string folder() const {
    return options_.fits.empty() ? device::kFitFolder : options_.fits;
  }

  ServedTime sum(const calibrate::ServedIteration& iteration, TimedRow& row,
                 const std::vector<KernelAnswer>& answers, std::size_t& at) {
    ServedTime total;
    const auto add = [&](const std::string& name, double ms, double lower, double upper) {
      auto& part = total.parts[name];
      part[0] += ms;
      part[1] += ms - lower;
      part[2] += upper - ms;
    };
    for (const calibrate::ServedKernel& kernel : iteration.kernels) {
      const KernelAnswer& answer = answers[at++];
      if (!answer.result) {
        row.refused = answer.refusal;
        continue;
      }
      const gpu::KernelResult& result = *answer.result;
      double scale = kernel.count;
      if (kernel.beside) {
        const double streamed =
            result.hbm_bytes / (device_.hbm.peak_rate.value() * device_.hbm.reachable) * 1000;
        scale *= std::min(1.0, streamed / milliseconds(result.time));
      }
      add(kernel.name, scale * milliseconds(result.time), scale * milliseconds(result.lower),
          scale * milliseconds(result.upper));
    }
    for (const ServedTransfer& transfer : iteration.transfers) {
      const auto [ms, lower, upper] = time(transfer, row.row.framework);
      add(transfer.name, transfer.count * ms, transfer.count * lower, transfer.count * upper);
    }
    // Errors of one kernel go together in all layers, those of different kernels do not.
    double below = 0, above = 0;
    for (const auto& [name, part] : total.parts) {
      total.ms += part[0];
      below += part[1] * part[1];
      above += part[2] * part[2];
    }
    total.lower_ms = total.ms - std::sqrt(below);
    total.upper_ms = total.ms + std::sqrt(above);
    return total;
  }

  std::array<double, 3> time(const ServedTransfer& transfer, const std::string& framework) {
    std::vector<int> ranks;
    for (int rank = 0; rank < transfer.ranks; ++rank) ranks.push_back(rank);
    const core::Bytes bytes{std::llround(transfer.bytes)};
    const auto of = [](const auto& result) {
      return std::array{milliseconds(result.time), milliseconds(result.lower),
                        milliseconds(result.upper)};
    };
    if (transfer.kind == ServedTransfer::Kind::all_reduce)
      return of(reduces_.run({.library = library_of(framework), .ranks = ranks, .bytes = bytes}));
    return of(collectives_.run({.kind = transfer.kind == ServedTransfer::Kind::all_gather
                                            ? fabric::CollectiveKind::all_gather
                                            : fabric::CollectiveKind::reduce_scatter,
                                .ranks = ranks,
                                .bytes = bytes}));
  }

  const ServedTimesOptions& options_;
  device::DeviceSpec device_;
  device::FitSet fits_;
  const calibrate::ServedMap& served_;
  const calibrate::MeasurementMap& map_;
  gpu::Gpu gpu_;
  const fabric::Topology& topology_;
  fabric::FabricParameters parameters_;
  fabric::CollectiveModel collectives_;
  fabric::DirectReduceModel reduces_;
  std::vector<Asked> asked_;
};

}  // namespace

calibrate::ClosedLoopTimes TimedRow::at(double overhead_ms) const {
  return at(overhead_ms, decode.ms, prefill.ms);
}

calibrate::ClosedLoopTimes TimedRow::at(double overhead_ms, double decode_ms,
                                        double prefill_ms) const {
  return calibrate::closed_loop({.requests = static_cast<int>(row.batch()),
                                 .output = row.mean_output(),
                                 .decode = core::Seconds{(decode_ms + overhead_ms) / 1000},
                                 .prefill = core::Seconds{(prefill_ms + overhead_ms) / 1000},
                                 .mixes = mixes});
}

std::vector<TimedRow> time_served_rows(const calibrate::CsvTable& table,
                                       const std::vector<std::size_t>& rows,
                                       const ServedTimesOptions& options) {
  const auto served = calibrate::ServedMap::load();
  const auto map = calibrate::MeasurementMap::load();
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
    if (!gpu) gpu = std::make_unique<GpuServers>(timed[i].row.gpu, options, served, map, clusters);
    gpu->add(timed[i]);
  }
  for (auto& [name, gpu] : gpus) gpu->run();
  return timed;
}

}  // namespace tessera::app
