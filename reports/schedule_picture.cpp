#include "reports/schedule_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "reports/format.hpp"
#include "reports/page.hpp"

namespace tessera::reports {
namespace {

/// How a kind of box is drawn; colours are those of reports/web/theme.js.
struct Look {
  const char* kind;
  const char* name;
  char letter;
  const char* fill;
  const char* ansi;  ///< Background of a terminal's 256 colours.
};
constexpr Look kLooks[] = {
    {"forward", "forward", 'F', "#4477cc", "68"},
    {"backward", "backward", 'B', "#e08a1e", "172"},
    {"input_gradient", "input gradient", 'I', "#f0b35f", "215"},
    {"weight", "weight gradient", 'W', "#2a9d8f", "36"},
    {"overlapped", "forward and backward overlapped", 'X', "#c8553d", "167"},
    {"optimizer", "optimizer", 'O', "#8e6bbf", "97"},
};
constexpr const char* kIdleFill = "#e4e7ec";

const Look& look_of(const std::string& kind) {
  const auto* found = std::find_if(std::begin(kLooks), std::end(kLooks),
                                   [&](const Look& look) { return kind == look.kind; });
  return found == std::end(kLooks) ? kLooks[std::size(kLooks) - 1] : *found;
}

/// Looks that the picture uses, in order.
std::vector<const Look*> looks_in(const SchedulePicture& picture) {
  std::vector<const Look*> used;
  for (const Look& look : kLooks) {
    const bool drawn =
        std::any_of(picture.boxes.begin(), picture.boxes.end(), [&](const auto& row) {
          return std::any_of(row.begin(), row.end(),
                             [&](const PictureBox& box) { return &look_of(box.kind) == &look; });
        });
    if (drawn) used.push_back(&look);
  }
  return used;
}

/// The label's micro-batch with its prime, "3'" of "F 3' s5"; empty for other labels.
std::string number_of(const std::string& label) {
  const std::size_t first = label.find(' ');
  if (first == std::string::npos || first + 1 >= label.size()) return "";
  const std::string rest = label.substr(first + 1, label.find(' ', first + 1) - first - 1);
  return rest.front() >= '0' && rest.front() <= '9' ? rest : "";
}

// Pixels of the drawing.
constexpr double kLeft = 70, kWidth = 1200, kRowHeight = 22, kBoxHeight = 18, kTop = 52;
constexpr double kLabelPixels = 6.2;  ///< Of one digit at the labels' size.

class SvgWriter {
 public:
  explicit SvgWriter(const SchedulePicture& picture)
      : picture_(picture), scale_(kWidth / std::max(picture.end, 1e-300)) {}

  std::string write() {
    const double height = kTop + kRowHeight * static_cast<double>(picture_.rows.size()) + 24;
    text_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" width=\"100%\" "
        "role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n<title>{}</title>\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        "<text x=\"8\" y=\"18\" font-size=\"13\" fill=\"#1c2430\">{}, {:.1f} % idle</text>\n",
        kLeft + kWidth + 10, height, escape_html(picture_.title), escape_html(picture_.title),
        100 * picture_.idle());
    legend();
    for (std::size_t row = 0; row < picture_.rows.size(); ++row) write_row(row);
    axis(height - 6);
    return text_ + "</svg>\n";
  }

 private:
  void legend() {
    double x = kLeft;
    const auto entry = [&](const char* fill, const std::string& name) {
      text_ += fmt::format(
          "<rect x=\"{:.0f}\" y=\"30\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"{:.0f}\" "
          "y=\"40\" fill=\"#1c2430\">{}</text>\n",
          x, fill, x + 15, name);
      x += 32 + kLabelPixels * static_cast<double>(name.size());
    };
    for (const Look* look : looks_in(picture_)) entry(look->fill, look->name);
    entry(kIdleFill, "idle");
  }

  void write_row(std::size_t row) {
    const double y = kTop + kRowHeight * static_cast<double>(row);
    text_ += fmt::format(
        "<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\" fill=\"#1c2430\">{}</text>\n"
        "<rect x=\"{:.0f}\" y=\"{:.1f}\" width=\"{:.0f}\" height=\"{:.0f}\" fill=\"{}\"/>\n",
        kLeft - 8, y + 13, escape_html(picture_.rows[row]), kLeft, y, kWidth, kBoxHeight,
        kIdleFill);
    for (const PictureBox& box : picture_.boxes[row]) write_box(box, y);
  }

  void write_box(const PictureBox& box, double y) {
    const double x = kLeft + box.start * scale_, width = (box.end - box.start) * scale_;
    const Look& look = look_of(box.kind);
    const double stroke = width > 3 ? 0.5 : 0;
    text_ += fmt::format("<g><title>{} {} to {}</title>", escape_html(box.label), time(box.start),
                         time(box.end));
    if (box.kind == "overlapped") {  // the forward above, the backward below
      rect(x, y, width, kBoxHeight / 2, kLooks[0].fill, stroke);
      rect(x, y + kBoxHeight / 2, width, kBoxHeight / 2, kLooks[1].fill, stroke);
    } else {
      rect(x, y, width, kBoxHeight, look.fill, stroke);
    }
    const std::string number = number_of(box.label);
    if (!number.empty() && width >= kLabelPixels * static_cast<double>(number.size()) + 2) {
      text_ += fmt::format(
          "<text x=\"{:.2f}\" y=\"{:.1f}\" text-anchor=\"middle\" font-size=\"10\" "
          "fill=\"#ffffff\">{}</text>",
          x + width / 2, y + 13, escape_html(number));
    }
    text_ += "</g>\n";
  }

  void rect(double x, double y, double width, double height, const char* fill, double stroke) {
    text_ += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" fill=\"{}\"{}/>", x, y,
        width, height, fill,
        stroke > 0 ? fmt::format(" stroke=\"#ffffff\" stroke-width=\"{:.1f}\"", stroke) : "");
  }

  [[nodiscard]] std::string time(double value) const {
    return picture_.unit.empty() ? fmt::format("{:g}", value) : quantity(value, picture_.unit);
  }

  void axis(double y) {
    constexpr int kMarks = 5;
    for (int i = 0; i <= kMarks; ++i) {
      const double part = static_cast<double>(i) / kMarks;
      text_ += fmt::format(
          "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"{}\" fill=\"#5b6675\">{}</text>\n",
          kLeft + part * kWidth, y, i == 0 ? "start" : (i == kMarks ? "end" : "middle"),
          time(part * picture_.end));
    }
  }

  const SchedulePicture& picture_;
  double scale_;
  std::string text_;
};

/// A row's columns: a letter each, and which box it shows.
struct Columns {
  std::string letters;
  std::vector<const PictureBox*> boxes;  ///< By column; null: idle.
};

Columns columns_of(const std::vector<PictureBox>& row, double per_column, std::size_t count) {
  Columns columns{std::string(count, '.'), std::vector<const PictureBox*>(count, nullptr)};
  std::size_t at = 0;
  for (std::size_t column = 0; column < count; ++column) {
    const double middle = (static_cast<double>(column) + 0.5) * per_column;
    while (at < row.size() && row[at].end <= middle) ++at;
    if (at == row.size()) break;
    if (row[at].start > middle) continue;
    columns.boxes[column] = &row[at];
    columns.letters[column] = look_of(row[at].kind).letter;
  }
  return columns;
}

/// Writes the micro-batch behind the first letter of boxes that have room for it.
void number_columns(Columns& columns) {
  for (std::size_t first = 0; first < columns.boxes.size();) {
    std::size_t end = first + 1;
    while (end < columns.boxes.size() && columns.boxes[end] == columns.boxes[first]) ++end;
    if (columns.boxes[first] != nullptr) {
      const std::string number = number_of(columns.boxes[first]->label);
      if (!number.empty() && number.size() < end - first) {
        columns.letters.replace(first + 1, end - first - 1,
                                number + std::string(end - first - 1 - number.size(), ' '));
      }
    }
    first = end;
  }
}

std::string coloured(const Columns& columns) {
  std::string text;
  const char* before = nullptr;
  for (std::size_t i = 0; i < columns.letters.size(); ++i) {
    const PictureBox* box = columns.boxes[i];
    const char* ansi = box == nullptr ? nullptr : look_of(box->kind).ansi;
    if (ansi != before) text += ansi == nullptr ? "\033[0m" : fmt::format("\033[30;48;5;{}m", ansi);
    before = ansi;
    text += columns.letters[i];
  }
  return text + (before == nullptr ? "" : "\033[0m");
}

}  // namespace

double SchedulePicture::idle() const {
  double busy = 0;
  for (const auto& row : boxes) {
    for (const PictureBox& box : row) busy += box.end - box.start;
  }
  const double whole = end * static_cast<double>(rows.size());
  return whole > 0 ? 1 - busy / whole : 0;
}

SchedulePicture schedule_picture(const core::Timeline& timeline, std::string title) {
  constexpr std::string_view kRank = "pipeline rank ";
  SchedulePicture picture{.title = std::move(title), .unit = "s"};
  std::map<int, std::size_t> row_of;
  for (const auto& [id, name] : timeline.processes) {
    if (!name.starts_with(kRank)) continue;
    row_of.emplace(id, picture.rows.size());
    picture.rows.push_back("rank " +
                           name.substr(kRank.size(), name.find(' ', kRank.size()) - kRank.size()));
    picture.boxes.emplace_back();
  }
  for (const core::Span& span : timeline.spans) {
    const auto row = row_of.find(span.process);
    if (row == row_of.end() || span.thread != 0 || span.category == "bubble") continue;
    const double start = core::to_seconds(span.start).value();
    const double end = start + core::to_seconds(span.duration).value();
    const bool input_only = span.category == "backward" && span.name.starts_with("Bi ");
    picture.boxes[row->second].push_back(
        {span.name, input_only ? "input_gradient" : span.category, start, end});
    picture.end = std::max(picture.end, end);
  }
  for (auto& row : picture.boxes) {
    std::stable_sort(row.begin(), row.end(),
                     [](const PictureBox& a, const PictureBox& b) { return a.start < b.start; });
  }
  return picture;
}

std::string to_svg(const SchedulePicture& picture) { return SvgWriter(picture).write(); }

std::string to_strip(const SchedulePicture& picture, const StripOptions& options) {
  std::size_t margin = 0;
  for (const std::string& row : picture.rows) margin = std::max(margin, row.size() + 1);
  const std::size_t room = static_cast<std::size_t>(std::max(options.width, 40)) - margin;
  double shortest = std::numeric_limits<double>::infinity();
  for (const auto& row : picture.boxes) {
    for (const PictureBox& box : row) shortest = std::min(shortest, box.end - box.start);
  }
  // Whole columns for the shortest box where it gets one: at most its letter, two digits, a space.
  constexpr double kWidest = 4;
  const double columns_of_shortest =
      std::min(kWidest, std::floor(shortest * static_cast<double>(room) / picture.end));
  const double per_column = columns_of_shortest >= 1 ? shortest / columns_of_shortest
                                                     : picture.end / static_cast<double>(room);
  const auto count = static_cast<std::size_t>(std::llround(picture.end / per_column));
  std::string text;
  for (std::size_t row = 0; row < picture.rows.size(); ++row) {
    Columns columns = columns_of(picture.boxes[row], per_column, count);
    number_columns(columns);
    text += fmt::format("{:<{}}{}\n", picture.rows[row], margin,
                        options.colour ? coloured(columns) : columns.letters);
  }
  std::string legend;
  for (const Look* look : looks_in(picture))
    legend += fmt::format("{} {}, ", look->letter, look->name);
  return text + fmt::format("{}. idle ({:.1f} %)\n", legend, 100 * picture.idle());
}

}  // namespace tessera::reports
