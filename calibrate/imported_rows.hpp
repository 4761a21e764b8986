#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Measurements that come out of other tools' files, in the shape of the measurement files that
/// `kernel --batch` and `calibrate` read.
namespace tessera::calibrate {

/// What stands in a field that the source does not state. Nothing is inferred in its place.
inline constexpr std::string_view kUnknown = "unknown";

/// What kind of kernel a row is, by the names that calibrate/import_rules.yaml lists.
enum class KernelFamily { gemm, attention, cast, nccl, moe, other };
[[nodiscard]] std::string_view to_string(KernelFamily family);
/// Every family, in the order of KernelFamily.
[[nodiscard]] const std::vector<std::pair<std::string, KernelFamily>>& kernel_families();

using Fields = std::vector<std::pair<std::string, std::string>>;  ///< Column, value.

/// Calls that were alike, as one row.
struct ImportedRow {
  /// Measurement file whose columns the row has ("gemm", "comm_nccl"); "" when its shape is not
  /// known or no file has such rows.
  std::string file;
  KernelFamily family = KernelFamily::other;
  std::string gpu{kUnknown};  ///< Name in hw_configs/devices.
  std::string framework{kUnknown};
  std::string version{kUnknown};
  std::string op{kUnknown};
  std::string dtype{kUnknown};
  std::string kernel;
  Fields shape;             ///< In the order of the file's columns.
  double latency_us = 0;    ///< Median over `calls`.
  Fields more;              ///< Columns behind the measurements' own.
  std::size_t calls = 1;    ///< Kernel launches, or runs of a collective, behind the row.
  double total_us = 0;      ///< Sum over `calls`.
  std::string why_unknown;  ///< Why the shape is not known; "" when it is.
};

/// What a file gave.
struct Import {
  std::vector<ImportedRow> rows;
  std::map<std::string, std::size_t> skipped;  ///< What made no row, by reason.
  std::vector<std::string> notes;              ///< What a reader of the rows should know.
};

/// Provenance that the user states; it replaces what the file says. Empty: as in the file.
struct StatedOrigin {
  std::string gpu;
  std::string framework;
  std::string version;
};
void restate(Import& import, const StatedOrigin& origin);

/// Leaves only rows of one measurement file; the others are counted among the skipped.
void keep_only(Import& import, const std::string& file);

/// The rows as CSV: the measurements' common columns, the shape columns of all rows (a row leaves
/// those of other families empty), latency_us, split, then the further columns.
[[nodiscard]] std::string to_csv(const Import& import);

/// The middle value, or the mean of the two middle ones. Requires: not empty.
[[nodiscard]] double median(std::vector<double>& values);

}  // namespace tessera::calibrate
