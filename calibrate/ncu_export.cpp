#include "calibrate/ncu_export.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <tuple>

#include "calibrate/csv_records.hpp"

namespace tessera::calibrate {
namespace {

using Field = CsvRecords::Field;
using Record = CsvRecords::Record;

/// What a raw page calls the GPU.
constexpr const char* kDeviceName = "device__attribute_display_name";

/// A unit of the export as the factor to its base.
struct UnitRow {
  const char* unit;
  double factor;
};

/// Times to ns. Nsight Compute before 2023.3 spells them out.
constexpr UnitRow kTimes[] = {{"nsecond", 1},   {"ns", 1},   {"usecond", 1e3}, {"us", 1e3},
                              {"msecond", 1e6}, {"ms", 1e6}, {"second", 1e9},  {"s", 1e9}};
/// Prefixes are decimal (Nsight Compute CLI documentation, --print-units).
constexpr UnitRow kPrefixes[] = {{"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}};
constexpr const char* kScaled[] = {"byte", "sector", "cycle", "inst", "hz", "Hz", "request"};
constexpr const char* kPlain[] = {"",      "%",    "block", "thread",
                                  "warp",  "SM",   "ratio", "register/thread",
                                  "waves", "tile", "count", "byte/block"};

/// Factor to the base unit; none for a unit that is not known.
std::optional<double> factor_of(std::string_view unit) {
  for (const UnitRow& row : kTimes)
    if (unit == row.unit) return row.factor;
  for (const char* plain : kPlain)
    if (unit == plain) return 1;
  const auto scaled = [](std::string_view name) {
    return std::find(std::begin(kScaled), std::end(kScaled), name) != std::end(kScaled);
  };
  if (scaled(unit)) return 1;
  for (const UnitRow& prefix : kPrefixes)
    if (unit.starts_with(prefix.unit) && scaled(unit.substr(1))) return prefix.factor;
  return std::nullopt;
}

/// Whether the profiler says that it has no value.
bool is_absent(std::string_view value) {
  return value.empty() || value == "n/a" || value == "nan" || value == "N/A" || value == "(!) n/a";
}

/// "1,205.50": groups of three digits, a point, perhaps an exponent.
std::optional<double> grouped_number(std::string_view value) {
  std::string digits;
  const std::size_t whole = std::min(value.find_first_of(".eE"), value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] != ',') {
      digits += value[i];
    } else if (i >= whole || i == 0 || (whole - i) % 4 != 0) {
      return std::nullopt;
    }
  }
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

class Reader {
 public:
  Reader(CsvRecords& records, const ImportRules& rules, const std::vector<std::string>& wanted,
         const std::function<void(const NcuLaunch&)>& each)
      : records_(records), rules_(rules), wanted_(wanted), each_(each) {}

  void read() {
    if (!records_.skip_to({"\"ID\",", "ID,"}))
      throw core::ConfigError({records_.file(), 0, 0},
                              "found no table of ncu --csv; expected a line that starts with "
                              "\"ID\",\"Process ID\"");
    const Record header = records_.next().value();
    for (const Field& field : header) header_.push_back(field.text);
    header_line_ = header.front().line;
    kernel_ = column("Kernel Name");
    if (!kernel_) records_.fail(header.front(), "found no column 'Kernel Name'");
    name_ = column("Metric Name");
    value_ = column("Metric Value");
    unit_ = column("Metric Unit");
    if (name_.has_value() != value_.has_value())
      records_.fail(header.front(), "found one of 'Metric Name' and 'Metric Value'; expected both");
    while (auto record = records_.next()) take(*record);
    flush();
  }

 private:
  [[nodiscard]] std::optional<std::size_t> column(std::string_view name) const {
    const auto found = std::find(header_.begin(), header_.end(), name);
    if (found == header_.end()) return std::nullopt;
    return static_cast<std::size_t>(found - header_.begin());
  }

  [[nodiscard]] std::string field(const Record& record, std::string_view name) const {
    const auto at = column(name);
    return at ? record[*at].text : std::string{};
  }

  void take(const Record& record) {
    if (record.size() == 1 && record.front().text.empty()) return;
    if (record.front().text.starts_with("==")) return;  // ==PROF== Disconnected from process 7
    if (record.size() != header_.size())
      records_.fail(record.back(),
                    fmt::format("found {} fields; expected {} as in the header in line {}",
                                record.size(), header_.size(), header_line_));
    if (name_) {
      take_metric(record);
    } else if (units_.empty()) {
      take_units(record);
    } else {
      take_launch(record);
    }
  }

  /// The second line of a raw page: no launch, the units of all columns.
  void take_units(const Record& record) {
    if (!record.front().text.empty())
      records_.fail(record.front(),
                    "found a launch; expected the line of units that a raw page "
                    "has below its header");
    for (const Field& unit : record) units_.push_back(unit.text);
  }

  void begin(const Record& record) {
    open_ = true;
    launch_ = {.id = record.front().text,
               .process = field(record, "Process ID"),
               .kernel = record[*kernel_].text,
               .grid = field(record, "Grid Size"),
               .block = field(record, "Block Size"),
               .device = field(record, kDeviceName),
               .metrics = {}};
  }

  void flush() {
    if (open_) each_(launch_);
    open_ = false;
  }

  void take_launch(const Record& record) {
    begin(record);
    for (std::size_t i = 0; i < record.size(); ++i)
      if (is_wanted(header_[i])) set(header_[i], record[i], units_[i], record[i]);
    flush();
  }

  void take_metric(const Record& record) {
    if (!open_ || record.front().text != launch_.id ||
        field(record, "Process ID") != launch_.process) {
      flush();
      begin(record);
    }
    const std::string metric =
        rules_.ncu_metric(field(record, "Section Name"), record[*name_].text);
    if (!is_wanted(metric)) return;
    set(metric, record[*value_], unit_ ? record[*unit_].text : std::string{},
        unit_ ? record[*unit_] : record[*value_]);
  }

  [[nodiscard]] bool is_wanted(const std::string& metric) const {
    return std::find(wanted_.begin(), wanted_.end(), metric) != wanted_.end();
  }

  void set(const std::string& metric, const Field& value, const std::string& unit,
           const Field& unit_place) {
    if (is_absent(value.text)) return;
    const auto number = grouped_number(value.text);
    if (!number)
      records_.fail(value, fmt::format("{}: found '{}'; expected a number", metric, value.text));
    const auto factor = factor_of(unit);
    if (!factor)
      records_.fail(unit_place,
                    fmt::format("{}: found the unit '{}', which is not known", metric, unit));
    launch_.metrics[metric] = *number * *factor;
  }

  CsvRecords& records_;
  const ImportRules& rules_;
  const std::vector<std::string>& wanted_;
  const std::function<void(const NcuLaunch&)>& each_;
  std::vector<std::string> header_, units_;
  int header_line_ = 0;
  std::optional<std::size_t> kernel_, name_, value_, unit_;
  NcuLaunch launch_;
  bool open_ = false;
};

/// "(1024, 2, 1)" as "1024x2x1".
std::string extent(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == ',') result += 'x';
    if (c >= '0' && c <= '9') result += c;
  }
  return result;
}

ImportedRow row_of(const std::string& kernel, const ImportRules& rules,
                   std::vector<double>& times) {
  ImportedRow row;
  row.family = rules.family(kernel);
  row.kernel = kernel;
  row.shape = unknown_shape(row.family);
  row.calls = times.size();
  row.latency_us = median(times);
  for (const double us : times) row.total_us += us;
  row.why_unknown = "Nsight Compute exports no shapes";
  return row;
}

}  // namespace

void read_ncu_export(std::istream& text, const std::string& file, const ImportRules& rules,
                     const std::vector<std::string>& wanted,
                     const std::function<void(const NcuLaunch&)>& each) {
  CsvRecords records{text, file};
  Reader{records, rules, wanted, each}.read();
}

Import import_ncu(std::istream& text, const std::string& file, const ImportRules& rules) {
  Import import;
  // Kernel, grid, block and device -> durations in us.
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::vector<double>>
      groups;
  constexpr double kNanosecondsPerMicrosecond = 1e3;
  read_ncu_export(text, file, rules, {kNcuDuration}, [&](const NcuLaunch& launch) {
    const auto duration = launch.metrics.find(kNcuDuration);
    if (duration == launch.metrics.end()) {
      ++import.skipped["launches without gpu__time_duration.sum"];
      return;
    }
    groups[{launch.kernel, launch.grid, launch.block, launch.device}].push_back(
        duration->second / kNanosecondsPerMicrosecond);
  });
  for (auto& [key, times] : groups) {
    const auto& [kernel, grid, block, device] = key;
    ImportedRow row = row_of(kernel, rules, times);
    row.gpu = rules.gpu(device);
    const auto [least, most] = std::minmax_element(times.begin(), times.end());
    row.more = {{"calls", std::to_string(times.size())},
                {"min_us", fmt::format("{:.3f}", *least)},
                {"max_us", fmt::format("{:.3f}", *most)},
                {"grid", extent(grid)},
                {"block", extent(block)}};
    import.rows.push_back(std::move(row));
  }
  import.notes.push_back(
      "Nsight Compute flushes caches before each pass and holds the SM at its base clock unless "
      "run with --cache-control none --clock-control none: such times are longer than in use");
  return import;
}

}  // namespace tessera::calibrate
