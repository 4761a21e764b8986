#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/csv_table.hpp"

/// Measured against predicted, group by group, as the measurements' README asks for it.
namespace tessera::calibrate {

/// What a measured row may be used for: bars apply to `score`; `library` is reported beside them;
/// `distrust` is an artefact of software.
enum class Use { score, library, distrust };

/// The `use` column of implementations.csv, which lies beside the measurements.
class ImplementationUses {
 public:
  /// Reads `folder`/implementations.csv; a folder without one uses every row. Throws
  /// core::ConfigError.
  static ImplementationUses load(const std::string& folder);

  /// Rows that the file does not name count as score. DeepEP on 8 nodes was congested and does not
  /// (README).
  [[nodiscard]] Use of(const std::string& file, const CsvTable& table, std::size_t row) const;

 private:
  std::map<std::string, Use> uses_;  ///< By file, framework, kernel, types and, if known, GPU.
};

/// One measured number and what was predicted for it.
struct Scored {
  std::size_t row = 0;
  std::string part;  ///< "power", "dispatch", ...; empty for the latency of a kernel.
  double measured = 0;
  std::optional<double> predicted, lower, upper;
  double over_floor = 1;  ///< measured over the smallest of its (gpu, framework, dtype, part).
  Use use = Use::score;
  [[nodiscard]] double error() const { return *predicted / measured - 1; }
};

/// The smallest measured number of each (gpu, framework, dtype, part) of a file: what its harness
/// alone takes, or little more.
using Floors = std::map<std::string, double>;
[[nodiscard]] Floors floors_of(const CsvTable& table);

/// The measured numbers of one file that carries predictions in the columns that `kernel --batch`
/// appends.
struct ScoredFile {
  std::string file;  ///< Name without folder and ending.
  CsvTable table;
  std::vector<Scored> numbers;  ///< In the order of the rows.
};
/// `floors`: of the whole file, of which `table` may be a part.
[[nodiscard]] ScoredFile score_file(std::string file, CsvTable table, const Floors& floors,
                                    const ImplementationUses& uses);

/// Errors of one group; errors are predicted / measured - 1.
struct GroupScore {
  std::size_t rows = 0;
  std::size_t predicted = 0;
  double median = 0, p90 = 0, max = 0;  ///< Of the error's size; NaN without predictions.
  double bias = 0;                      ///< Median error, signed.
  std::size_t with_interval = 0;
  std::size_t inside = 0;  ///< Measured values within the 90 % interval.
  [[nodiscard]] double cover() const {
    return rows == 0 ? 0.0 : static_cast<double>(predicted) / static_cast<double>(rows);
  }
  [[nodiscard]] double in90() const {
    return with_interval == 0 ? std::numeric_limits<double>::quiet_NaN()
                              : static_cast<double>(inside) / static_cast<double>(with_interval);
  }
};

struct ScoreSelection {
  std::vector<std::string> by = {"file", "gpu", "framework", "dtype"};
  std::optional<Half> half;
  double above_floor = 0;
  Use use = Use::score;
};

/// The group of a number: the values of the columns `by` ("file" is the file's name), "-" where
/// empty, and its part, separated by blanks.
[[nodiscard]] std::string group_of(const ScoredFile& file, const Scored& number,
                                   const std::vector<std::string>& by);

/// Whether a number is of the selection.
[[nodiscard]] bool selected(const ScoredFile& file, const Scored& number,
                            const ScoreSelection& selection);

/// The selected numbers by their groups.
[[nodiscard]] std::map<std::string, GroupScore> score_groups(const ScoredFile& file,
                                                             const ScoreSelection& selection);

/// Linear between the ordered values, as score.py; NaN of none.
[[nodiscard]] double quantile(std::vector<double> values, double q);

}  // namespace tessera::calibrate
