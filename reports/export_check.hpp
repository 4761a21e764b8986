#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/device/export_rules.hpp"

/// Where a device stands under the export rules of a day. Information, not legal advice.
namespace tessera::reports {

/// What rules ask of a device, from its description.
struct ExportFigures {
  double tpp = 0;                             ///< At the quoted clock.
  double tpp_at_boost = 0;                    ///< The same at the highest clock.
  std::vector<core::DataType> tpp_types;      ///< All that reach it.
  std::optional<double> die_area_mm2;         ///< Applicable; empty: unknown.
  std::string die_area_note;                  ///< Whether it is confirmed, or why it is unknown.
  std::optional<double> performance_density;  ///< TPP / mm2; empty with the area.
  double dram_bandwidth = 0;                  ///< Bytes per second.
  double io_bandwidth = 0;                    ///< Bytes per second, both directions.
  bool host_link_known = false;               ///< Else `io_bandwidth` is NVLink alone.

  [[nodiscard]] std::optional<double> of(device::ExportFigure figure) const;
};

/// TPP is at most over types whose operands the tensor cores multiply themselves; NVLink and the
/// host link make the I/O bandwidth.
[[nodiscard]] ExportFigures export_figures_of(const device::DeviceSpec& device,
                                              const device::ExportRules& rules);

enum class Verdict { met, not_met, unknown };

/// One threshold and where the device stands against it.
struct ExportMargin {
  const device::ExportRule* rule;
  std::size_t prong;  ///< Index into rule->any_of.
  device::ExportFigure figure;
  bool at_least;  ///< Else the figure has to be below the threshold.
  double threshold;
  std::optional<double> value;   ///< Empty: unknown.
  std::optional<double> margin;  ///< value / threshold - 1.
  Verdict verdict;
};

/// The class that the rules of a day give.
struct ExportStanding {
  /// "3A090.a", "not controlled"; several in order when the die area decides and is unknown, or
  /// "no rule" before the first.
  std::vector<std::string> classes;
  std::string consequence;                     ///< Of the first class; empty when none needs one.
  const device::ExportRule* rule = nullptr;    ///< That gave the first class.
  const device::ExportRule* review = nullptr;  ///< That changed its consequence.

  /// "3A090.a: licence required; case by case" or "3A090.b or not controlled (die area unknown)".
  [[nodiscard]] std::string text() const;
  /// The same without the consequence.
  [[nodiscard]] std::string class_text() const;
};

/// A change of one figure that changes the standing, the others held (density moves with TPP).
struct ExportChange {
  device::ExportFigure figure;
  bool below;        ///< Else: from `threshold` on.
  double threshold;  ///< Nearest such value on this side.
  ExportStanding standing;
};

struct ExportCheck {
  std::string device;
  std::string date;
  ExportFigures figures;
  ExportStanding standing;
  std::vector<ExportMargin> margins;  ///< Of controls and reviews in force.
  std::vector<ExportChange> changes;
  /// The standing at the highest clock, when it differs from that at the quoted clock.
  std::optional<ExportStanding> at_boost;
};

/// Requires: is_date(date). `rules` must outlive the result.
[[nodiscard]] ExportCheck export_check(const device::DeviceSpec& device,
                                       const device::ExportRules& rules, const std::string& date);
[[nodiscard]] ExportStanding export_standing(const std::string& device,
                                             const ExportFigures& figures,
                                             const device::ExportRules& rules,
                                             const std::string& date);

/// Days on which a control or review begins or ends, rising.
[[nodiscard]] std::vector<std::string> turning_days(const device::ExportRules& rules);
/// The last day on which anything in the rules happened: how far they know.
[[nodiscard]] std::string last_day(const device::ExportRules& rules);

/// Everything about one device on one day, as text for a terminal.
[[nodiscard]] std::string to_text(const ExportCheck& check, const device::ExportRules& rules);
/// One line a device, one column a day; `checks` by device, then by day, equally many each.
[[nodiscard]] std::string to_export_table(const std::vector<std::vector<ExportCheck>>& checks,
                                          const device::ExportRules& rules);
/// A list of all checks as workloads/schema/export_check.json describes.
[[nodiscard]] std::string to_json(const std::vector<std::vector<ExportCheck>>& checks,
                                  const device::ExportRules& rules);

}  // namespace tessera::reports
