#include "sim/app/calibration.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "calibrate/fit.hpp"
#include "calibrate/fit_text.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "sim/app/gpu_timer.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

using calibrate::CsvTable;
using calibrate::FreeParameter;
using calibrate::MeasuredCall;

/// The rows of one family on one device that are fitted, spread over frameworks, types and shapes
/// by a hash.
struct Rows {
  std::vector<MeasuredCall> calls;
  std::vector<double> observations;  ///< Microseconds; then watts, if they are fitted.
  std::vector<std::string> labels;   ///< framework and type, for the report
};

/// One part of a family that is fitted by itself: "gemm" in bf16 moves the GPU, its other types
/// only their kernels.
struct Stage {
  std::string family;
  bool only_bf16 = false;
  bool moves_gpu = false;
  bool moves_power = false;  ///< Observes watts beside times; moves energies, not costs.
};

/// Part of a row's time up to which harness and gaps may go for its residual to count as the
/// kernel's. // assumed
constexpr double kHarnessShare = 0.35;

bool is_bf16(const CsvTable& table, std::size_t row) {
  return table.text(row, "dtype") == "bfloat16" || table.text(row, "dtype") == "half";
}

class DeviceCalibration {
 public:
  DeviceCalibration(const CalibrationOptions& options, const std::string& name)
      : options_(options),
        device_(device::load_device(name)),
        fits_(options.start.empty() ? device::load_fit_for(device_)
                                    : device::load_fit_for(device_, options.start)),
        library_(kernels::ImplementationLibrary::load()),
        map_(calibrate::MeasurementMap::load()) {}

  void run() {
    for (const std::string& family : options_.families) {
      if (family.starts_with("power_")) {
        fit_stage({.family = family, .moves_power = true});
      } else if (family == "gemm") {
        fit_stage({.family = family, .only_bf16 = true, .moves_gpu = true});
      } else if (family == "gemm_quantised") {
        fit_stage({.family = "gemm"});
      } else {
        fit_stage({.family = family});
      }
    }
    transfer_to_grouped();
    if (!options_.energies_from.empty()) transfer_energies();
    write();
  }

 private:
  /// A grouped kernel that no row timed by itself multiplies as the dense kernel of its library
  /// does.
  void transfer_to_grouped() {
    for (const kernels::Implementation& grouped : library_.all()) {
      const std::size_t at = grouped.name.find("_grouped");
      const std::string name = grouped.name + ".tensor_scale";
      if (at == std::string::npos || fitted_.contains(name)) continue;
      const std::string dense = std::string{grouped.name}.erase(at, std::string{"_grouped"}.size());
      const auto found = fits_.parameters.find(dense + ".tensor_scale");
      if (found == fits_.parameters.end()) continue;
      device::Parameter parameter = found->second;
      parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
      parameter.source = "of " + dense;
      fits_.parameters[name] = parameter;
    }
  }

  /// Energies of the same chip, measured on another board.
  void transfer_energies() {
    const device::FitSet other =
        device::load_fit_for(device::load_device(options_.energies_from),
                             options_.start.empty() ? device::kFitFolder : options_.start);
    for (auto [name, parameter] : other.parameters) {
      if (!name.starts_with("power.") || name == "power.response_ms") continue;
      parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
      parameter.source = "fitted on " + options_.energies_from;
      fits_.parameters[name] = parameter;
    }
  }

  void fit_stage(const Stage& stage) {
    const Rows rows = select(stage);
    const std::string what =
        fmt::format("{} {}{}", device_.name, stage.family, stage.moves_gpu ? " bf16" : "");
    if (rows.calls.size() < 20) {
      fmt::print(stderr, "{}: {} rows, too few to fit\n", what, rows.calls.size());
      return;
    }
    const std::vector<FreeParameter> free = free_parameters(stage, rows);
    std::vector<std::optional<gpu::KernelResult>> last;
    const calibrate::Evaluate evaluate = [&](const device::FitSet& fits, gpu::Fidelity fidelity) {
      return evaluate_rows(stage, rows, fits, fidelity, last);
    };
    if (options_.passes > 0) move_parameters(what, free, rows, evaluate);
    keep_residuals(stage, rows, evaluate, last);
  }

  void move_parameters(const std::string& what, const std::vector<FreeParameter>& free,
                       const Rows& rows, const calibrate::Evaluate& evaluate) {
    const calibrate::FitReport report = calibrate::fit(
        fits_, free, rows.observations, evaluate, {.passes = options_.passes},
        [&](const std::string& line) { fmt::print(stderr, "{}: {}\n", what, line); });
    fits_ = report.fits;
    fmt::print("{}: {} rows, median |log error| at cycle {:.1f} % before, {:.1f} % after\n", what,
               rows.calls.size(), 100 * report.median_before, 100 * report.median_after);
    for (const FreeParameter& parameter : free) {
      const device::Parameter& fitted = fits_.parameters.at(parameter.name);
      fmt::print("  {:<44}{:>12.5g} +- {:<10.3g}{} (prior {:.5g})\n", parameter.name, fitted.value,
                 fitted.standard_error, parameter.unit, parameter.prior);
    }
    for (const std::string& pair : report.entangled) fmt::print("  cannot tell apart: {}\n", pair);
  }

  [[nodiscard]] Rows select(const Stage& stage) const {
    Rows rows;
    std::vector<double> watts;
    const std::string path = options_.measurements + "/" + stage.family + ".csv";
    const CsvTable table = CsvTable::load(path);
    std::vector<std::pair<std::string, std::size_t>> order;  // spread by hash
    for (std::size_t row = 0; row < table.size(); ++row) {
      if (table.text(row, "gpu") != device_.name) continue;
      if (stage.family == "gemm" && is_bf16(table, row) != stage.only_bf16) continue;
      if (options_.half == "fit" && calibrate::half(table, row) != calibrate::Half::fit) continue;
      order.emplace_back(core::sha256(fmt::format("{}|{}", stage.family, row)), row);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [hash, row] : order) {
      if (rows.calls.size() >= options_.rows) break;
      const auto measured = table.number(row, "latency_us");
      if (!measured || *measured <= 0) continue;
      try {
        MeasuredCall call = map_.call(stage.family, table, row, device_);
        rows.observations.push_back(*measured);
        rows.calls.push_back(std::move(call));
        rows.labels.push_back(
            fmt::format("{} {}", table.text(row, "framework"), table.text(row, "dtype")));
        if (stage.moves_power) watts.push_back(table.number(row, "power_w").value_or(0));
      } catch (const core::Refusal&) {
        continue;  // counted where predictions are made
      }
    }
    rows.observations.insert(rows.observations.end(), watts.begin(), watts.end());
    return rows;
  }

  static void add_constants(const MeasuredCall& call, std::set<std::string>& harnesses) {
    harnesses.insert(call.harness);
    if (call.kernels.size() > 1) harnesses.insert(call.gap());
  }

  [[nodiscard]] std::vector<FreeParameter> free_parameters(const Stage& stage,
                                                           const Rows& rows) const {
    std::vector<FreeParameter> free;
    if (stage.moves_power) {
      free = calibrate::power_parameters(device_);
      std::set<std::string> harnesses;
      for (const MeasuredCall& call : rows.calls) add_constants(call, harnesses);
      for (const std::string& harness : harnesses)
        free.push_back(calibrate::harness_parameter(harness));
      return free;
    }
    if (stage.moves_gpu) free = calibrate::gpu_parameters(device_);
    std::set<std::string> implementations, harnesses;
    for (const MeasuredCall& call : rows.calls) {
      add_constants(call, harnesses);
      for (const calibrate::KernelQuery& query : call.kernels) {
        // Row kernels are fitted where they are measured by themselves.
        if (workload::family(query.op) == "stream" && stage.family != "quantize") continue;
        try {
          implementations.insert(library_.choose(query.op, device_, query.implementation).name);
        } catch (const core::Refusal&) {
          continue;
        }
      }
    }
    for (const kernels::Implementation& implementation : library_.all()) {
      if (!implementations.contains(implementation.name)) continue;
      // Kernels that also run bf16 belong to the stage that moves the GPU.
      if (stage.family == "gemm" && !stage.moves_gpu &&
          implementation.types.contains(core::DataType::bf16))
        continue;
      for (FreeParameter& parameter : calibrate::implementation_parameters(implementation)) {
        // What an earlier family fitted stays as it is.
        const auto known = fits_.parameters.find(parameter.name);
        if (known == fits_.parameters.end() || !fitted_.contains(parameter.name))
          free.push_back(std::move(parameter));
      }
    }
    if (options_.only_harness) free.clear();
    for (const std::string& harness : harnesses) {
      // The constant of a file is what its bf16 rows, one kernel each, say; the others add gaps.
      const bool of_bf16 = stage.family == "gemm" && !stage.moves_gpu &&
                           !harness.ends_with(".gap") && fits_.parameters.contains(harness);
      if (!of_bf16 && !fitted_.contains(harness))
        free.push_back(calibrate::harness_parameter(harness));
    }
    for (const FreeParameter& parameter : free) fitted_.insert(parameter.name);
    return free;
  }

  std::vector<std::optional<double>> evaluate_rows(
      const Stage& stage, const Rows& rows, const device::FitSet& fits, gpu::Fidelity fidelity,
      std::vector<std::optional<gpu::KernelResult>>& last) const {
    gpu::Gpu gpu{device_, fits, library_, fidelity};
    std::vector<calibrate::KernelQuery> queries;
    for (const MeasuredCall& call : rows.calls)
      queries.insert(queries.end(), call.kernels.begin(), call.kernels.end());
    const auto answers = run_kernels(gpu, queries, options_.jobs);
    std::vector<std::optional<double>> times;
    last.clear();
    std::size_t at = 0;
    for (const MeasuredCall& call : rows.calls) {
      std::vector<gpu::KernelResult> results;
      for (std::size_t i = 0; i < call.kernels.size(); ++i, ++at)
        if (answers[at].result) results.push_back(*answers[at].result);
      if (results.size() == call.kernels.size()) {
        last.push_back(gpu::in_sequence(results));
        times.push_back(core::to_microseconds(last.back()->time) + call.added_us(fits));
      } else {
        last.emplace_back();
        times.emplace_back();
      }
    }
    if (stage.moves_power)
      for (std::size_t i = 0; i < rows.calls.size(); ++i)
        times.push_back(last[i] ? std::optional{last[i]->power.value()} : std::nullopt);
    return times;
  }

  /// The 90 % half-width of |log(measured / predicted)| by what binds the kernel.
  void keep_residuals(const Stage& stage, const Rows& rows, const calibrate::Evaluate& evaluate,
                      const std::vector<std::optional<gpu::KernelResult>>& last) {
    const auto times = evaluate(fits_, gpu::Fidelity::cycle);
    std::map<std::string, std::vector<double>> sizes;
    std::map<std::string, std::vector<double>> by_label;
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (!times[i]) continue;
      const double error = std::log(*times[i] / rows.observations[i]);
      if (i >= rows.calls.size()) {
        sizes["residual.power"].push_back(std::abs(error));
        by_label["watts"].push_back(error);
        continue;
      }
      if (stage.moves_power) {
        by_label[rows.labels[i]].push_back(error);
        continue;
      }
      by_label[rows.labels[i]].push_back(error);
      // Where the harness is most of a row, its error says little about the kernel.
      const double added = rows.calls[i].added_us(fits_);
      if (added > kHarnessShare * *times[i]) continue;
      const workload::Operator& op = rows.calls[i].kernels.back().op;
      const std::string family = workload::family(op);
      const std::string& implementations = last[i]->implementation;
      const std::size_t joint = implementations.rfind(" + ");
      sizes[gpu::residual_name(op, std::string_view{implementations}.substr(
                                       joint == std::string::npos ? 0 : joint + 3))]
          .push_back(std::abs(error));
      sizes["residual." + family].push_back(std::abs(error));
      sizes[fmt::format("residual.{}.{}", family, gpu::to_string(last[i]->binding))].push_back(
          std::abs(error));
    }
    for (auto& [name, values] : sizes) {
      if (values.size() < 10) continue;
      std::sort(values.begin(), values.end());
      const double width =
          std::exp(values[static_cast<std::size_t>(0.9 * static_cast<double>(values.size()))]) - 1;
      fits_.parameters[name] = {
          .value = width,
          .standard_error = width / std::sqrt(static_cast<double>(values.size())),
          .grade = core::Grade::fitted,
          .unit = "1",
          .source = fmt::format("90 % half-width of {} rows of {}", values.size(), stage.family)};
    }
    for (auto& [label, errors] : by_label) {
      std::sort(errors.begin(), errors.end());
      const double bias = errors[errors.size() / 2];
      std::vector<double> absolute = errors;
      for (double& e : absolute) e = std::abs(e);
      std::sort(absolute.begin(), absolute.end());
      residual_lines_.push_back(
          {fmt::format("{} {}", stage.family, label), errors.size(), absolute[absolute.size() / 2],
           absolute[static_cast<std::size_t>(0.9 * static_cast<double>(absolute.size()))], bias});
    }
  }

  void write() const {
    std::filesystem::create_directories(options_.out);
    const std::string path = fmt::format("{}/{}.yaml", options_.out, device_.name);
    std::ofstream file(path + ".partial", std::ios::binary);
    file << calibrate::fit_text(device_.name, fits_, residual_lines_,
                                {.half = options_.half,
                                 .rows_per_family = options_.rows,
                                 .model_version = gpu::kModelVersion});
    file.close();
    if (!file) throw core::ConfigError({path, 0, 0}, "cannot be written");
    std::filesystem::rename(path + ".partial", path);
    fmt::print("wrote {}\n", path);
  }

  const CalibrationOptions& options_;
  device::DeviceSpec device_;
  device::FitSet fits_;
  kernels::ImplementationLibrary library_;
  calibrate::MeasurementMap map_;
  mutable std::set<std::string> fitted_;
  std::vector<calibrate::ResidualLine> residual_lines_;
};

}  // namespace

void calibrate_devices(const CalibrationOptions& options) {
  for (const std::string& device : options.devices) DeviceCalibration{options, device}.run();
}

}  // namespace tessera::app
