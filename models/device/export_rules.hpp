#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/core/config.hpp"

/// Export rules as data: which figures of a device make a licence necessary, from when to when, and
/// how sure the source is. Information, not legal advice.
namespace tessera::device {

/// What rules ask about.
enum class ExportFigure {
  tpp,                    ///< Total processing performance: dense TOP/s x bits, at most over types.
  performance_density,    ///< TPP over mm2 of logic dies on non-planar processes.
  dram_bandwidth,         ///< Bytes per second.
  io_bandwidth,           ///< Bytes per second, all links that are not memory, both directions.
  dram_and_io_bandwidth,  ///< Sum of the two.
};
[[nodiscard]] const std::vector<std::pair<std::string, ExportFigure>>& export_figures();
[[nodiscard]] std::string to_string(ExportFigure figure);

/// A half-open range that a figure has to lie in: [at_least, below).
struct ExportCriterion {
  ExportFigure figure;
  std::optional<double> at_least;
  std::optional<double> below;
};
/// Criteria that must all hold.
using ExportProng = std::vector<ExportCriterion>;

enum class ExportRuleKind {
  control,  ///< Who meets it needs a licence; the first that is met gives the class.
  review,   ///< How licences of those who meet it are decided, instead of the control's own way.
  event,    ///< Bears on exports, but no figure of a device decides it.
};
[[nodiscard]] std::string to_string(ExportRuleKind kind);

/// Whether a public source at hand states it.
enum class Confirmation { yes, partly, no };
[[nodiscard]] std::string to_string(Confirmation confirmation);

struct ExportRule {
  std::string name;
  ExportRuleKind kind;
  std::string export_class;          ///< Of a control: "3A090.a".
  std::string consequence;           ///< Of a control or review.
  std::string alternative;           ///< Of a control: what spares the licence, whoever reviews it.
  std::string from;                  ///< ISO date, the first day.
  std::optional<std::string> until;  ///< ISO date, the day after the last.
  Confirmation confirmed;
  std::string source;
  std::string note;
  std::vector<std::string> devices;  ///< Meet it by name.
  std::vector<ExportProng> any_of;

  [[nodiscard]] bool in_force(const std::string& date) const {
    return from <= date && (!until || date < *until);
  }
};

struct ExportRules {
  std::vector<std::string> non_planar_processes;  ///< Whose dies count as die area.
  std::vector<ExportRule> rules;                  ///< In the order of the file.
};

/// Whether the text is a day of the calendar as "2026-01-15".
[[nodiscard]] bool is_date(const std::string& text);

[[nodiscard]] core::LoadOptions export_rule_options(std::vector<core::Override> overrides = {});
/// Throws core::ConfigError with all mistakes.
[[nodiscard]] ExportRules read_export_rules(const core::ConfigDocument& document);
[[nodiscard]] ExportRules load_export_rules(const std::string& name_or_path = "export_rules");

}  // namespace tessera::device
