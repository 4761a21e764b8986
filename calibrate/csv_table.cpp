#include "calibrate/csv_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <fstream>
#include <sstream>

#include "sim/core/diagnostics.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::calibrate {
namespace {

constexpr std::array kShapeColumns = {"M",
                                      "N",
                                      "K",
                                      "batch",
                                      "isl",
                                      "kv_len",
                                      "step",
                                      "num_heads",
                                      "num_kv_heads",
                                      "head_dim",
                                      "win",
                                      "bmm",
                                      "num_tokens",
                                      "tp_size",
                                      "tokens",
                                      "rank_tokens",
                                      "hidden",
                                      "inter",
                                      "topk",
                                      "experts",
                                      "tp",
                                      "ep",
                                      "collective",
                                      "ranks",
                                      "ranks_per_node",
                                      "bytes",
                                      "elements",
                                      "nodes",
                                      "tokens_per_rank",
                                      "sms",
                                      "part",
                                      "hc_mult",
                                      "compress_ratio",
                                      "model",
                                      "osl",
                                      "concurrency"};

/// Reads one record from `at` on; leaves `at` after its line end.
std::vector<std::string> read_record(const std::string& text, std::size_t& at) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        fields.back() += '"';
        ++at;
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '\n') {
      ++at;
      break;
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

std::string quote(const std::string& field) {
  if (field.find_first_of(",\"\n") == std::string::npos) return field;
  std::string quoted = "\"";
  for (const char c : field) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return quoted + '"';
}

}  // namespace

std::string csv_record(const std::vector<std::string>& fields) {
  std::string text;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) text += ',';
    text += quote(fields[i]);
  }
  return text + '\n';
}

CsvTable CsvTable::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw core::ConfigError({path, 0, 0}, "cannot be read; expected a CSV file");
  std::stringstream text;
  text << file.rdbuf();
  return parse(text.str(), path);
}

CsvTable CsvTable::parse(const std::string& text, const std::string& file) {
  CsvTable table;
  std::size_t at = 0;
  table.header_ = read_record(text, at);
  for (int line = 2; at < text.size(); ++line) {
    std::vector<std::string> fields = read_record(text, at);
    if (fields.size() == 1 && fields.front().empty()) continue;
    if (fields.size() != table.header_.size())
      throw core::ConfigError({file, line, 1},
                              fmt::format("found {} fields; expected {} as in the header",
                                          fields.size(), table.header_.size()));
    table.rows_.push_back(std::move(fields));
  }
  return table;
}

std::optional<std::size_t> CsvTable::index(std::string_view column) const {
  const auto found = std::find(header_.begin(), header_.end(), column);
  if (found == header_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - header_.begin());
}

std::string_view CsvTable::text(std::size_t row, std::string_view column) const {
  const auto at = index(column);
  return at ? std::string_view{rows_[row][*at]} : std::string_view{};
}

std::optional<double> CsvTable::number(std::size_t row, std::string_view column) const {
  const std::string_view field = text(row, column);
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc{} || end != field.data() + field.size()) return std::nullopt;
  return value;
}

CsvTable CsvTable::only(const std::vector<std::size_t>& rows) const {
  CsvTable part;
  part.header_ = header_;
  for (const std::size_t row : rows) part.rows_.push_back(rows_[row]);
  return part;
}

void CsvTable::append(const std::string& column, std::vector<std::string> values) {
  assert(!has(column) && values.size() == rows_.size() && "a new column has a field for every row");
  header_.push_back(column);
  for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].push_back(std::move(values[i]));
}

std::string CsvTable::to_text() const {
  std::string text;
  text += csv_record(header_);
  for (const auto& row : rows_) text += csv_record(row);
  return text;
}

std::span<const char* const> shape_columns() { return kShapeColumns; }

std::string shape_key(const CsvTable& table, std::size_t row) {
  const std::string_view op = table.text(row, "op");
  std::string key{op.empty() ? std::string_view{"-"} : op};
  for (const char* column : kShapeColumns) {
    const std::string_view field = table.text(row, column);
    if (!field.empty()) key += fmt::format("|{}={}", column, field);
  }
  return key;
}

Half half(const CsvTable& table, std::size_t row) {
  const std::string digest = core::sha256(shape_key(table, row));
  return std::stoul(digest.substr(0, 8), nullptr, 16) % 2 == 1 ? Half::test : Half::fit;
}

}  // namespace tessera::calibrate
