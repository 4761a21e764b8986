#include "calibrate/imported_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "calibrate/csv_table.hpp"

namespace tessera::calibrate {
namespace {

void add_columns(const Fields& fields, std::vector<std::string>& columns) {
  for (const auto& [column, unused] : fields)
    if (std::find(columns.begin(), columns.end(), column) == columns.end())
      columns.push_back(column);
}

/// The values of `columns`, empty where `fields` have none.
void append_values(const Fields& fields, const std::vector<std::string>& columns,
                   std::vector<std::string>& record) {
  for (const std::string& column : columns) {
    const auto found = std::find_if(fields.begin(), fields.end(),
                                    [&](const auto& field) { return field.first == column; });
    record.push_back(found == fields.end() ? std::string{} : found->second);
  }
}

}  // namespace

const std::vector<std::pair<std::string, KernelFamily>>& kernel_families() {
  static const std::vector<std::pair<std::string, KernelFamily>> kFamilies = {
      {"gemm", KernelFamily::gemm}, {"attention", KernelFamily::attention},
      {"cast", KernelFamily::cast}, {"nccl", KernelFamily::nccl},
      {"moe", KernelFamily::moe},   {"other", KernelFamily::other}};
  return kFamilies;
}

std::string_view to_string(KernelFamily family) {
  return kernel_families()[static_cast<std::size_t>(family)].first;
}

void restate(Import& import, const StatedOrigin& origin) {
  for (ImportedRow& row : import.rows) {
    if (!origin.gpu.empty()) row.gpu = origin.gpu;
    if (!origin.framework.empty()) row.framework = origin.framework;
    if (!origin.version.empty()) row.version = origin.version;
  }
}

void keep_only(Import& import, const std::string& file) {
  std::vector<ImportedRow> kept;
  for (ImportedRow& row : import.rows) {
    if (row.file == file) {
      kept.push_back(std::move(row));
      continue;
    }
    const std::string reason =
        row.file.empty()
            ? fmt::format("{} calls of a shape that is not known or that no measurement file has",
                          to_string(row.family))
            : fmt::format("calls that belong to {}.csv", row.file);
    import.skipped[reason] += row.calls;
  }
  import.rows = std::move(kept);
}

std::string to_csv(const Import& import) {
  std::vector<std::string> shape, more;
  for (const ImportedRow& row : import.rows) {
    add_columns(row.shape, shape);
    add_columns(row.more, more);
  }
  std::vector<std::string> header = {"gpu", "framework", "version", "op", "dtype", "kernel"};
  header.insert(header.end(), shape.begin(), shape.end());
  header.insert(header.end(), {"latency_us", "split"});
  header.insert(header.end(), more.begin(), more.end());
  std::string text = csv_record(header);
  for (const ImportedRow& row : import.rows) {
    std::vector<std::string> record = {row.gpu, row.framework, row.version,
                                       row.op,  row.dtype,     row.kernel};
    append_values(row.shape, shape, record);
    record.push_back(fmt::format("{:.3f}", row.latency_us));
    record.push_back("calib");
    append_values(row.more, more, record);
    text += csv_record(record);
  }
  return text;
}

double median(std::vector<double>& values) {
  assert(!values.empty() && "a group has at least one call");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace tessera::calibrate
