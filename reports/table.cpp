#include "reports/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "reports/aggregate.hpp"
#include "reports/anatomy.hpp"
#include "reports/format.hpp"

namespace tessera::reports {
namespace {

using Cells = std::vector<std::string>;

std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// The first `width` code points.
std::string first_columns(const std::string& text, std::size_t width) {
  std::size_t at = 0;
  for (std::size_t shown = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && shown++ == width) break;
  }
  return text.substr(0, at);
}

/// The text, cut to `width` columns and ended by an ellipsis when it is longer.
std::string fitted(const std::string& text, std::size_t width, bool utf8) {
  if (display_width(text) <= width) return text;
  return utf8 ? first_columns(text, width - 1) + "…" : first_columns(text, width - 3) + "...";
}

/// Rows of cells under a heading; the first column is aligned left, numbers right.
class Section {
 public:
  /// `alignment`: one letter a column, l or r. `flexible` is the column that is cut when the line
  /// gets too long.
  Section(std::string title, std::string alignment, std::size_t flexible, Cells heads)
      : title_(std::move(title)), alignment_(std::move(alignment)), flexible_(flexible) {
    rows_.push_back(std::move(heads));
  }
  void add(Cells cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] bool empty() const { return rows_.size() == 1; }

  [[nodiscard]] std::string text(const TableOptions& options) const {
    const std::vector<std::size_t> widths = column_widths(options);
    std::size_t total = 2 * (widths.size() - 1);
    for (const std::size_t width : widths) total += width;
    const auto limit = static_cast<std::size_t>(options.width);
    total = std::min(total, limit);
    std::string rule;
    for (std::size_t i = 0; i < total; ++i) rule += options.utf8 ? "─" : "-";
    std::string text = "\n" + fitted(title_, limit, options.utf8) + "\n" + rule + "\n";
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      text += line(rows_[i], widths, options);
      if (i == 0) text += rule + "\n";
    }
    return text;
  }

 private:
  [[nodiscard]] std::vector<std::size_t> column_widths(const TableOptions& options) const {
    std::vector<std::size_t> widths(alignment_.size(), 0);
    std::size_t total = 2 * (widths.size() - 1);
    for (std::size_t column = 0; column < widths.size(); ++column) {
      for (const Cells& row : rows_)
        widths[column] = std::max(widths[column], display_width(row[column]));
      total += widths[column];
    }
    const auto limit = static_cast<std::size_t>(options.width);
    constexpr std::size_t kNarrowest = 12;
    for (const std::size_t column : {flexible_, std::size_t{0}}) {
      if (total <= limit || widths[column] <= kNarrowest) continue;
      const std::size_t cut = std::min(total - limit, widths[column] - kNarrowest);
      widths[column] -= cut;
      total -= cut;
    }
    return widths;
  }

  [[nodiscard]] std::string line(const Cells& cells, const std::vector<std::size_t>& widths,
                                 const TableOptions& options) const {
    std::string text;
    for (std::size_t column = 0; column < cells.size(); ++column) {
      const std::string cell = fitted(cells[column], widths[column], options.utf8);
      const std::string padding(widths[column] - display_width(cell), ' ');
      if (column > 0) text += "  ";
      text += alignment_[column] == 'l' ? cell + padding : padding + cell;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return fitted(text, static_cast<std::size_t>(options.width), options.utf8) + "\n";
  }

  std::string title_;
  std::string alignment_;
  std::size_t flexible_;
  std::vector<Cells> rows_;
};

Section summary(const core::Result& result) {
  Section section{"Summary", "lrll", 2, {"quantity", "predicted", "90 % interval", "grade"}};
  for (const auto& [name, predicted] : headline_first(result)) {
    const core::Estimate estimate = shown(name, predicted);
    section.add({label(name), quantity(estimate.value, estimate.unit), interval(estimate),
                 core::to_string(estimate.grade)});
  }
  return section;
}

Section published(const core::Result& result) {
  Section section{"Published beside predicted (error: predicted / published - 1)",
                  "lrrrl",
                  4,
                  {"quantity", "published", "predicted", "error", "source"}};
  for (const core::PublishedRow& row : result.published) {
    const auto error = row.error();
    const std::string unit = shown_unit(row.quantity, row.unit);
    section.add({label(row.quantity), quantity(row.published, unit),
                 row.predicted ? quantity(*row.predicted, unit) : "-",
                 error ? signed_percent(*error) : "-", row.source});
  }
  return section;
}

Section phases(const PhaseTable& table, std::size_t ranks) {
  Cells heads{"phase"};
  heads.insert(heads.end(), table.heads.begin(), table.heads.end());
  if (table.names_rank) heads.emplace_back("on rank");
  heads.emplace_back("grade");
  std::string title =
      table.by_binding ? "The same time by what bounds it" : "Step time by phase, exclusive";
  if (table.names_rank) title += fmt::format(", over {} ranks", ranks);
  Section section{title,
                  "l" + std::string(table.heads.size(), 'r') + (table.names_rank ? "ll" : "l"), 0,
                  std::move(heads)};
  for (const PhaseTable::Row& row : table.rows) {
    Cells cells{row.phase};
    for (const std::optional<double>& seconds : row.seconds)
      cells.push_back(seconds ? quantity(*seconds, "s") : "-");
    if (table.names_rank) cells.push_back(row.highest_rank);
    cells.push_back(core::to_string(row.grade));
    section.add(std::move(cells));
  }
  return section;
}

Section memory(const core::Result& result) {
  const MemoryUse use = memory_over_ranks(result);
  std::string title = fmt::format("Memory of one GPU: {} on rank {}, the fullest",
                                  quantity(use.worst_total, "B"), use.worst_rank);
  if (result.machine.hbm_bytes > 0)
    title += fmt::format(", of {}", quantity(result.machine.hbm_bytes, "B"));
  Section section{title, "lrrr", 0, {"kind", "fullest rank", "lowest", "highest"}};
  for (const MemorySummary& row : use.kinds)
    section.add({label(row.kind), quantity(row.on_worst_rank, "B"), quantity(row.lowest, "B"),
                 quantity(row.highest, "B")});
  return section;
}

Section memory_formats(const core::Result& result) {
  double all = 0;
  for (const core::MemoryFormatRow& row : result.memory_formats) all += row.bytes;
  Section section{"What number formats hold: memory of the fullest rank",
                  "llrr",
                  0,
                  {"kind", "format", "bytes", "share"}};
  for (const core::MemoryFormatRow& row : result.memory_formats)
    section.add({label(row.kind), row.format, quantity(row.bytes, "B"),
                 fmt::format("{:.1f} %", 100 * row.bytes / all)});
  return section;
}

Section kernels(const core::Result& result, const TableOptions& options) {
  const auto rows = kernels_by_time(result);
  const std::size_t shown = std::min(options.kernels, rows.size());
  Section section{fmt::format("Kernels by time in a step, {} of {}; time by what binds: {}", shown,
                              rows.size(), shares_text(time_by_binding(result))),
                  "llrrrrll",
                  1,
                  {"kernel", "shape", "calls", "a call", "a step", "rate", "bound by", "grade"}};
  for (std::size_t i = 0; i < shown; ++i) {
    const core::KernelRow& row = *rows[i];
    const double rate = row.time.value > 0 ? row.flops / row.time.value : 0;
    section.add({row.name, row.shape, count(row.calls_per_step), quantity(row.time.value, "s"),
                 quantity(seconds_per_step(row), "s"), rate > 0 ? quantity(rate, "FLOP/s") : "-",
                 row.binding, core::to_string(row.time.grade)});
  }
  return section;
}

Section anatomy(const core::Result& result) {
  const std::vector<AnatomyRow> rows = precision_anatomy(result);
  double all = 0;
  for (const AnatomyRow& row : rows) all += row.seconds();
  Section section{"What number formats cost: kernel time of the busiest rank in a step",
                  "lrrrrrr",
                  0,
                  {"kernels", "forward", "input grad.", "weight grad.", "a step", "share", "HBM"}};
  for (const AnatomyRow& row : rows)
    section.add({label(row.line), quantity(row.forward, "s"), quantity(row.input_gradient, "s"),
                 quantity(row.weight_gradient, "s"), quantity(row.seconds(), "s"),
                 fmt::format("{:.1f} %", 100 * row.seconds() / all), quantity(row.hbm_bytes, "B")});
  return section;
}

Section network(const core::Result& result) {
  Section section{"Communication of one rank in a step",
                  "llrrrrl",
                  0,
                  {"operation", "fabric", "bytes", "time", "rate", "exposed", "grade"}};
  for (const core::NetworkRow& row : result.network)
    section.add({label(row.operation), label(row.fabric), quantity(row.bytes_per_rank, "B"),
                 quantity(row.time.value, "s"), quantity(row.bus_bandwidth, "B/s"),
                 quantity(row.exposed_seconds, "s"), core::to_string(row.time.grade)});
  return section;
}

Section bill(const std::string& title, const std::vector<core::CostRow>& rows) {
  Section section{title, "lrlll", 4, {"item", "amount", "90 % interval", "grade", "source"}};
  for (const core::CostRow& row : rows)
    section.add({label(row.item), quantity(row.amount.value, row.amount.unit), interval(row.amount),
                 core::to_string(row.amount.grade), row.source});
  return section;
}

Section sensitivity(const core::Result& result) {
  Section section{"If a choice that is not published were another",
                  "llrr",
                  1,
                  {"choice", "value", "quantity", "change"}};
  for (const core::SensitivityRow& row : result.sensitivity)
    section.add({label(row.choice), row.value,
                 row.refused ? "refused" : quantity(row.quantity.value, row.quantity.unit),
                 row.refused ? "-" : signed_percent(row.relative_change)});
  return section;
}

/// Sentences as a list, wrapped at the width.
std::string sentences(const std::string& title, const std::vector<std::string>& lines,
                      const TableOptions& options) {
  if (lines.empty()) return "";
  std::string text = "\n" + title + "\n";
  const auto width = static_cast<std::size_t>(options.width);
  for (const std::string& sentence : lines) {
    std::string line = " -";
    std::size_t at = 0;
    while (at < sentence.size()) {
      const std::size_t end = std::min(sentence.find(' ', at), sentence.size());
      const std::string word = sentence.substr(at, end - at);
      if (display_width(line) + 1 + display_width(word) > width && line.size() > 2) {
        text += line + "\n";
        line = "  ";
      }
      line += " " + word;
      at = end + 1;
    }
    text += fitted(line, width, options.utf8) + "\n";
  }
  return text;
}

std::string head(const core::Result& result) {
  std::string text = result.title.empty() ? result.job : result.title;
  const core::MachineRow& machine = result.machine;
  if (!machine.device.empty()) {
    text += fmt::format("\n{} x {}", count(machine.gpus), machine.device);
    if (!machine.cluster.empty()) text += fmt::format(" ({})", machine.cluster);
  }
  text += "\n";
  if (!result.tessera_version.empty())
    text += fmt::format("tessera {}, fits: {}\n", result.tessera_version,
                        result.fits.empty() ? "none" : result.fits);
  if (result.refused) text += "\nRefused: " + *result.refused + "\n";
  return text;
}

}  // namespace

std::string to_table(const core::Result& result, const TableOptions& options) {
  constexpr int kNarrowestTerminal = 60;
  TableOptions within = options;
  within.width = std::max(within.width, kNarrowestTerminal);
  std::string text = head(result);
  std::vector<Section> sections{summary(result), published(result)};
  for (const PhaseTable& table : phase_tables(result))
    sections.push_back(phases(table, ranks_of(result.phases).size()));
  for (Section& section : std::vector<Section>{
           memory(result), memory_formats(result), kernels(result, within), anatomy(result),
           network(result), bill("Cost", result.cost), bill("Energy", result.energy),
           bill("Weeks of training, with failures", result.goodput), sensitivity(result)})
    sections.push_back(std::move(section));
  for (const Section& section : sections)
    if (!section.empty()) text += section.text(within);
  text += sentences("Alternatives that are refused", refused_alternatives(result), within);
  text += sentences("Warnings", result.warnings, within);
  text += sentences("Assumptions", result.assumptions, within);
  return text;
}

}  // namespace tessera::reports
