#include "sim/app/published_runs.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "calibrate/csv_table.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using calibrate::CsvTable;

/// Columns that are written into the scenario as they are, where they are not empty.
constexpr std::array<std::pair<const char*, const char*>, 14> kPaths{{
    {"architecture", "architecture"},
    {"cluster", "cluster"},
    {"precision", "precision.recipe"},
    {"sequences", "batch.sequences"},
    {"sequence_length", "batch.sequence_length"},
    {"micro_batch", "batch.micro_batch"},
    {"tensor", "parallelism.tensor"},
    {"pipeline", "parallelism.pipeline"},
    {"virtual", "parallelism.virtual"},
    {"context", "parallelism.context"},
    {"expert", "parallelism.expert"},
    {"sharding", "parallelism.data.sharding"},
    {"recompute", "recompute"},
    {"schedule", "schedule.kind"},
}};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// Reads one row; `fail` throws for a column.
class RunReader {
 public:
  RunReader(const CsvTable& table, std::size_t row, const std::string& path)
      : table_(table), row_(row), path_(path) {}

  PublishedRun read() const {
    PublishedRun run;
    run.id = needed("id");
    run.source = needed("source");
    run.recipe = needed("recipe");
    run.architecture = needed("architecture");
    run.device = needed("device");
    run.gpus = static_cast<int>(positive("gpus"));
    run.tokens_per_gpu = positive("tokens_per_s_per_gpu");
    run.repeat_spread = table_.number(row_, "repeat_spread").value_or(0);
    run.not_stated = split(table_.text(row_, "not_stated"), ' ');
    run.note = table_.text(row_, "note");
    for (const auto& [column, path] : kPaths)
      if (const auto value = table_.text(row_, column); !value.empty())
        run.set.push_back(fmt::format("{}={}", path, value));
    for (std::string& setting : split(table_.text(row_, "settings"), ';'))
      run.set.push_back(std::move(setting));
    return run;
  }

 private:
  [[noreturn]] void fail(const char* column, std::string_view expected) const {
    throw core::ConfigError({path_, static_cast<int>(row_) + 2, 1},
                            fmt::format("column {}: found '{}'; expected {}", column,
                                        table_.text(row_, column), expected));
  }
  std::string needed(const char* column) const {
    const std::string_view text = table_.text(row_, column);
    if (text.empty()) fail(column, "a value");
    return std::string{text};
  }
  double positive(const char* column) const {
    const auto number = table_.number(row_, column);
    if (!number || *number <= 0) fail(column, "a number above 0");
    return *number;
  }

  const CsvTable& table_;
  std::size_t row_;
  const std::string& path_;
};

}  // namespace

std::vector<PublishedRun> read_published_runs(const std::string& path) {
  const CsvTable table = CsvTable::load(path);
  std::vector<PublishedRun> runs;
  for (std::size_t row = 0; row < table.size(); ++row)
    runs.push_back(RunReader{table, row, path}.read());
  return runs;
}

std::string shipped_training_results() {
  return (core::data_root() / "workloads" / "published" / "training_results.csv").string();
}

}  // namespace tessera::app
