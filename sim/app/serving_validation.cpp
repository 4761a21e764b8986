#include "sim/app/serving_validation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "calibrate/scoreboard.hpp"
#include "models/device/fit_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {

namespace {

using calibrate::CsvTable;
using calibrate::HostOverheads;

std::vector<std::size_t> covered_rows(const CsvTable& table,
                                      const ServingValidationOptions& options) {
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < table.size(); ++row)
    if (calibrate::covered(table, row, options.most_batch)) rows.push_back(row);
  return rows;
}

CsvTable load(const ServingValidationOptions& options) {
  CsvTable table = CsvTable::load(options.measurements + "/e2e_serving.csv");
  for (const char* column : {"gpu", "model", "mode", "batch", "tpot_ms"})
    if (!table.has(column))
      throw core::ConfigError({options.measurements + "/e2e_serving.csv", 1, 1},
                              fmt::format("found no column '{}'; expected served models", column));
  return table;
}

std::string version_of(const CsvTable& table, std::size_t row) {
  return fmt::format("{} {}", table.text(row, "framework"), table.text(row, "version"));
}

/// The covered rows; of versions that have none of them in the fit half, its rows of any batch too.
std::vector<std::size_t> rows_to_fit(const CsvTable& table,
                                     const ServingValidationOptions& options) {
  std::vector<std::size_t> rows = covered_rows(table, options);
  std::set<std::string> covered, fitted;
  for (const std::size_t row : rows) {
    covered.insert(version_of(table, row));
    if (calibrate::half(table, row) == calibrate::Half::fit) fitted.insert(version_of(table, row));
  }
  for (std::size_t row = 0; row < table.size(); ++row)
    if (calibrate::covered(table, row, std::numeric_limits<double>::infinity()) &&
        calibrate::half(table, row) == calibrate::Half::fit &&
        covered.contains(version_of(table, row)) && !fitted.contains(version_of(table, row)))
      rows.push_back(row);
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<TimedRow> timed_rows(const CsvTable& table, const std::vector<std::size_t>& rows,
                                 const ServingValidationOptions& options) {
  return time_served_rows(
      table, rows, {.fits = options.fits, .fidelity = options.fidelity, .jobs = options.jobs});
}

/// Rows equal to this many in everything but speed.
using Twin = std::tuple<std::string, std::string, std::string, std::string, std::string, int, int,
                        int, int, std::int64_t, std::int64_t, int>;
Twin twin_of(const TimedRow& timed) {
  const calibrate::ServedRow& r = timed.row;
  const calibrate::ServedLayout& l = r.layout;
  return {r.gpu,    timed.architecture, r.framework,     r.version, r.gemm_quant, l.attention_ranks,
          l.tensor, l.expert,           l.expert_tensor, r.prompt,  r.output,     r.concurrency};
}

/// Equal servers differ by less where both do the same: served configurations of the file that were
/// repeated differ up to so many times (its README, p95).
constexpr double kAlike = 1.8;

/// Rows that may be one server's.
using Series = std::tuple<std::string, std::string, std::string, std::string, std::string>;
Series series_of(const TimedRow& timed) {
  const calibrate::ServedRow& r = timed.row;
  return {r.gpu, r.model, r.framework, r.version, r.gemm_quant};
}

/// Why the row by itself cannot be explained; `slowest`: of its twins. Empty where it can.
std::string unexplained(const TimedRow& row, double slowest) {
  if (row.row.tpot_ms < row.weights_ms)
    return fmt::format("weights alone take {:.2f} ms", row.weights_ms);
  if (row.row.tpot_ms * kAlike < slowest)
    return fmt::format("an equal server took {:.2f} ms", slowest);
  if (row.row.tpot_ms < row.decode.lower_ms)
    return fmt::format("kernels alone take {:.2f} ms at least", row.decode.lower_ms);
  return "";
}

struct Speculations {
  /// By row, why it alone cannot be explained without; empty where it can.
  std::vector<std::string> reasons;
  std::set<Series> series;  ///< Of those that cannot.
};

/// Only of models that bring modules for it.
Speculations speculations(const std::vector<const TimedRow*>& rows) {
  std::map<Twin, double> slowest;
  for (const TimedRow* row : rows)
    slowest[twin_of(*row)] = std::max(slowest[twin_of(*row)], row->row.tpot_ms);
  Speculations found;
  for (const TimedRow* row : rows) {
    found.reasons.push_back(row->can_speculate ? unexplained(*row, slowest[twin_of(*row)]) : "");
    if (!found.reasons.back().empty()) found.series.insert(series_of(*row));
  }
  return found;
}

/// One measurement, whatever its rows call the model (DeepSeek-R1 is a DeepSeek-V3) and have in
/// layout columns. The file holds some twice, and then in both halves.
using Measurement = std::tuple<std::string, std::string, std::string, std::int64_t, std::int64_t,
                               int, double, double>;
Measurement measurement_of(const TimedRow& timed) {
  const calibrate::ServedRow& r = timed.row;
  return {r.gpu,    timed.architecture, r.version_name(), r.prompt,
          r.output, r.concurrency,      r.ttft_ms,        r.tpot_ms};
}

/// Nothing of the test half decides what is fitted, but for measurements that it holds too.
HostOverheads fit_to(const std::vector<TimedRow>& rows) {
  std::set<Measurement> seen;  // of the test half, and those that the fit has
  std::vector<const TimedRow*> own;
  for (const TimedRow& row : rows) {
    if (row.row.half == calibrate::Half::test) seen.insert(measurement_of(row));
    if (row.row.half == calibrate::Half::fit && row.refused.empty()) own.push_back(&row);
  }
  const std::set<Series> speculating = speculations(own).series;
  std::vector<calibrate::OverheadRow> fitted;
  for (const TimedRow* each : own) {
    const TimedRow& row = *each;
    if (!speculating.contains(series_of(row)) && seen.insert(measurement_of(row)).second)
      fitted.push_back(
          {.framework = row.row.framework,
           .version = row.row.version_name(),
           .eager = row.eager,
           .measured_ms = row.row.tpot_ms,
           .predicted_ms = [&row](double ms) { return row.at(ms).tpot.value() * 1000; }});
  }
  return calibrate::fit_host_overheads(fitted);
}

/// Ends of kernels' intervals and of what versions leave unexplained, as independent.
ServedEstimate estimate(double value, double lower, double upper, double spread) {
  const double down = std::hypot(std::log(value / lower), spread);
  const double up = std::hypot(std::log(upper / value), spread);
  return {value, value * std::exp(-down), value * std::exp(up)};
}

void predict(ValidatedServer& server, const HostOverheads& overheads) {
  const TimedRow& timed = server.timed;
  const calibrate::HostOverhead& overhead =
      calibrate::overhead_of(overheads, timed.row.framework, timed.row.version_name(), timed.eager);
  const bool drafts = !server.speculation.empty() && timed.drafting;
  const ServedTime& decode = drafts ? *timed.drafting : timed.decode;
  const auto at = [&](double decode_ms, double prefill_ms) {
    return timed.at(overhead.milliseconds, decode_ms, prefill_ms,
                    drafts ? timed.drafted_tokens : 1);
  };
  const auto middle = at(decode.ms, timed.prefill.ms);
  const auto low = at(decode.lower_ms, timed.prefill.lower_ms);
  const auto high = at(decode.upper_ms, timed.prefill.upper_ms);
  server.tpot = estimate(middle.tpot.value() * 1000, low.tpot.value() * 1000,
                         high.tpot.value() * 1000, overhead.spread);
  server.ttft = estimate(middle.ttft.value() * 1000, low.ttft.value() * 1000,
                         high.ttft.value() * 1000, overhead.spread);
}

std::string digits(double value) { return fmt::format("{:.4f}", value); }

}  // namespace

HostOverheads fit_serving(const ServingValidationOptions& options) {
  const CsvTable table = load(options);
  return fit_to(timed_rows(table, rows_to_fit(table, options), options));
}

ServingValidation validate_serving(const ServingValidationOptions& options) {
  ServingValidation validation{.options = options, .table = load(options)};
  for (TimedRow& row :
       timed_rows(validation.table, covered_rows(validation.table, options), options))
    validation.rows.push_back({.timed = std::move(row)});
  std::vector<ValidatedServer*> known;
  std::vector<const TimedRow*> timed;
  for (ValidatedServer& server : validation.rows)
    if (server.timed.refused.empty()) {
      known.push_back(&server);
      timed.push_back(&server.timed);
    }
  const Speculations speculating = speculations(timed);
  validation.overheads =
      calibrate::load_host_overheads(options.fits.empty() ? device::kFitFolder : options.fits);
  for (std::size_t i = 0; i < known.size(); ++i) {
    ValidatedServer& server = *known[i];
    predict(server, validation.overheads);
    server.speculation = speculating.reasons[i];
    if (server.speculation.empty() && speculating.series.contains(series_of(server.timed)) &&
        server.timed.row.tpot_ms < server.tpot.lower)
      server.speculation = fmt::format("without, {:.2f} ms at least; other rows of this server do",
                                       server.tpot.lower);
    if (!server.speculation.empty()) predict(server, validation.overheads);
  }
  return validation;
}

std::string to_csv(const ServingValidation& validation) {
  CsvTable table = validation.table;
  const std::vector<std::string> empty(table.size());
  std::map<std::string, std::array<std::vector<std::string>, 3>> columns;
  for (const char* name : {"ttft_ms", "tpot_ms"}) columns[name] = {empty, empty, empty};
  for (const ValidatedServer& server : validation.rows) {
    if (!server.timed.refused.empty()) continue;
    const std::size_t row = server.timed.row.row;
    for (auto& [name, column] : columns) {
      const ServedEstimate& e = name == "ttft_ms" ? server.ttft : server.tpot;
      column[0][row] = digits(e.value);
      column[1][row] = digits(e.lower);
      column[2][row] = digits(e.upper);
    }
  }
  for (const char* name : {"ttft_ms", "tpot_ms"}) {
    table.append(fmt::format("predicted_{}", name), std::move(columns[name][0]));
    table.append(fmt::format("lower_{}", name), std::move(columns[name][1]));
    table.append(fmt::format("upper_{}", name), std::move(columns[name][2]));
  }
  return table.to_text();
}

}  // namespace tessera::app
