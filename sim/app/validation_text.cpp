#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "calibrate/neighbours.hpp"
#include "models/gpu/gpu.hpp"
#include "sim/app/percent_text.hpp"
#include "sim/app/validation.hpp"

namespace tessera::app {
namespace {

using calibrate::GroupScore;
using calibrate::Scored;
using calibrate::ScoreSelection;
using calibrate::Use;

constexpr std::size_t kWorstRows = 10;
constexpr double kAboveFloor = 2;

const char* name_of(gpu::Fidelity fidelity) {
  return fidelity == gpu::Fidelity::cycle ? "cycle" : "analytical";
}

std::string group_head() {
  return fmt::format("{:<58} {:>6} {:>7} {:>8} {:>8} {:>9} {:>8} {:>7}\n", "group", "rows", "cover",
                     "median", "p90", "max", "bias", "in90");
}

std::string group_line(const std::string& group, const GroupScore& s) {
  return fmt::format("{:<58} {:>6} {:>7} {:>8} {:>8} {:>9} {:>8} {:>7}\n", group, s.rows,
                     percent(s.cover()), percent(s.median), percent(s.p90), percent(s.max),
                     signed_percent(s.bias), percent(s.in90()));
}

std::map<std::string, GroupScore> groups(const ValidatedFile& file, const Validation& validation,
                                         double above_floor, Use use) {
  return calibrate::score_groups(
      file.scored,
      {.by = columns_of(file, validation.options), .above_floor = above_floor, .use = use});
}

/// The groups of all files, the largest median first; those without predictions last.
std::string group_table(const Validation& validation, double above_floor, Use use) {
  std::vector<std::pair<std::string, GroupScore>> all;
  for (const ValidatedFile& file : validation.files)
    for (const auto& entry : groups(file, validation, above_floor, use)) all.push_back(entry);
  const auto badness = [](const GroupScore& s) { return s.predicted == 0 ? -1.0 : s.median; };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return badness(a.second) > badness(b.second);
  });
  std::string text;
  for (const auto& [group, score] : all) text += group_line(group, score);
  return text.empty() ? "none\n" : group_head() + text;
}

/// A family in one line: the median over its groups and its worst group.
std::string family_line(const ValidatedFile& file, const Validation& validation) {
  const auto scores = groups(file, validation, 0, Use::score);
  std::vector<double> medians, p90s;
  const GroupScore* worst = nullptr;
  std::string worst_name;
  for (const auto& [name, score] : scores) {
    if (score.predicted == 0) continue;
    medians.push_back(score.median);
    p90s.push_back(score.p90);
    if (worst != nullptr && score.median <= worst->median) continue;
    worst = &score;
    worst_name = name.substr(std::min(name.size(), file.scored.file.size() + 1));
  }
  const auto whole = calibrate::score_groups(file.scored, {.by = {"file"}});
  const GroupScore all = whole.empty() ? GroupScore{} : whole.begin()->second;
  return fmt::format(
      "{:<22} {:>6} {:>7} {:>8} {:>8} {:>8} {:>7}  {}\n", file.scored.file, all.rows,
      percent(all.cover()), percent(calibrate::quantile(medians, 0.5)),
      percent(calibrate::quantile(p90s, 0.5)), signed_percent(all.bias), percent(all.in90()),
      worst == nullptr ? "-" : fmt::format("{} {}", percent(worst->median), worst_name));
}

std::string family_table(const Validation& validation) {
  std::string text = fmt::format("{:<22} {:>6} {:>7} {:>8} {:>8} {:>8} {:>7}  {}\n", "family",
                                 "rows", "cover", "median", "p90", "bias", "in90", "worst group");
  for (const ValidatedFile& file : validation.files) text += family_line(file, validation);
  return text +
         "median and p90: the median over the family's groups; bias and in90: over its rows"
         " (DeepEP: combine; power: latency).\n";
}

std::string worst_rows(const ValidatedFile& file) {
  std::string text;
  const calibrate::CsvTable& table = file.scored.table;
  for (const Scored& n : worst_of(file, kWorstRows))
    text += fmt::format("  {:>10} {:>12.2f} {:>12.2f}  {:<9} {:<22} {} {} {} {}{}\n",
                        signed_percent(n.error()), n.measured, *n.predicted,
                        file.binding[n.row].empty() ? "-" : file.binding[n.row],
                        calibrate::company(file.scored, n), table.text(n.row, "gpu"),
                        table.text(n.row, "framework"), table.text(n.row, "dtype"),
                        shape_of(table, n.row), n.part.empty() ? "" : " (" + n.part + ")");
  if (text.empty()) return "";
  return fmt::format("{}\n  {:>10} {:>12} {:>12}  {:<9} {:<22} row\n", file.scored.file, "error",
                     "measured", "predicted", "bound by", "near shapes") +
         text;
}

std::string fidelity_table(const Validation& validation) {
  std::string text = fmt::format("{:<58} {:>8} {:>8} {:>10} {:>8}\n", "group",
                                 name_of(validation.options.fidelities[0]), "p90",
                                 name_of(validation.options.fidelities[1]), "p90");
  for (const ValidatedFile& file : validation.files) {
    const auto first = groups(file, validation, 0, Use::score);
    const auto second =
        calibrate::score_groups(*file.other, {.by = columns_of(file, validation.options)});
    for (const auto& [name, score] : first) {
      const GroupScore& other = second.at(name);
      text += fmt::format("{:<58} {:>8} {:>8} {:>10} {:>8}{}\n", name, percent(score.median),
                          percent(score.p90), percent(other.median), percent(other.p90),
                          score.median > other.median ? "  worse than the second" : "");
    }
  }
  return text;
}

/// Tessera against the fitted roofline on the test half, group by group.
std::string roofline_table(const ValidatedFile& file) {
  std::string text = fmt::format("{:<44} {:>6} {:>9} {:>8} {:>9} {:>8} {:>8}\n", "group", "rows",
                                 "roofline", "p90", "Tessera", "p90", "better");
  const auto scores = calibrate::score_groups(
      file.scored, {.by = {"gpu", "framework", "dtype"}, .half = calibrate::Half::test});
  std::vector<double> factors;
  for (const auto& [group, roofline] : file.rooflines) {
    const auto own = scores.find(group);
    if (own == scores.end() || own->second.predicted == 0) continue;
    factors.push_back(roofline.median / own->second.median);
    text += fmt::format("{:<44} {:>6} {:>9} {:>8} {:>9} {:>8} {:>6.1f} x\n", group, roofline.rows,
                        percent(roofline.median), percent(roofline.p90),
                        percent(own->second.median), percent(own->second.p90), factors.back());
  }
  return text + fmt::format("median over groups: {:.1f} times better\n",
                            calibrate::quantile(factors, 0.5));
}

std::string refusals(const Validation& validation) {
  std::string text;
  for (const ValidatedFile& file : validation.files)
    for (const auto& [reason, count] : file.reasons)
      text += fmt::format("{:>8}  {}: {}\n", count, file.scored.file, reason);
  return text.empty() ? "none\n" : text;
}

std::string heading(const std::string& text) { return "\n" + text + "\n"; }

std::string title(const Validation& validation) {
  const ValidationOptions& o = validation.options;
  std::size_t rows = 0;
  for (const ValidatedFile& file : validation.files) rows += file.scored.table.size();
  return fmt::format(
      "Kernels, predicted against measured: {} rows{}{}, fidelity {}, model version {}\n\n", rows,
      !o.half                            ? ""
      : *o.half == calibrate::Half::test ? " of the test half"
                                         : " of the fitted half",
      o.rows > 0 ? fmt::format(", at most {} a file", o.rows) : "", name_of(o.fidelities.front()),
      gpu::kModelVersion);
}

}  // namespace

std::string to_text(const Validation& validation) {
  std::string text = title(validation) + family_table(validation) +
                     heading(
                         "Worst rows of each family, by predicted / measured; near shapes err "
                         "alike (with others: the model misses a pattern) or not (alone: the "
                         "library's choice for one shape, or the measurement)");
  for (const ValidatedFile& file : validation.files) text += worst_rows(file);
  text += heading("All rows, worst group first") + group_table(validation, 0, Use::score) +
          heading("Rows above twice the smallest of their group") +
          group_table(validation, kAboveFloor, Use::score) +
          heading("Library rows, without a bar") + group_table(validation, 0, Use::library);
  if (validation.options.fidelities.size() > 1)
    text += heading("Fidelities side by side, medians and p90") + fidelity_table(validation);
  for (const ValidatedFile& file : validation.files)
    if (!file.rooflines.empty())
      text += heading("GEMM on the test half against constant + roofline, fitted group by group") +
              roofline_table(file);
  return text + heading("Not modelled, rows by reason") + refusals(validation);
}

}  // namespace tessera::app
