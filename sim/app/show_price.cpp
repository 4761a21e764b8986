#include "sim/app/show_price.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "calibrate/csv_table.hpp"
#include "models/device/cluster_file.hpp"
#include "models/device/price_list.hpp"
#include "reports/price_comparison.hpp"
#include "sim/app/catalogue.hpp"
#include "sim/app/scenario_cost.hpp"
#include "sim/core/data_root.hpp"

namespace tessera::app {
namespace {

constexpr const char* kAll = "all";
constexpr const char* kPublished = "workloads/published/ownership_costs.csv";
/// A cluster of one device whose nodes and network stand for all: eight nodes of eight, or part of
/// a rack.
constexpr const char* kTypicalCluster = "_64";

std::vector<reports::PublishedOwnership> published_of(const std::string& device) {
  const auto table = calibrate::CsvTable::load((core::data_root() / kPublished).string());
  std::vector<reports::PublishedOwnership> rows;
  for (std::size_t row = 0; row < table.size(); ++row)
    if (table.text(row, "device") == device)
      rows.push_back({std::string(table.text(row, "owner")),
                      table.number(row, "usd_per_gpu_hour").value_or(0),
                      fmt::format("{}, {}", table.text(row, "source"), table.text(row, "date"))});
  return rows;
}

[[noreturn]] void refuse_unlisted(const std::string& device, const char* what) {
  throw core::ConfigError({"tessera", 0, 0},
                          fmt::format("the price list has no {} of {}", what, device));
}

reports::PriceComparison comparison_of(const std::string& name, const device::PriceList& prices) {
  const std::vector<std::string> devices = names_of(kind_of("device"));
  const bool is_device = std::find(devices.begin(), devices.end(), name) != devices.end();
  const device::ClusterSpec cluster =
      device::load_cluster(is_device ? name + kTypicalCluster : name);
  const std::string& device = cluster.node.device.name;
  if (!prices.ownership.server.contains(device)) refuse_unlisted(device, "server price");
  if (!prices.rental.contains(device)) refuse_unlisted(device, "rental");
  return reports::compare_prices(device, cluster.name, prices.rental.at(device),
                                 ownership_of(prices, cluster), published_of(device));
}

}  // namespace

void show_price(const std::string& name, const std::vector<std::string>& set,
                const std::string& format) {
  if (!format.empty() && format != "text" && format != "json")
    throw core::ConfigError(
        {"tessera", 0, 0},
        fmt::format("--format: found '{}'; prices are shown as text or json", format));
  const device::PriceList prices = device::read_prices(
      core::ConfigDocument::load("prices", device::price_options(core::parse_overrides(set))));
  std::vector<reports::PriceComparison> comparisons;
  const std::vector<std::string> names =
      name == kAll ? names_of(kind_of("device")) : std::vector<std::string>{name};
  for (const std::string& one : names) comparisons.push_back(comparison_of(one, prices));
  if (format == "json")
    fmt::print("{}", reports::to_json(comparisons));
  else if (comparisons.size() == 1)
    fmt::print("{}", reports::to_text(comparisons.front()));
  else
    fmt::print("{}", reports::to_price_table(comparisons));
}

}  // namespace tessera::app
