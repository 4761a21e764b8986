#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {

/// Reads CSV (RFC 4180) record by record, for files too large to keep. Knows where each field
/// stands, so that mistakes can be reported there.
class CsvRecords {
 public:
  CsvRecords(std::istream& text, std::string file) : text_(text), file_(std::move(file)) {}

  struct Field {
    std::string text;
    int line = 0;
    int column = 0;
  };
  using Record = std::vector<Field>;

  /// The next record, none at the end; a line without text is a record of one empty field. Throws
  /// core::ConfigError on a quote that is not closed, text behind one, or a record of more than
  /// kLargestRecord bytes.
  [[nodiscard]] std::optional<Record> next();

  /// Passes over lines up to the first that starts with `start`, which next() then reads. False
  /// when there is none.
  [[nodiscard]] bool skip_to(const std::vector<std::string>& starts);

  [[noreturn]] void fail(const Field& field, const std::string& message) const;
  [[nodiscard]] const std::string& file() const { return file_; }

  static constexpr std::size_t kLargestRecord = 8u
                                                << 20;  ///< A raw page has some 100 KiB a launch.

 private:
  /// The next byte, -1 at the end; counts lines and columns.
  int get();
  void read_quoted(Field& field);

  std::istream& text_;
  std::string file_;
  std::string pending_;  ///< A line that skip_to has read and next() has not.
  std::size_t pending_at_ = 0;
  std::size_t record_bytes_ = 0;
  int line_ = 1;
  int column_ = 0;  ///< Of the byte that get() gave last.
};

}  // namespace tessera::calibrate
