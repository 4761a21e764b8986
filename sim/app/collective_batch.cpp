#include "sim/app/collective_batch.hpp"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "calibrate/collective_rows.hpp"
#include "models/device/fit_file.hpp"

namespace tessera::app {

namespace {

/// The three new columns of one measured column.
struct Predictions {
  std::vector<std::string> predicted, lower, upper;
};

std::string four_digits(double value) { return fmt::format("{:.4f}", value); }

}  // namespace

bool holds_collectives(const std::string& stem) {
  return stem == "comm_nccl" || stem == "comm_custom_allreduce" || stem == "comm_deepep_normal" ||
         stem == "comm_deepep_ll" || stem == "comm_vidur";
}

void predict_collectives(calibrate::CsvTable& table, const std::string& stem,
                         const std::string& fits, std::map<std::string, std::size_t>& reasons) {
  calibrate::MeasuredClusters clusters;
  std::map<std::string, std::vector<calibrate::CollectiveRow>> by_gpu;
  for (calibrate::CollectiveRow& row :
       calibrate::collective_rows(table, stem, clusters, /*trusted_only=*/false, &reasons))
    by_gpu[row.gpu].push_back(std::move(row));

  std::map<std::string, Predictions> columns;
  for (const std::string name : {"latency_us", "dispatch_us", "combine_us"})
    if (table.has(name)) {
      const std::vector<std::string> empty(table.size());
      columns[name] = {empty, empty, empty};
    }
  for (const auto& [gpu, rows] : by_gpu) {
    const fabric::FabricParameters parameters =
        fabric::load_parameters(clusters.device(gpu), fits.empty() ? device::kFitFolder : fits);
    const auto predicted = calibrate::predict(rows, clusters, parameters, &reasons);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (std::isnan(predicted[i].microseconds)) continue;
      Predictions& column = columns[rows[i].column];
      column.predicted[rows[i].line] = four_digits(predicted[i].microseconds);
      column.lower[rows[i].line] = four_digits(predicted[i].lower);
      column.upper[rows[i].line] = four_digits(predicted[i].upper);
    }
  }
  for (auto& [name, column] : columns) {
    // latency_us is predicted_us for short, as for kernels.
    const std::string stem_of = name == "latency_us" ? "us" : name;
    table.append("predicted_" + stem_of, std::move(column.predicted));
    table.append("lower_" + stem_of, std::move(column.lower));
    table.append("upper_" + stem_of, std::move(column.upper));
  }
}

}  // namespace tessera::app
