#include "calibrate/tick_search.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tessera::calibrate {

namespace {

constexpr int kSteps = 20;  ///< Shifts that are tried, each way.
constexpr int kRounds = 2;  ///< Over all constants, as a call has several.

/// Calls of one constant, and how often it falls on each.
struct Bearers {
  std::vector<std::size_t> rows;
  std::vector<double> counts;
  double tick_us = 0;
};

}  // namespace

std::map<std::string, double> tick_shifts(const std::vector<TickedRow>& rows, double robust_scale) {
  std::map<std::string, Bearers> constants;
  std::vector<double> totals;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    totals.push_back(rows[i].total_us);
    if (rows[i].call->tick_us <= 0 || rows[i].call->eager) continue;
    for (const MeasuredCall::Constant& constant : rows[i].call->constants()) {
      Bearers& bearers = constants[constant.name];
      bearers.rows.push_back(i);
      bearers.counts.push_back(constant.count);
      bearers.tick_us = std::max(bearers.tick_us, rows[i].call->tick_us);
    }
  }
  const auto cost = [&](const Bearers& bearers, double shift) {
    double sum = 0;
    for (std::size_t b = 0; b < bearers.rows.size(); ++b) {
      const TickedRow& row = rows[bearers.rows[b]];
      const double read = row.call->read_us(totals[bearers.rows[b]] + shift * bearers.counts[b]);
      const double error = std::log(read / row.measured_us) / robust_scale;
      sum += std::log1p(error * error);
    }
    return sum;
  };
  std::map<std::string, double> shifts;
  for (int round = 0; round < kRounds; ++round)
    for (const auto& [name, bearers] : constants) {
      double best = 0;
      double least = cost(bearers, 0);
      // From small shifts to large ones: of equal ones the smallest is taken.
      for (int step = 1; step <= kSteps; ++step)
        for (const double sign : {-1.0, 1.0}) {
          const double shift = sign * bearers.tick_us * step / kSteps;
          if (const double here = cost(bearers, shift); here < least) {
            least = here;
            best = shift;
          }
        }
      shifts[name] += best;
      for (std::size_t b = 0; b < bearers.rows.size(); ++b)
        totals[bearers.rows[b]] += best * bearers.counts[b];
    }
  return shifts;
}

}  // namespace tessera::calibrate
