#include "sim/app/calibration.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "calibrate/call_residuals.hpp"
#include "calibrate/carry_over.hpp"
#include "calibrate/fit.hpp"
#include "calibrate/fit_record.hpp"
#include "calibrate/parameter_kinds.hpp"
#include "calibrate/tick_search.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "sim/app/gpu_timer.hpp"
#include "sim/app/output_file.hpp"
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
};

enum class Types { all, bf16, quantised };

/// One part of a file that is fitted by itself: "gemm" in bf16 moves the GPU, its other types only
/// their kernels.
struct Stage {
  std::string name;
  std::string file;
  Types types = Types::all;
  bool moves_gpu = false;
  bool moves_power = false;  ///< Observes watts beside times; moves energies, not costs.
  /// Its rows time many kernels, most of which other files fit: their error says nothing of any
  /// one.
  bool many_kernels = false;
  bool only_harness = false;  ///< It moves what its harness adds, and no kernel's costs.
};

Stage stage_of(const std::string& name) {
  constexpr std::string_view kQuantised = "_quantised";
  const bool quantised = name.ends_with(kQuantised);
  Stage stage{.name = name,
              .file = quantised ? name.substr(0, name.size() - kQuantised.size()) : name};
  stage.moves_power = stage.file.starts_with("power_");
  stage.moves_gpu = name == "gemm";
  stage.only_harness = name == "mla_module" || name == "sparse_attention";
  stage.many_kernels = stage.only_harness || name == "mhc";
  if (stage.file.ends_with("gemm")) stage.types = quantised ? Types::quantised : Types::bf16;
  return stage;
}

/// Part of a row's time up to which harness and gaps may go for its residual to count as the
/// kernel's. // assumed
constexpr double kHarnessShare = 0.35;

constexpr std::size_t kAllRows = std::numeric_limits<std::size_t>::max();

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool is_bf16(const CsvTable& table, std::size_t row) {
  return table.text(row, "dtype") == "bfloat16" || table.text(row, "dtype") == "half";
}

class DeviceCalibration {
 public:
  DeviceCalibration(const CalibrationOptions& options, const std::string& name)
      : options_(options),
        device_(device::load_device(name)),
        record_(start_of(options, device_)),
        library_(kernels::ImplementationLibrary::load()),
        map_(calibrate::MeasurementMap::load()) {
    std::error_code told_when_written;
    std::filesystem::create_directories(options_.out, told_when_written);
    check_output_file(output());
  }

  void run() {
    if (!options_.leave_out.empty()) {
      leave_out();
      return;
    }
    if (!options_.energies_from.empty()) transfer_energies();
    const auto& again = options_.families;
    std::erase_if(record_.stages, [&](const calibrate::StageRecord& stage) {
      const bool repeated = std::find(again.begin(), again.end(), stage.stage) != again.end();
      if (repeated) earlier_[stage.stage] = stage;
      return repeated;
    });
    for (const std::string& family : options_.families) fit_stage(stage_of(family));
    transfer_to_grouped();
    write();
  }

 private:
  /// Predicts what was left out from what remains, prints how well, and writes the fit that did.
  void leave_out() {
    constexpr std::string_view kFamily = "family=";
    std::vector<Stage> held;
    if (options_.leave_out.starts_with(kFamily)) {
      const std::string file = options_.leave_out.substr(kFamily.size());
      for (const std::string& name : options_.families)
        if (stage_of(name).file == file) held.push_back(stage_of(name));
      if (held.empty()) held.push_back(stage_of(file));
      std::erase_if(record_.fits.parameters, [&](const auto& entry) {
        return stage_of(entry.second.fitted_on).file == file;
      });
    } else {
      carry_over();
      for (const std::string& name : options_.families)
        if (!stage_of(name).moves_power) held.push_back(stage_of(name));
    }
    std::set<std::string> done;
    for (const Stage& stage : held)
      if (done.insert(stage.name).second) anchor(stage);
    for (const Stage& stage : held)
      if (done.erase(stage.name) > 0) report_left_out(stage);
    write();
  }

  /// Parameters from the other devices of the start folder, of this generation or an earlier one;
  /// the first of its line takes those of all others.
  void carry_over() {
    std::vector<calibrate::CarriedFit> earlier, all;
    for (const std::string& name : core::names_in("hw_configs/devices")) {
      const std::vector<std::string> fits = core::names_in(options_.start);
      if (name == device_.name || std::find(fits.begin(), fits.end(), name) == fits.end()) continue;
      const device::DeviceSpec other = device::load_device(name);
      all.push_back({other, calibrate::load_fit_record(name, options_.start)});
      if (other.generation <= device_.generation) earlier.push_back(all.back());
    }
    if (all.empty())
      throw core::ConfigError({options_.start, 0, 0}, "holds no fit of another device");
    const std::vector<calibrate::CarriedFit>& sources = earlier.empty() ? all : earlier;
    record_ = calibrate::carry_over(device_, sources, library_);
    for (const calibrate::CarriedFit& source : calibrate::nearest(sources, device_.generation))
      sources_.push_back(source.record.fits.name);
    fmt::print("{}: {} parameters carried over from {}\n", device_.name,
               record_.fits.parameters.size(), record_.carried_from);
  }

  /// What each harness of a stage adds, if its shortest row were met; nothing else of the rows is
  /// used. Quantised rows say nothing about a constant that bf16 rows have.
  [[nodiscard]] std::map<std::string, double> anchors(const Stage& stage) const {
    const Rows rows = select(stage, CsvTable::load(path_of(stage)), kAllRows);
    std::map<std::string, std::size_t> shortest;  // row by harness
    for (std::size_t i = 0; i < rows.calls.size(); ++i) {
      const auto found = shortest.try_emplace(rows.calls[i].harness, i).first;
      if (rows.observations[i] < rows.observations[found->second]) found->second = i;
    }
    std::map<std::string, double> values;
    for (const auto& [harness, row] : shortest) {
      if (stage.types == Types::quantised && record_.fits.parameters.contains(harness)) continue;
      device::FitSet without = record_.fits;
      without.parameters.erase(harness);
      const Rows one{.calls = {rows.calls[row]}, .observations = {rows.observations[row]}};
      std::vector<std::optional<gpu::KernelResult>> last;
      const auto time = evaluate_rows(stage, one, without, gpu::Fidelity::cycle, last).front();
      if (time) values[harness] = rows.observations[row] - *time;
    }
    return values;
  }

  /// Sets the harness constants of a stage from its shortest rows. The shortest row is also the
  /// luckiest: by how much its constant falls short of the fitted one, the sources say.
  void anchor(const Stage& stage) {
    std::map<std::string, std::vector<double>> short_by;
    for (const std::string& source : sources_) {
      const DeviceCalibration other{options_, source};
      for (const auto& [harness, value] : other.anchors(stage))
        if (const auto found = other.record_.fits.parameters.find(harness);
            found != other.record_.fits.parameters.end())
          short_by[harness].push_back(found->second.value - value);
    }
    for (const auto& [harness, value] : anchors(stage)) {
      const calibrate::FreeParameter prior = calibrate::harness_parameter(harness);
      double luck = 0;
      for (const double each : short_by[harness])
        luck += each / static_cast<double>(short_by[harness].size());
      record_.fits.parameters[harness] = {
          .value = std::clamp(value + luck, prior.lowest, prior.highest),
          .standard_error = std::abs(luck),
          .grade = core::Grade::fitted,
          .unit = prior.unit,
          .source = "its shortest row, and what the sources' fall short by",
          .fitted_on = stage.name};
    }
  }

  void report_left_out(const Stage& stage) {
    const Rows rows = select(stage, CsvTable::load(path_of(stage)), options_.residual_rows);
    if (rows.calls.empty()) return;
    std::vector<std::optional<gpu::KernelResult>> last;
    const auto times = evaluate_rows(stage, rows, record_.fits, gpu::Fidelity::cycle, last);
    std::map<std::string, std::vector<calibrate::CallError>> groups;
    for (std::size_t i = 0; i < times.size(); ++i)
      if (times[i])
        groups[rows.calls[i].residual_group].push_back(
            {*times[i], std::log(rows.observations[i] / *times[i])});
    for (const auto& [group, errors] : groups) {
      const auto line = calibrate::residual_lines(group, stage.name, errors).front();
      fmt::print(
          "{} left out: {:<44} {:>5} rows, median |log error| {:.1f} %, p90 {:.1f} %, bias "
          "{:+.1f} %; {}\n",
          device_.name, group, line.rows, 100 * line.median, 100 * line.p90, 100 * line.bias,
          widening_of(group, errors));
    }
  }

  /// How much wider than the sources' their intervals have to be to hold 90 % of these errors.
  [[nodiscard]] std::string widening_of(const std::string& group,
                                        const std::vector<calibrate::CallError>& errors) const {
    const calibrate::CallIntervals intervals{record_.residuals, false};
    std::vector<double> needed;
    for (const calibrate::CallError& error : errors)
      if (const auto own = intervals.around(group, error.predicted_us)) {
        const double end = std::log(error.log_ratio > 0 ? own->upper : own->lower);
        needed.push_back(end == 0 ? std::numeric_limits<double>::infinity()
                                  : error.log_ratio / end);
      }
    if (needed.empty()) return "the sources have no interval for it";
    std::sort(needed.begin(), needed.end());
    const auto at = static_cast<std::size_t>(0.9 * static_cast<double>(needed.size()));
    return fmt::format("the sources' interval holds 90 % when {:.2f} times as wide", needed[at]);
  }

  /// The shipped fit whole, with what each of its stages found; of another device's its parameters
  /// alone.
  static calibrate::FitRecord start_of(const CalibrationOptions& options,
                                       const device::DeviceSpec& device) {
    if (options.start.empty()) return {.fits = {.name = device.name}};
    const std::vector<std::string> known = core::names_in(options.start);
    if (std::find(known.begin(), known.end(), device.name) != known.end())
      return calibrate::load_fit_record(device.name, options.start);
    return {.fits = device::load_fit_for(device, options.start)};
  }

  /// A grouped kernel that no row timed by itself multiplies as the dense kernel of its library
  /// does.
  void transfer_to_grouped() {
    for (const kernels::Implementation& grouped : library_.all()) {
      const std::size_t at = grouped.name.find("_grouped");
      const std::string name = grouped.name + ".tensor_scale";
      if (at == std::string::npos || fitted_.contains(name) || settled(name)) continue;
      const std::string dense = std::string{grouped.name}.erase(at, std::string{"_grouped"}.size());
      const auto found = record_.fits.parameters.find(dense + ".tensor_scale");
      if (found == record_.fits.parameters.end()) continue;
      device::Parameter parameter = found->second;
      parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
      parameter.source = "of " + dense;
      record_.fits.parameters[name] = parameter;
    }
  }

  /// Energies of the same chip, measured on another board.
  void transfer_energies() {
    const device::FitSet other =
        device::load_fit_for(device::load_device(options_.energies_from),
                             options_.start.empty() ? device::kFitFolder : options_.start);
    for (auto [name, parameter] : other.parameters) {
      if (!name.starts_with("power.") || name == "power.burst") continue;
      parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
      parameter.source = "of " + options_.energies_from;
      record_.fits.parameters[name] = parameter;
    }
  }

  void fit_stage(const Stage& stage) {
    const CsvTable table = CsvTable::load(path_of(stage));
    const Rows rows = select(stage, table, options_.rows);
    forget(stage);
    const std::string what = fmt::format("{} {}{}", device_.name, stage.file,
                                         stage.types == Types::bf16        ? " bf16"
                                         : stage.types == Types::quantised ? " quantised"
                                                                           : "");
    if (rows.calls.size() < 20) {
      fmt::print(stderr, "{}: {} rows, too few to fit\n", what, rows.calls.size());
      return;
    }
    const std::vector<FreeParameter> free = free_parameters(stage, rows);
    std::vector<std::optional<gpu::KernelResult>> last;
    const calibrate::Evaluate evaluate = [&](const device::FitSet& fits, gpu::Fidelity fidelity) {
      return evaluate_rows(stage, rows, fits, fidelity, last);
    };
    if (options_.passes > 0) {
      move_parameters(stage.name, what, free, rows, evaluate);
      shift_to_ticks(free, rows, evaluate);
    }
    // More rows than were fitted, so that the residuals speak for rows that the fit has not seen.
    const Rows seen = select(stage, table, std::max(options_.rows, options_.residual_rows));
    keep_residuals(stage, seen);
    calibrate::StageRecord done{.stage = stage.name,
                                .half = options_.half,
                                .rows = rows.calls.size(),
                                .passes = options_.passes,
                                .model_version = gpu::kModelVersion,
                                .measurements_hash = core::sha256(bytes_of(path_of(stage)))};
    if (const auto before = earlier_.find(stage.name);
        options_.passes == 0 && before != earlier_.end()) {
      done.rows = before->second.rows;  // the parameters are still those
      done.passes = before->second.passes;
    }
    record_.stages.push_back(std::move(done));
  }

  [[nodiscard]] std::string path_of(const Stage& stage) const {
    return options_.measurements + "/" + stage.file + ".csv";
  }

  /// Drops the residuals that an earlier run of the stage left, and parameters that it moved and
  /// nothing frees any more: the implementation says again what they are.
  void forget(const Stage& stage) {
    for (const auto& described : calibrate::describe_parameters(record_, device_, library_))
      if (described.outdated() && described.fitted.fitted_on == stage.name)
        record_.fits.parameters.erase(described.name);
    std::erase_if(record_.residuals,
                  [&](const calibrate::ResidualLine& line) { return line.stage == stage.name; });
    std::erase_if(record_.fits.parameters, [&](const auto& entry) {
      return entry.first.starts_with("residual.") && entry.second.fitted_on == stage.name;
    });
  }

  /// Whether an earlier calibration's stage, which this run does not repeat, moved the parameter.
  [[nodiscard]] bool settled(const std::string& name) const {
    const auto found = record_.fits.parameters.find(name);
    if (found == record_.fits.parameters.end() || found->second.fitted_on.empty()) return false;
    const auto& again = options_.families;
    return std::find(again.begin(), again.end(), found->second.fitted_on) == again.end();
  }

  /// Whether a stage may move a parameter: no stage before it has.
  [[nodiscard]] bool movable(const std::string& name) const {
    return !fitted_.contains(name) && !settled(name);
  }

  /// Watts tell less than times: samples of the board's power within one second of equal launches
  /// differ by a factor of two (426 TFLOP/s at 173 W, 210 at 420 W on H200).
  static std::vector<double> weights_of(const Rows& rows) {
    constexpr double kWatts = 0.1;  // assumed
    std::vector<double> weights(rows.calls.size(), 1.0);
    weights.resize(rows.observations.size(), kWatts);
    return weights;
  }

  void move_parameters(const std::string& stage, const std::string& what,
                       const std::vector<FreeParameter>& free, const Rows& rows,
                       const calibrate::Evaluate& evaluate) {
    const calibrate::FitReport report = calibrate::fit(
        record_.fits, free, rows.observations, evaluate,
        {.passes = options_.passes, .weights = weights_of(rows)},
        [&](const std::string& line) { fmt::print(stderr, "{}: {}\n", what, line); });
    record_.fits = report.fits;
    fmt::print("{}: {} rows, median |log error| at cycle {:.1f} % before, {:.1f} % after\n", what,
               rows.calls.size(), 100 * report.median_before, 100 * report.median_after);
    for (const FreeParameter& parameter : free) {
      device::Parameter& fitted = record_.fits.parameters.at(parameter.name);
      fitted.fitted_on = stage;
      fmt::print("  {:<44}{:>12.5g} +- {:<10.3g}{} (prior {:.5g})\n", parameter.name, fitted.value,
                 fitted.standard_error, parameter.unit, parameter.prior);
    }
    for (const std::string& pair : report.entangled) fmt::print("  cannot tell apart: {}\n", pair);
  }

  /// Moves harness constants by a step of their clock or two, to where its readings agree best.
  void shift_to_ticks(const std::vector<FreeParameter>& free, const Rows& rows,
                      const calibrate::Evaluate& evaluate) {
    if (std::none_of(rows.calls.begin(), rows.calls.end(),
                     [](const MeasuredCall& call) { return call.tick_us > 0; }))
      return;
    const auto times = evaluate(record_.fits, gpu::Fidelity::cycle);
    std::vector<calibrate::TickedRow> readings;
    for (std::size_t i = 0; i < rows.calls.size(); ++i)
      if (times[i]) readings.push_back({&rows.calls[i], *times[i], rows.observations[i]});
    const auto shifts = calibrate::tick_shifts(readings, calibrate::FitOptions{}.robust_scale);
    for (const FreeParameter& parameter : free) {
      const auto shift = shifts.find(parameter.name);
      if (shift == shifts.end() || shift->second == 0) continue;
      device::Parameter& fitted = record_.fits.parameters.at(parameter.name);
      fitted.value = std::clamp(fitted.value + shift->second, parameter.lowest, parameter.highest);
      fmt::print("  {:<44}{:>+12.3g} {} to its clock's steps\n", parameter.name, shift->second,
                 parameter.unit);
    }
  }

  /// The first `most` rows in the order of their hashes: of two selections the smaller is a part of
  /// the larger.
  [[nodiscard]] Rows select(const Stage& stage, const CsvTable& table, std::size_t most) const {
    Rows rows;
    std::vector<double> watts;
    std::vector<std::pair<std::string, std::size_t>> order;  // spread by hash
    for (std::size_t row = 0; row < table.size(); ++row) {
      if (table.text(row, "gpu") != device_.name) continue;
      if (stage.types != Types::all && is_bf16(table, row) != (stage.types == Types::bf16))
        continue;
      if (options_.half == "fit" && calibrate::half(table, row) != calibrate::Half::fit) continue;
      order.emplace_back(core::sha256(fmt::format("{}|{}", stage.file, row)), row);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [hash, row] : order) {
      if (rows.calls.size() >= most) break;
      const auto measured = table.number(row, "latency_us");
      if (!measured || *measured <= 0) continue;
      try {
        MeasuredCall call = map_.call(stage.file, table, row, device_);
        if (call.distrusted) continue;
        rows.observations.push_back(*measured);
        rows.calls.push_back(std::move(call));
        if (stage.moves_power) watts.push_back(table.number(row, "power_w").value_or(0));
      } catch (const core::Refusal&) {
        continue;  // counted where predictions are made
      }
    }
    rows.observations.insert(rows.observations.end(), watts.begin(), watts.end());
    return rows;
  }

  static void add_constants(const MeasuredCall& call, std::set<std::string>& harnesses) {
    for (const MeasuredCall::Constant& constant : call.constants()) harnesses.insert(constant.name);
    if (call.eager) harnesses.insert(call.host_floor());
  }

  /// Own costs of the row kernels that calls name, as far as no stage has timed them: some
  /// libraries were only measured for seconds.
  void add_named_casts(const Rows& rows, std::vector<FreeParameter>& free) const {
    std::set<std::string> casts;
    for (const MeasuredCall& call : rows.calls)
      for (const calibrate::KernelQuery& query : call.kernels)
        if (workload::family(query.op) == "stream" && !query.implementation.empty())
          casts.insert(query.implementation);
    for (const kernels::Implementation& implementation : library_.all())
      if (casts.contains(implementation.name))
        for (FreeParameter& parameter : calibrate::implementation_parameters(implementation))
          if (parameter.name.starts_with(implementation.name + ".") && movable(parameter.name))
            free.push_back(std::move(parameter));
  }

  [[nodiscard]] std::vector<FreeParameter> free_parameters(const Stage& stage,
                                                           const Rows& rows) const {
    std::vector<FreeParameter> free;
    if (stage.moves_power) {
      // GEMMs in bf16, one kernel each, tell energies; the rest only what their harness adds.
      const bool of_gemm =
          stage.file == "power_gemm" && stage.types != Types::quantised && !options_.only_harness;
      for (FreeParameter& parameter : calibrate::power_parameters(device_)) {
        if (!of_gemm) break;
        free.push_back(std::move(parameter));
      }
      if (!options_.only_harness) add_named_casts(rows, free);
      std::set<std::string> harnesses;
      for (const MeasuredCall& call : rows.calls) add_constants(call, harnesses);
      for (const std::string& harness : harnesses)
        if (movable(harness)) free.push_back(calibrate::harness_parameter(harness));
      for (const FreeParameter& parameter : free) fitted_.insert(parameter.name);
      return free;
    }
    if (stage.moves_gpu) free = calibrate::gpu_parameters(device_);
    std::set<std::string> implementations, harnesses;
    for (const MeasuredCall& call : rows.calls) {
      add_constants(call, harnesses);
      for (const calibrate::KernelQuery& query : call.kernels) {
        // Row kernels are fitted where they are measured by themselves, unless the call names one.
        if (workload::family(query.op) == "stream" && stage.file != "quantize" &&
            query.implementation.empty())
          continue;
        try {
          const auto& chosen = library_.choose(query.op, device_, query.implementation);
          // What extends another one without costs of its own is fitted with it.
          implementations.insert(chosen.stated.empty() && !chosen.base.empty() ? chosen.base
                                                                               : chosen.name);
        } catch (const core::Refusal&) {
          continue;
        }
      }
    }
    for (const kernels::Implementation& implementation : library_.all()) {
      if (!implementations.contains(implementation.name)) continue;
      // Kernels that also run bf16 belong to the stage that moves the GPU.
      if (stage.types == Types::quantised && implementation.types.contains(core::DataType::bf16))
        continue;
      for (FreeParameter& parameter : calibrate::implementation_parameters(implementation)) {
        // What an earlier file fitted stays as it is; one that extends another shares its costs.
        const bool shared = std::any_of(free.begin(), free.end(), [&](const FreeParameter& other) {
          return other.name == parameter.name;
        });
        if (!shared && (stage.moves_gpu || movable(parameter.name)))
          free.push_back(std::move(parameter));
      }
    }
    if (options_.only_harness || stage.only_harness) free.clear();
    for (const std::string& harness : harnesses) {
      // The constant of a file is what its bf16 rows, one kernel each, say; the others add gaps.
      const bool of_bf16 = stage.types == Types::quantised &&
                           std::count(harness.begin(), harness.end(), '.') == 2 &&
                           record_.fits.parameters.contains(harness);
      if (!of_bf16 && (stage.moves_gpu || movable(harness)))
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
    const auto& answers = kernels_.run(gpu, fits, fidelity, queries, options_.jobs);
    std::vector<std::optional<double>> times;
    last.clear();
    std::size_t at = 0;
    std::vector<double> added_us;
    for (const MeasuredCall& call : rows.calls) {
      std::vector<std::optional<gpu::KernelResult>> results;
      for (std::size_t i = 0; i < call.kernels.size(); ++i, ++at)
        results.push_back(answers[at].result);
      const calibrate::SettledCall settled = call.settle(results);
      added_us.push_back(settled.call.added_us(fits));
      if (settled.results) {
        last.push_back(gpu::in_sequence(*settled.results));
        times.push_back(settled.call.total_us(core::to_microseconds(last.back()->time), fits));
      } else {
        last.emplace_back();
        times.emplace_back();
      }
    }
    if (stage.moves_power)
      for (std::size_t i = 0; i < rows.calls.size(); ++i)
        times.push_back(last[i] ? std::optional{MeasuredCall::mean_watts(
                                      core::to_microseconds(last[i]->time), last[i]->power.value(),
                                      added_us[i], gpu.device().power.idle.value())}
                                : std::nullopt);
    return times;
  }

  /// The residuals of calls by their group, and of kernels, as the 90 % half-width of
  /// |log(measured / predicted)|, by implementation and by what binds them.
  void keep_residuals(const Stage& stage, const Rows& rows) {
    std::vector<std::optional<gpu::KernelResult>> last;
    const auto times = evaluate_rows(stage, rows, record_.fits, gpu::Fidelity::cycle, last);
    std::map<std::string, std::vector<double>> sizes;
    std::map<std::string, std::vector<calibrate::CallError>> groups;
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (!times[i]) continue;
      const MeasuredCall& call = rows.calls[i % rows.calls.size()];
      const double shown = i < rows.calls.size() ? call.read_us(*times[i]) : *times[i];
      const double error = std::log(shown / rows.observations[i]);
      const double duration = *times[i % rows.calls.size()];
      if (i >= rows.calls.size()) {
        watts_errors_.push_back(std::abs(error));
        groups[call.residual_group + " watts"].push_back({duration, -error});
        continue;
      }
      groups[call.residual_group].push_back({duration, -error});
      if (stage.moves_power || stage.many_kernels) continue;
      // Where the harness is most of a row, its error says little about the kernel.
      const double kernels = core::to_microseconds(last[i]->time);
      if (*times[i] - kernels > kHarnessShare * *times[i]) continue;
      for (const std::string& name : residual_names(rows.calls[i], *last[i]))
        sizes[name].push_back(std::abs(error));
    }
    if (stage.moves_power) sizes["residual.power"] = watts_errors_;
    for (auto& [name, values] : sizes) {
      if (values.size() < 10) continue;
      std::sort(values.begin(), values.end());
      const double width =
          std::exp(values[static_cast<std::size_t>(0.9 * static_cast<double>(values.size()))]) - 1;
      record_.fits.parameters[name] = {
          .value = width,
          .standard_error = width / std::sqrt(static_cast<double>(values.size())),
          .grade = core::Grade::fitted,
          .unit = "1",
          .source = fmt::format("90 % half-width of {} rows of {}", values.size(), stage.file),
          .fitted_on = stage.name};
    }
    for (const auto& [group, errors] : groups) note_residuals(stage.name, group, errors);
  }

  /// The names under which a row's error counts: of the kernel that the call is about, which is the
  /// GEMM or attention in it, else the first.
  [[nodiscard]] std::vector<std::string> residual_names(const MeasuredCall& call,
                                                        const gpu::KernelResult& result) const {
    const calibrate::KernelQuery* about = &call.kernels.front();
    for (const calibrate::KernelQuery& query : call.kernels)
      if (workload::family(query.op) != "stream" && query.way.way == 0) about = &query;
    const std::string family = workload::family(about->op);
    const kernels::Implementation& implementation =
        library_.choose(about->op, device_, about->implementation);
    std::vector<std::string> names{gpu::residual_name(about->op, implementation.name)};
    if (!implementation.base.empty())
      names.push_back(gpu::residual_name(about->op, implementation.base));
    if (family == "grouped_gemm") return names;
    names.push_back("residual." + family);
    names.push_back(fmt::format("residual.{}.{}", family, gpu::to_string(result.binding)));
    return names;
  }

  void note_residuals(const std::string& stage, const std::string& group,
                      const std::vector<calibrate::CallError>& errors) {
    for (calibrate::ResidualLine& line : calibrate::residual_lines(group, stage, errors)) {
      std::erase_if(record_.residuals, [&](const calibrate::ResidualLine& old) {
        return old.group == line.group;  // of an earlier pass of the stage
      });
      record_.residuals.push_back(std::move(line));
    }
  }

  [[nodiscard]] std::string output() const {
    return fmt::format("{}/{}.yaml", options_.out, device_.name);
  }

  void write() {
    std::sort(record_.residuals.begin(), record_.residuals.end(),
              [](const auto& a, const auto& b) { return a.group < b.group; });
    if (!options_.energies_from.empty()) record_.energies_from = options_.energies_from;
    write_output_file(output(), calibrate::fit_text(device_.name, record_));
    fmt::print("wrote {}\n", output());
  }

  const CalibrationOptions& options_;
  device::DeviceSpec device_;
  calibrate::FitRecord record_;
  kernels::ImplementationLibrary library_;
  calibrate::MeasurementMap map_;
  mutable std::set<std::string> fitted_;
  mutable RepeatedKernels kernels_;
  std::vector<double> watts_errors_;
  std::vector<std::string> sources_;  ///< Of what is carried over, those of the nearest generation.
  std::map<std::string, calibrate::StageRecord> earlier_;  ///< Of stages that this run repeats.
};

}  // namespace

void calibrate_devices(const CalibrationOptions& options) {
  for (const std::string& device : options.devices) DeviceCalibration{options, device}.run();
}

}  // namespace tessera::app
