#include "reports/ownership.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "reports/format.hpp"

namespace tessera::reports {
namespace {

using core::Estimate;

constexpr double kHoursPerYear = 8760;
constexpr double kMonthsPerYear = 12;
constexpr double kHoursPerMonth = kHoursPerYear / kMonthsPerYear;
constexpr double kWattsPerKilowatt = 1000;

enum Input {
  server,
  network_share,
  years,
  cost_of_capital,
  utilisation,
  idle_power,
  colocation,
  pue,
  electricity,
  kilowatts,  ///< At work.
  kInputs
};
using Values = std::array<double, kInputs>;

enum Part { server_part, network_part, capital_part, space_part, electricity_part, kParts };
using Parts = std::array<double, kParts>;

/// What one input is: typical, low and high.
using Inputs = std::array<Estimate, kInputs>;

Inputs inputs_of(const OwnershipAssumptions& a, const std::optional<Estimate>& watts) {
  const double all = a.provisioned_kilowatts;
  Estimate at_work{all, all, all, "kW", core::Grade::assumed};
  if (watts)
    at_work = {watts->value / kWattsPerKilowatt, watts->lower / kWattsPerKilowatt,
               watts->upper / kWattsPerKilowatt, "kW", watts->grade};
  return {a.server.value,      a.network_share.value,
          a.years.value,       a.cost_of_capital.value,
          a.utilisation.value, a.idle_power.value,
          a.colocation.value,  a.pue.value,
          a.electricity.value, at_work};
}

Values typical(const Inputs& inputs) {
  Values values{};
  for (std::size_t i = 0; i < kInputs; ++i) values[i] = inputs[i].value;
  return values;
}

/// The rate that twelve months compound to `rate` a year.
double monthly_rate(double rate) { return std::pow(1 + rate, 1 / kMonthsPerYear) - 1; }

/// USD per GPU and hour owned, for what costs the same whether it works or not.
double space_per_hour(const Values& v, double provisioned) {
  return v[colocation] * provisioned / kHoursPerMonth;
}
double network_dollars(const Values& v) {
  return v[server] * v[network_share] / (1 - v[network_share]);
}
double electricity_at_work(const Values& v) { return v[kilowatts] * v[pue] * v[electricity]; }

/// USD per GPU and useful hour.
Parts parts_of(const Values& v, double provisioned) {
  const double useful_hours = kHoursPerYear * v[utilisation];
  const double bought = v[server] + network_dollars(v);
  Parts parts{};
  parts[server_part] = v[server] / v[years] / useful_hours;
  parts[network_part] = network_dollars(v) / v[years] / useful_hours;
  parts[capital_part] =
      bought * (annuity(v[cost_of_capital], v[years]) - 1 / v[years]) / useful_hours;
  parts[space_part] = space_per_hour(v, provisioned) / v[utilisation];
  parts[electricity_part] =
      electricity_at_work(v) * (1 + v[idle_power] * (1 - v[utilisation]) / v[utilisation]);
  return parts;
}

double total_of(const Parts& parts) {
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

/// The interval of one figure of the parts: its inputs moved alone, in quadrature of logarithms.
template <class Figure>
Estimate spread(const Inputs& inputs, double provisioned, const Figure& figure) {
  const Values values = typical(inputs);
  const double value = figure(parts_of(values, provisioned));
  double up = 0;
  double down = 0;
  for (std::size_t i = 0; i < kInputs && value > 0; ++i) {
    double highest = value;
    double lowest = value;
    for (const double moved : {inputs[i].lower, inputs[i].upper}) {
      Values changed = values;
      changed[i] = moved;
      const double there = figure(parts_of(changed, provisioned));
      highest = std::max(highest, there);
      lowest = std::min(lowest, there);
    }
    up += std::pow(std::log(highest / value), 2);
    if (lowest > 0) down += std::pow(std::log(value / lowest), 2);
  }
  return {value, value * std::exp(-std::sqrt(down)), value * std::exp(std::sqrt(up)), "USD/GPU/h",
          core::Grade::assumed};
}

/// Up to four digits, and whole dollars whole.
std::string plain(double value) {
  return value < 1000 ? fmt::format("{:.4g}", value) : count(std::round(value));
}

/// How each part comes about, with the inputs that it takes.
std::array<std::string, kParts> explanations(const OwnershipAssumptions& a, const Values& v) {
  const std::string useful = fmt::format("{} of all hours", plain(v[utilisation]));
  return {
      fmt::format("{} USD over {} years, {}; {}", plain(v[server]), plain(v[years]), useful,
                  a.server.cited()),
      fmt::format("{} of server and network; {}", plain(v[network_share]), a.network_share.cited()),
      fmt::format("{} a year in equal monthly payments; {}", plain(v[cost_of_capital]),
                  a.cost_of_capital.cited()),
      fmt::format("{} USD a kW and month for {} kW; {}", plain(v[colocation]),
                  plain(a.provisioned_kilowatts), a.colocation.cited()),
      fmt::format("{} kW at work x PUE {} x {} USD/kWh, idle {}; {}", plain(v[kilowatts]),
                  plain(v[pue]), plain(v[electricity]), plain(v[idle_power]),
                  a.electricity.cited())};
}

core::Grade worst_of(const Inputs& inputs) {
  core::Grade grade = core::Grade::measured;
  for (const Estimate& input : inputs) grade = core::worst(grade, input.grade);
  return grade;
}

GpuHour hour_of(const OwnershipAssumptions& a, const Inputs& inputs) {
  static constexpr std::array<const char*, kParts> kNames = {
      "server, written off", "network, written off", "cost of capital", "space", "electricity"};
  // The inputs that a part's grade rests on, besides the utilisation of all.
  const std::array<core::Grade, kParts> grades = {
      core::worst(a.server.value.grade, a.years.value.grade),
      core::worst(a.server.value.grade, a.network_share.value.grade),
      core::worst(a.server.value.grade, a.cost_of_capital.value.grade), a.colocation.value.grade,
      a.electricity.value.grade};
  const double provisioned = a.provisioned_kilowatts;
  const auto why = explanations(a, typical(inputs));
  GpuHour hour;
  hour.total = spread(inputs, provisioned, total_of);
  hour.total.grade = worst_of(inputs);
  for (std::size_t part = 0; part < kParts; ++part) {
    core::CostRow row{kNames[part],
                      spread(inputs, provisioned, [&](const Parts& parts) { return parts[part]; }),
                      why[part]};
    row.amount.grade = core::worst(grades[part], inputs[utilisation].grade);
    hour.parts.push_back(std::move(row));
  }
  return hour;
}

}  // namespace

double provisioned_kilowatts(const device::ClusterSpec& cluster) {
  return (cluster.node.device.power.limit.value() +
          cluster.node.overhead_power.value() / cluster.node.gpus +
          cluster.fabric.power_per_gpu.value()) /
         kWattsPerKilowatt;
}

double annuity(double rate, double years) {
  if (rate <= 0) return 1 / years;
  return kMonthsPerYear * monthly_rate(rate) / (1 - std::pow(1 + rate, -years));
}

GpuHour owned_hour(const OwnershipAssumptions& assumptions, const std::optional<Estimate>& watts) {
  return hour_of(assumptions, inputs_of(assumptions, watts));
}

GpuHour owned_hour_whether_used_or_not(const OwnershipAssumptions& assumptions) {
  Inputs inputs = inputs_of(assumptions, std::nullopt);
  inputs[utilisation] = {1, 1, 1, "1", core::Grade::measured};
  return hour_of(assumptions, inputs);
}

BreakEven break_even(const OwnershipAssumptions& a, double rent,
                     const std::optional<Estimate>& watts) {
  const Values v = typical(inputs_of(a, watts));
  const double bought = v[server] + network_dollars(v);
  const double space = space_per_hour(v, a.provisioned_kilowatts);
  const double energy = electricity_at_work(v);
  BreakEven result{.rent = rent, .utilisation = std::nullopt, .months = std::nullopt};
  // Owning an hour costs standing + energy (u + idle (1 - u)); renting it rent u.
  const double standing = bought * annuity(v[cost_of_capital], v[years]) / kHoursPerYear + space;
  const double saved_by_use = rent - energy * (1 - v[idle_power]);
  if (saved_by_use > 0) {
    const double use = (standing + energy * v[idle_power]) / saved_by_use;
    if (use <= 1) result.utilisation = use;
  }
  const double u = v[utilisation];
  const double saved_a_month =
      kHoursPerMonth * (rent * u - space - energy * (u + v[idle_power] * (1 - u)));
  const double monthly = monthly_rate(v[cost_of_capital]);
  if (saved_a_month > bought * monthly) {
    const double months =
        monthly > 0 ? -std::log(1 - bought * monthly / saved_a_month) / std::log(1 + monthly)
                    : bought / saved_a_month;
    if (months <= v[years] * kMonthsPerYear) result.months = months;
  }
  return result;
}

}  // namespace tessera::reports
