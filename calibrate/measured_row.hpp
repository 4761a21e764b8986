#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "calibrate/csv_table.hpp"
#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"
#include "sim/core/data_type.hpp"

namespace tessera::calibrate {

/// A row of a measurement file, read as sizes and types. What cannot be read so is refused.
class MeasuredRow {
 public:
  MeasuredRow(const CsvTable& table, std::size_t row) : table_(table), row_(row) {}

  [[nodiscard]] std::string_view text(std::string_view column) const {
    return table_.text(row_, column);
  }
  [[nodiscard]] std::optional<double> number(std::string_view column) const {
    return table_.number(row_, column);
  }
  /// A whole number, 0 or more. Throws core::Refusal.
  [[nodiscard]] std::int64_t size(std::string_view column) const;
  /// A type as the measurements name it ("bfloat16", "half", "sq"). Throws core::Refusal.
  [[nodiscard]] core::DataType type(std::string_view column) const;
  /// A row that the probes wrote (calibrate/probes): it times one kernel alone and says what it
  /// found in L2.
  [[nodiscard]] bool probed() const { return text("framework") == "tessera_probes"; }
  /// Operand sets that replays of a probe's row cycled through, infinitely many when L2 was flushed
  /// between them; 1 for rows of other collections.
  [[nodiscard]] double operand_sets() const;

 private:
  const CsvTable& table_;
  std::size_t row_;
};

/// Throws core::Refusal: no model of what the row timed.
[[noreturn]] void refuse_row(const std::string& reason);

[[nodiscard]] double bytes_of(std::int64_t rows, std::int64_t columns, double bits);

/// A burst of replays of the same operands: they stay in L2 when they fit it together (measurements
/// README).
[[nodiscard]] gpu::ExecutionContext replayed(double touched_bytes,
                                             const device::DeviceSpec& device);

}  // namespace tessera::calibrate
