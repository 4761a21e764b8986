#pragma once

#include <iosfwd>
#include <string>

#include "calibrate/import_rules.hpp"
#include "calibrate/imported_rows.hpp"

namespace tessera::calibrate {

/// Reads what all_reduce_perf and its siblings print, one run or several after another, into rows
/// of comm_nccl: bytes is the tool's "size", latency_us its out-of-place time, in_place_us the
/// other. Between nodes, ranks_per_node is filled.
///
/// Columns are taken from the header of each table, so all versions since 2.0 read alike. Lines of
/// NCCL's own log and marks of srun or mpirun before a line are passed over. `collective` names the
/// test where the output does not (before version 2.17): "all_reduce". Throws core::ConfigError
/// with `file` and line: a row that does not fit its header, a rank listed twice (processes that
/// knew nothing of each other), a table that has no end.
[[nodiscard]] Import import_nccl_tests(std::istream& text, const std::string& file,
                                       const ImportRules& rules, const std::string& collective);

}  // namespace tessera::calibrate
