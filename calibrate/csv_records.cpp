#include "calibrate/csv_records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <istream>

#include "calibrate/text_lines.hpp"

namespace tessera::calibrate {
namespace {

constexpr int kEnd = -1;

}  // namespace

int CsvRecords::get() {
  int c = kEnd;
  if (pending_at_ < pending_.size()) {
    c = static_cast<unsigned char>(pending_[pending_at_++]);
  } else {
    c = text_.get();
    if (c == std::istream::traits_type::eof()) return kEnd;
  }
  ++column_;
  if (++record_bytes_ > kLargestRecord)
    throw core::ConfigError({file_, line_, column_},
                            "found a record of more than 8 MiB; expected a CSV table (is a quote "
                            "not closed?)");
  return c;
}

void CsvRecords::fail(const Field& field, const std::string& message) const {
  throw core::ConfigError({file_, field.line, field.column}, message);
}

/// From behind the opening quote to behind the closing one.
void CsvRecords::read_quoted(Field& field) {
  for (int c = get(); c != kEnd; c = get()) {
    if (c == '"') {
      const int next = pending_at_ < pending_.size()
                           ? static_cast<unsigned char>(pending_[pending_at_])
                           : text_.peek();
      if (next != '"') return;
      (void)get();
    } else if (c == '\n') {
      ++line_;
      column_ = 0;
    }
    field.text += static_cast<char>(c);
  }
  fail(field, "found a quote that is not closed; the file is cut off or not CSV");
}

std::optional<CsvRecords::Record> CsvRecords::next() {
  record_bytes_ = 0;
  int c = get();
  if (c == kEnd) return std::nullopt;
  Record record{{{}, line_, column_}};
  bool quoted = false;
  for (; c != kEnd && c != '\n'; c = get()) {
    Field& field = record.back();
    if (c == ',') {
      record.push_back({{}, line_, column_ + 1});
      quoted = false;
    } else if (c == '"' && field.text.empty() && !quoted) {
      read_quoted(field);
      quoted = true;
    } else if (c != '\r') {
      if (quoted) fail(field, "found text behind a quoted field; expected a comma");
      field.text += static_cast<char>(c);
    }
  }
  ++line_;
  column_ = 0;
  return record;
}

bool CsvRecords::skip_to(const std::vector<std::string>& starts) {
  std::string line;
  for (; read_line(text_, line, kLargestRecord); ++line_) {
    for (const std::string& start : starts) {
      if (!line.starts_with(start)) continue;
      pending_ = line + '\n';
      pending_at_ = 0;
      return true;
    }
  }
  return false;
}

}  // namespace tessera::calibrate
