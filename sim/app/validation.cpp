#include "sim/app/validation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "sim/app/kernel_batch.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/sha256.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;
using calibrate::CsvTable;

/// Files of a measurement folder that hold no kernels.
const std::set<std::string> kNoKernels = {"implementations", "e2e_serving"};

std::vector<std::string> kernel_files(const ValidationOptions& options) {
  std::vector<std::string> found;
  if (!fs::is_directory(options.measurements))
    throw core::ConfigError({"--measurements", 0, 0},
                            fmt::format("found '{}', which is not a folder; expected the folder of "
                                        "the measurement files",
                                        options.measurements));
  for (const auto& entry : fs::directory_iterator(options.measurements)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".csv" && !kNoKernels.contains(name)) found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  if (options.files.empty()) return found;
  for (const std::string& name : options.files)
    if (std::find(found.begin(), found.end(), name) == found.end())
      throw core::ConfigError({"--files", 0, 0}, core::unknown_name(name, found));
  std::vector<std::string> asked = options.files;
  std::sort(asked.begin(), asked.end());
  return asked;
}

/// The rows that are asked for: of one half, and of many those that come first by a hash.
std::vector<std::size_t> rows_of(const CsvTable& table, const std::string& file,
                                 const ValidationOptions& options) {
  std::vector<std::pair<std::string, std::size_t>> order;
  for (std::size_t row = 0; row < table.size(); ++row)
    if (!options.half || calibrate::half(table, row) == *options.half)
      order.emplace_back(
          options.rows == 0 ? std::string{} : core::sha256(fmt::format("{}|{}", file, row)), row);
  std::sort(order.begin(), order.end());
  if (options.rows > 0 && order.size() > options.rows) order.resize(options.rows);
  std::vector<std::size_t> rows;
  for (const auto& [hash, row] : order) rows.push_back(row);
  std::sort(rows.begin(), rows.end());
  return rows;
}

ValidatedFile validate_file(const std::string& name, const ValidationOptions& options,
                            const calibrate::ImplementationUses& uses) {
  const CsvTable whole = CsvTable::load(options.measurements + "/" + name + ".csv");
  if (!whole.has("gpu"))
    throw core::ConfigError({options.measurements + "/" + name + ".csv", 1, 1},
                            "found no column 'gpu'; expected a kernel file");
  const calibrate::Floors floors = calibrate::floors_of(whole);
  const CsvTable rows = whole.only(rows_of(whole, name, options));
  ValidatedFile file;
  const auto predicted = [&](gpu::Fidelity fidelity, auto& reasons, auto& binding) {
    CsvTable table = rows;
    binding = predict_table(
        table, name, {.fits = options.fits, .fidelity = fidelity, .jobs = options.jobs}, reasons);
    return calibrate::score_file(name, std::move(table), floors, uses);
  };
  file.scored = predicted(options.fidelities.front(), file.reasons, file.binding);
  if (options.fidelities.size() > 1) {
    std::map<std::string, std::size_t> same_reasons;
    std::vector<std::string> other_binding;
    file.other = predicted(options.fidelities[1], same_reasons, other_binding);
  }
  if (name == "gemm") file.rooflines = calibrate::fitted_rooflines(whole);
  return file;
}

}  // namespace

Validation validate_kernels(const ValidationOptions& options) {
  Validation validation{.options = options};
  const auto uses = calibrate::ImplementationUses::load(options.measurements);
  for (const std::string& name : kernel_files(options))
    validation.files.push_back(validate_file(name, options, uses));
  return validation;
}

std::vector<std::string> columns_of(const ValidatedFile& file, const ValidationOptions& options) {
  std::vector<std::string> by = options.by;
  if (file.scored.table.has("routing") && std::find(by.begin(), by.end(), "routing") == by.end())
    by.push_back("routing");
  return by;
}

std::vector<calibrate::Scored> worst_of(const ValidatedFile& file, std::size_t most) {
  std::vector<calibrate::Scored> worst;
  for (const calibrate::Scored& number : file.scored.numbers)
    if (number.predicted && number.use == calibrate::Use::score) worst.push_back(number);
  // Ten times too fast is as far off as ten times too slow.
  const auto size = [](const calibrate::Scored& n) {
    return std::abs(std::log(*n.predicted / n.measured));
  };
  std::stable_sort(worst.begin(), worst.end(),
                   [&](const auto& a, const auto& b) { return size(a) > size(b); });
  if (worst.size() > most) worst.resize(most);
  return worst;
}

std::string shape_of(const CsvTable& table, std::size_t row) {
  static const std::set<std::string> kNoShape = {"gpu",
                                                 "framework",
                                                 "version",
                                                 "op",
                                                 "dtype",
                                                 "kernel",
                                                 "split",
                                                 "latency_us",
                                                 "power_w",
                                                 "power_limit_w",
                                                 "dispatch_us",
                                                 "combine_us",
                                                 "min_us",
                                                 "n_rank_rows",
                                                 "dispatch_notify_us",
                                                 "combine_notify_us",
                                                 "note",
                                                 "max_rank_median_us",
                                                 "dispatch_GBps_src",
                                                 "combine_GBps_src"};
  std::string shape;
  for (const std::string& column : table.header()) {
    const std::string_view value = table.text(row, column);
    if (value.empty() || kNoShape.contains(column) || column.starts_with("predicted_") ||
        column.starts_with("lower_") || column.starts_with("upper_"))
      continue;
    shape += fmt::format("{}{}={}", shape.empty() ? "" : " ", column, value);
  }
  return shape;
}

}  // namespace tessera::app
