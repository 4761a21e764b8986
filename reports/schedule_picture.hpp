#pragma once

#include <string>
#include <vector>

#include "sim/core/timeline.hpp"

/// A step as people draw it on a board: pipeline ranks over time, a box an instruction.
namespace tessera::reports {

/// One instruction or wait of a rank.
struct PictureBox {
  std::string label;  ///< "F 3", "Bi 3 s5", "F 4 & B 3", "update"
  std::string kind;   ///< forward | backward | input_gradient | weight | overlapped | optimizer
  double start = 0;
  double end = 0;
};

struct SchedulePicture {
  std::string title;
  std::string unit;  ///< Of the times: "s"; empty: no axis.
  std::vector<std::string> rows;
  std::vector<std::vector<PictureBox>> boxes;  ///< By row, in order of time; gaps are idle.
  double end = 0;

  [[nodiscard]] bool empty() const { return rows.empty(); }
  /// Part of all rows' time that no box covers.
  [[nodiscard]] double idle() const;
};

/// The main streams of the timeline's pipeline ranks (processes named "pipeline rank ..."), in
/// seconds.
[[nodiscard]] SchedulePicture schedule_picture(const core::Timeline& timeline, std::string title);

/// A self-contained SVG element, the same on light and dark pages.
[[nodiscard]] std::string to_svg(const SchedulePicture& picture);

struct StripOptions {
  int width = 100;      ///< Columns, at least 40.
  bool colour = false;  ///< ANSI colours behind the letters.
};

/// One line a rank: what it does in each column, by letter (F forward, B backward, I input
/// gradient, W weight gradient, X overlapped pair, O optimizer, . idle), with the micro-batch where
/// boxes are wide enough; then a line that says so.
[[nodiscard]] std::string to_strip(const SchedulePicture& picture, const StripOptions& options);

}  // namespace tessera::reports
