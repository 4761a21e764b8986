#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::calibrate {

/// A CSV file with a header (RFC 4180: quotes around fields, doubled inside), its rows and their
/// order kept.
class CsvTable {
 public:
  /// Throws core::ConfigError naming file and line when a row has another number of fields than the
  /// header.
  static CsvTable load(const std::string& path);
  static CsvTable parse(const std::string& text, const std::string& file);

  [[nodiscard]] std::size_t size() const { return rows_.size(); }
  [[nodiscard]] const std::vector<std::string>& header() const { return header_; }
  [[nodiscard]] bool has(std::string_view column) const { return index(column).has_value(); }
  /// The field, or "" when the table has no such column.
  [[nodiscard]] std::string_view text(std::size_t row, std::string_view column) const;
  /// The field as a number; none when empty or not one.
  [[nodiscard]] std::optional<double> number(std::size_t row, std::string_view column) const;

  /// The header and the given rows, in their order.
  [[nodiscard]] CsvTable only(const std::vector<std::size_t>& rows) const;

  /// Appends a column; `values` has one field a row. Requires: no column of that name.
  void append(const std::string& column, std::vector<std::string> values);
  [[nodiscard]] std::string to_text() const;

 private:
  [[nodiscard]] std::optional<std::size_t> index(std::string_view column) const;

  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// One line of a CSV file, quoted where RFC 4180 asks for it, with its line end.
[[nodiscard]] std::string csv_record(const std::vector<std::string>& fields);

/// The columns that make a shape, in the order in which they enter its key.
[[nodiscard]] std::span<const char* const> shape_columns();
/// A row's op and shape alone: one and the same on every GPU, in every framework and type.
[[nodiscard]] std::string shape_key(const CsvTable& table, std::size_t row);

/// Which half of the measurements a row is on, by a hash of its shape. One half is fitted, the
/// other quoted.
enum class Half { fit, test };
[[nodiscard]] Half half(const CsvTable& table, std::size_t row);

}  // namespace tessera::calibrate
