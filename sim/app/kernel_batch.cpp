#include "sim/app/kernel_batch.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "calibrate/call_residuals.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "sim/app/collective_batch.hpp"
#include "sim/app/gpu_timer.hpp"
#include "sim/app/output_file.hpp"

namespace tessera::app {
namespace {

struct Prediction {
  double microseconds = 0, lower = 0, upper = 0;
  double watts = 0, lower_watts = 0, upper_watts = 0;
  gpu::Resource binding = gpu::Resource::latency;
};

/// The 90 % interval of board power where no fit has seen watts. // assumed
constexpr calibrate::CallIntervals::Factors kUnfittedPower = {.lower = 0.7, .upper = 1.4};

std::string four_digits(double value) { return fmt::format("{:.4f}", value); }

/// Predicts the rows of one GPU into `predictions`; counts what cannot be modelled.
class GpuRows {
 public:
  GpuRows(const GpuRows&) = delete;  // holds references to its own parts
  GpuRows& operator=(const GpuRows&) = delete;
  GpuRows(const PredictionOptions& options, const std::string& gpu)
      : device_(device::load_device(gpu)),
        found_(calibrate::load_record_for(
            device_, options.fits.empty() ? device::kFitFolder : options.fits)),
        fits_(found_.record.fits),
        intervals_(found_.record.residuals, found_.transferred),
        gpu_(device_, fits_, kernels::ImplementationLibrary::load(), options.fidelity) {}

  void add(const std::string& file, const calibrate::MeasurementMap& map,
           const calibrate::CsvTable& table, std::size_t row,
           std::map<std::string, std::size_t>& reasons) {
    try {
      calls_.push_back({row, map.call(file, table, row, device_)});
    } catch (const core::Refusal& refusal) {
      ++reasons[refusal.what()];
    }
  }

  void predict(int jobs, std::vector<std::optional<Prediction>>& predictions,
               std::map<std::string, std::size_t>& reasons) {
    std::vector<calibrate::KernelQuery> queries;
    for (const auto& [row, call] : calls_)
      queries.insert(queries.end(), call.kernels.begin(), call.kernels.end());
    const auto answers = run_kernels(gpu_, queries, jobs, progress_on_terminal(device_.name));
    std::size_t at = 0;
    for (const auto& [row, call] : calls_) {
      std::vector<std::optional<gpu::KernelResult>> results;
      std::string refusal;
      for (std::size_t i = 0; i < call.kernels.size(); ++i, ++at) {
        results.push_back(answers[at].result);
        if (!answers[at].result) refusal = answers[at].refusal;
      }
      const calibrate::SettledCall settled = call.settle(results);
      if (settled.results) {
        predictions[row] = predict(settled.call, *settled.results);
      } else {
        ++reasons[refusal];
      }
    }
  }

 private:
  [[nodiscard]] Prediction predict(const calibrate::MeasuredCall& call,
                                   const std::vector<gpu::KernelResult>& results) const {
    const gpu::KernelResult sum = gpu::in_sequence(results);
    const double kernels = core::to_microseconds(sum.time);
    const auto total = [&](core::Time time) {
      return call.total_us(core::to_microseconds(time), fits_);
    };
    Prediction prediction{.microseconds = call.read_us(total(sum.time)),
                          .lower = call.read_us(total(sum.lower)),
                          .upper = call.read_us(total(sum.upper)),
                          .watts = calibrate::MeasuredCall::mean_watts(
                              kernels, sum.power.value(), total(sum.time) - kernels,
                              gpu_.device().power.idle.value()),
                          .binding = sum.binding};
    // What calls of this kind were seen to differ by says more than the sum of their kernels' ends.
    if (const auto factors = intervals_.around(call.residual_group, prediction.microseconds)) {
      prediction.lower = prediction.microseconds * factors->lower;
      prediction.upper = prediction.microseconds * factors->upper;
    }
    const auto power = intervals_.around(call.residual_group + " watts", prediction.microseconds)
                           .value_or(kUnfittedPower);
    prediction.lower_watts = prediction.watts * power.lower;
    prediction.upper_watts = prediction.watts * power.upper;
    return prediction;
  }

  device::DeviceSpec device_;
  calibrate::DeviceRecord found_;
  const device::FitSet& fits_;
  calibrate::CallIntervals intervals_;
  gpu::Gpu gpu_;
  std::vector<std::pair<std::size_t, calibrate::MeasuredCall>> calls_;
};

/// Columns of what was predicted; a row without a prediction leaves its fields empty.
void append_predictions(const std::vector<std::optional<Prediction>>& predictions,
                        calibrate::CsvTable& table) {
  const auto column = [&](auto field) {
    std::vector<std::string> values;
    for (const auto& prediction : predictions)
      values.push_back(prediction ? four_digits(field(*prediction)) : std::string{});
    return values;
  };
  table.append("predicted_us", column([](const Prediction& p) { return p.microseconds; }));
  table.append("lower_us", column([](const Prediction& p) { return p.lower; }));
  table.append("upper_us", column([](const Prediction& p) { return p.upper; }));
  if (!table.has("power_w")) return;
  table.append("predicted_power_w", column([](const Prediction& p) { return p.watts; }));
  table.append("lower_power_w", column([](const Prediction& p) { return p.lower_watts; }));
  table.append("upper_power_w", column([](const Prediction& p) { return p.upper_watts; }));
}

}  // namespace

std::vector<std::string> predict_table(calibrate::CsvTable& table, const std::string& file,
                                       const PredictionOptions& options,
                                       std::map<std::string, std::size_t>& reasons) {
  std::vector<std::string> binding(table.size());
  if (holds_collectives(file)) {
    predict_collectives(table, file, options.fits, reasons);
    return binding;
  }
  const auto map = calibrate::MeasurementMap::load();
  std::map<std::string, GpuRows> gpus;
  for (std::size_t row = 0; row < table.size(); ++row) {
    const std::string gpu{table.text(row, "gpu")};
    auto found = gpus.find(gpu);
    if (found == gpus.end()) found = gpus.try_emplace(gpu, options, gpu).first;
    found->second.add(file, map, table, row, reasons);
  }
  std::vector<std::optional<Prediction>> predictions(table.size());
  for (auto& [name, rows] : gpus) rows.predict(options.jobs, predictions, reasons);
  append_predictions(predictions, table);
  for (std::size_t row = 0; row < table.size(); ++row)
    if (predictions[row]) binding[row] = gpu::to_string(predictions[row]->binding);
  return binding;
}

void predict_batch(const KernelBatchOptions& options) {
  calibrate::CsvTable table = calibrate::CsvTable::load(options.input);
  if (!table.has("gpu"))
    throw core::ConfigError({options.input, 1, 1}, "found no column 'gpu'; expected a kernel file");
  check_output_file(options.output);
  std::map<std::string, std::size_t> reasons;
  predict_table(table, std::filesystem::path(options.input).stem().string(),
                {.fits = options.fits, .fidelity = options.fidelity, .jobs = options.jobs},
                reasons);
  write_output_file(options.output, table.to_text());
  for (const auto& [reason, count] : reasons)
    fmt::print(stderr, "{} rows not modelled: {}\n", count, reason);
}

}  // namespace tessera::app
