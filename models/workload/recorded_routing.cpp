#include "models/workload/recorded_routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

constexpr std::size_t kMostMistakes = 20;
/// Rows that still add up in 64 bits over all experts.
constexpr std::int64_t kMostRows = 1'000'000'000'000;

struct Cell {
  std::string_view text;
  int column;  ///< Of its first character, from 1.
};

std::vector<Cell> cells_of(std::string_view line) {
  std::vector<Cell> cells;
  std::size_t start = 0;
  while (true) {
    const std::size_t end = std::min(line.find(',', start), line.size());
    const std::size_t first = std::min(line.find_first_not_of(' ', start), end);
    std::size_t last = end;
    while (last > first && line[last - 1] == ' ') --last;
    cells.push_back({line.substr(first, last - first), static_cast<int>(first) + 1});
    if (end == line.size()) return cells;
    start = end + 1;
  }
}

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class Reader {
 public:
  Reader(const std::string& file, std::int64_t experts, std::int64_t top_k)
      : file_(file), experts_(experts), top_k_(top_k) {}

  RecordedRouting read(std::string_view text) {
    for (int number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      line_ = number;
      if (columns_ == 0)
        read_head(cells_of(line));
      else if (!line.empty())
        read_line(cells_of(line));
      if (mistakes_.size() >= kMostMistakes) break;
    }
    check_layers();
    if (!mistakes_.empty()) throw core::ConfigError(std::move(mistakes_));
    RecordedRouting routing{file_, {}};
    for (auto& [number, layer] : layers_) routing.layers.push_back(std::move(layer));
    return routing;
  }

 private:
  void fail(int line, int column, std::string message) {
    mistakes_.push_back({{file_, line, column}, std::move(message)});
  }

  void read_head(const std::vector<Cell>& head) {
    columns_ = head.size();
    std::map<std::string_view, std::size_t> at;
    for (std::size_t i = 0; i < head.size(); ++i) at.emplace(head[i].text, i);
    const auto column = [&](std::string_view name) -> std::optional<std::size_t> {
      const auto found = at.find(name);
      return found == at.end() ? std::nullopt : std::optional(found->second);
    };
    layer_ = column("layer");
    expert_ = column("expert");
    count_ = column("count");
    while (const auto id = column(fmt::format("e{}", ids_.size()))) ids_.push_back(*id);
    if (expert_ && count_) {
      ids_.clear();
    } else if (ids_.empty()) {
      throw core::ConfigError(
          {file_, 1, 1},
          fmt::format("found the columns '{}'; expected 'expert,count', or 'e0' to 'e{}' with the "
                      "experts of one token a line",
                      names_of(head), top_k_ - 1));
    } else if (static_cast<std::int64_t>(ids_.size()) != top_k_) {
      throw core::ConfigError({file_, 1, head[ids_.front()].column},
                              fmt::format("found {} experts a token; expected {}, as many as the "
                                          "architecture chooses",
                                          ids_.size(), top_k_));
    }
  }

  static std::string names_of(const std::vector<Cell>& head) {
    std::string names;
    for (const Cell& cell : head) {
      names += names.empty() ? "" : ",";
      names += cell.text;
    }
    return names;
  }

  /// The whole number in `cell`, within [0, most].
  std::optional<std::int64_t> number(const Cell& cell, std::string_view what, std::int64_t most) {
    const auto value = whole(cell.text);
    if (value && *value >= 0 && *value <= most) return value;
    fail(line_, cell.column,
         fmt::format("{}: found '{}'; expected an integer in [0, {}]", what, cell.text, most));
    return std::nullopt;
  }

  void read_line(const std::vector<Cell>& cells) {
    if (cells.size() != columns_) {
      fail(line_, 1, fmt::format("found {} columns; expected {}", cells.size(), columns_));
      return;
    }
    constexpr std::int64_t kMostLayers = 100'000;
    const auto layer =
        layer_ ? number(cells[*layer_], "layer", kMostLayers) : std::optional<std::int64_t>(0);
    if (!layer) return;
    RecordedLayer& recorded = layers_[*layer];
    if (recorded.rows.empty()) {
      recorded.layer = *layer;
      recorded.rows.assign(static_cast<std::size_t>(experts_), 0);
      first_line_[*layer] = line_;
    }
    if (ids_.empty())
      read_count(cells, recorded);
    else
      read_choice(cells, recorded);
  }

  void read_count(const std::vector<Cell>& cells, RecordedLayer& recorded) {
    const auto expert = number(cells[*expert_], "expert", experts_ - 1);
    const auto count = number(cells[*count_], "count", kMostRows);
    if (!expert || !count) return;
    if (!seen_.emplace(std::pair{recorded.layer, *expert}, line_).second) {
      fail(line_, cells[*expert_].column,
           fmt::format("expert: found {} again, after line {}; expected every expert once", *expert,
                       seen_[{recorded.layer, *expert}]));
      return;
    }
    recorded.rows[static_cast<std::size_t>(*expert)] = *count;
  }

  void read_choice(const std::vector<Cell>& cells, RecordedLayer& recorded) {
    std::vector<int> chosen;
    for (const std::size_t column : ids_) {
      const Cell& cell = cells[column];
      const auto id = number(cell, fmt::format("e{}", chosen.size()), experts_ - 1);
      if (!id) return;
      if (std::find(chosen.begin(), chosen.end(), static_cast<int>(*id)) != chosen.end()) {
        fail(line_, cell.column,
             fmt::format("e{}: found expert {} again; expected {} different ones", chosen.size(),
                         *id, top_k_));
        return;
      }
      chosen.push_back(static_cast<int>(*id));
    }
    for (const int id : chosen) ++recorded.rows[static_cast<std::size_t>(id)];
    recorded.choices.insert(recorded.choices.end(), chosen.begin(), chosen.end());
  }

  void check_layers() {
    if (columns_ == 0) fail(0, 0, "found nothing; expected 'expert,count' or ids of experts");
    if (!mistakes_.empty()) return;
    if (layers_.empty()) fail(line_, 1, "found no line after the head; expected loads");
    for (const auto& [number, layer] : layers_) {
      for (std::int64_t e = 0; ids_.empty() && e < experts_; ++e) {
        if (seen_.contains({number, e})) continue;
        fail(line_, 1,
             fmt::format("found no expert {}{}; expected {} experts, as the architecture has", e,
                         layer_ ? fmt::format(" of layer {}", number) : "", experts_));
        break;
      }
      if (std::accumulate(layer.rows.begin(), layer.rows.end(), std::int64_t{0}) == 0)
        fail(first_line_[number], 1, "found no load on any expert; expected some");
    }
  }

  const std::string& file_;
  std::int64_t experts_;
  std::int64_t top_k_;
  int line_ = 0;
  std::size_t columns_ = 0;
  std::optional<std::size_t> layer_, expert_, count_;  ///< Columns.
  std::vector<std::size_t> ids_;                       ///< Columns e0, e1, ...
  std::map<std::int64_t, RecordedLayer> layers_;
  std::map<std::int64_t, int> first_line_;
  std::map<std::pair<std::int64_t, std::int64_t>, int> seen_;  ///< Layer and expert to its line.
  std::vector<core::Diagnostic> mistakes_;
};

}  // namespace

const RecordedLayer& RecordedRouting::layer(std::int64_t index) const {
  return layers[static_cast<std::size_t>(index) % layers.size()];
}

RecordedRouting read_recorded_routing(const std::string& text, const std::string& file,
                                      std::int64_t experts, std::int64_t top_k) {
  return Reader{file, experts, top_k}.read(text);
}

}  // namespace tessera::workload
