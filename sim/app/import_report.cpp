#include "sim/app/import_report.hpp"

#include <fmt/format.h>

#include <map>

namespace tessera::app {
namespace {

struct FamilySum {
  std::size_t rows = 0, calls = 0, shaped = 0;
  double total_us = 0;
};

void add_reasons(const std::string& title, const std::map<std::string, std::size_t>& reasons,
                 std::string& text) {
  if (reasons.empty()) return;
  text += title + "\n";
  for (const auto& [reason, count] : reasons) text += fmt::format("{:>10}  {}\n", count, reason);
}

}  // namespace

std::string import_table(const calibrate::Import& import, const std::string& input,
                         const std::string& output) {
  std::map<calibrate::KernelFamily, FamilySum> families;
  std::map<std::string, std::size_t> unknown;
  for (const calibrate::ImportedRow& row : import.rows) {
    FamilySum& sum = families[row.family];
    ++sum.rows;
    sum.calls += row.calls;
    sum.total_us += row.total_us;
    if (row.why_unknown.empty()) {
      sum.shaped += row.calls;
    } else {
      unknown[row.why_unknown] += row.calls;
    }
  }
  std::string text = fmt::format("{} -> {}: {} rows\n", input, output, import.rows.size());
  text += fmt::format("{:<12}{:>8}{:>10}{:>12}{:>14}\n", "family", "rows", "calls", "with shape",
                      "time, ms");
  for (const auto& [family, sum] : families)
    text += fmt::format("{:<12}{:>8}{:>10}{:>10.1f} %{:>14.3f}\n", calibrate::to_string(family),
                        sum.rows, sum.calls,
                        100 * static_cast<double>(sum.shaped) / static_cast<double>(sum.calls),
                        sum.total_us / 1e3);
  add_reasons("shape unknown, calls", unknown, text);
  add_reasons("skipped", import.skipped, text);
  for (const std::string& note : import.notes) text += fmt::format("note: {}\n", note);
  return text;
}

}  // namespace tessera::app
