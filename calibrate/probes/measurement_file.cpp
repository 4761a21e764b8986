#include "calibrate/probes/measurement_file.hpp"

#include <fmt/format.h>

#include <stdexcept>

namespace tessera::calibrate::probes {

namespace {

/// RFC 4180.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string{"\"\""} : std::string{c};
  return quoted + "\"";
}

std::string line_of(const std::vector<std::string>& fields) {
  std::string line;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) line += ',';
    line += field(fields[i]);
  }
  return line + "\n";
}

const std::string& own_column(const Family& family, const Measurement& row,
                              const std::string& column) {
  const auto found = row.columns.find(column);
  if (found == row.columns.end())
    throw std::logic_error("a row of " + family.file + " lacks " + column);
  return found->second;
}

std::string or_empty(const std::optional<double>& value) {
  return value ? number_text(*value) : std::string{};
}

}  // namespace

std::string number_text(double value) {
  std::string text = fmt::format("{:.6f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string number_text(std::int64_t value) { return fmt::format("{}", value); }

std::string header_line(const Family& family) {
  std::vector<std::string> names = {"gpu", "framework", "version", "op", "dtype", "kernel"};
  names.insert(names.end(), family.shape.begin(), family.shape.end());
  names.emplace_back("latency_us");
  names.insert(names.end(), family.outcome.begin(), family.outcome.end());
  for (const char* name : {"split",
                           "device",
                           "driver",
                           "cuda",
                           "library",
                           "sms",
                           "l2_bytes",
                           "sm_clock_before_mhz",
                           "sm_clock_after_mhz",
                           "memory_clock_mhz",
                           "board_limit_w",
                           "operands",
                           "operand_sets",
                           "operations",
                           "replays",
                           "min_us",
                           "p10_us",
                           "p90_us",
                           "error",
                           "allowed_error"})
    names.emplace_back(name);
  return line_of(names);
}

std::string row_line(const Family& family, const Environment& environment, const Measurement& row) {
  if (row.columns.size() != family.shape.size() + family.outcome.size())
    throw std::logic_error("a row of " + family.file + " has another number of columns");
  std::vector<std::string> fields = {environment.gpu, "tessera_probes", environment.version,
                                     row.op,          row.dtype,        row.kernel};
  for (const std::string& column : family.shape) fields.push_back(own_column(family, row, column));
  fields.push_back(number_text(row.timing.latency_us.median));
  for (const std::string& column : family.outcome)
    fields.push_back(own_column(family, row, column));
  const std::vector<std::string> rest = {"calib",
                                         environment.device,
                                         environment.driver,
                                         environment.cuda,
                                         row.library,
                                         number_text(std::int64_t{environment.sms}),
                                         number_text(environment.l2_bytes),
                                         fmt::format("{:.0f}", row.timing.sm_clock_before_mhz),
                                         fmt::format("{:.0f}", row.timing.sm_clock_after_mhz),
                                         or_empty(environment.memory_clock_mhz),
                                         or_empty(environment.power_limit_w),
                                         name(row.timing.plan.state),
                                         number_text(std::int64_t{row.timing.plan.operand_sets}),
                                         number_text(std::int64_t{row.timing.plan.operations}),
                                         number_text(std::int64_t{row.timing.plan.replays}),
                                         number_text(row.timing.latency_us.minimum),
                                         number_text(row.timing.latency_us.p10),
                                         number_text(row.timing.latency_us.p90),
                                         fmt::format("{:.2e}", row.error),
                                         fmt::format("{:.2e}", row.allowed_error)};
  fields.insert(fields.end(), rest.begin(), rest.end());
  return line_of(fields);
}

MeasurementFile::MeasurementFile(const std::string& folder, Family family, Environment environment)
    : family_(std::move(family)),
      environment_(std::move(environment)),
      path_(folder + "/" + family_.file + ".csv"),
      stream_(path_) {
  if (!(stream_ << header_line(family_)).flush()) throw std::runtime_error("cannot write " + path_);
}

void MeasurementFile::write(const Measurement& row) {
  if (!(stream_ << row_line(family_, environment_, row)).flush())
    throw std::runtime_error("cannot write " + path_);
}

}  // namespace tessera::calibrate::probes
