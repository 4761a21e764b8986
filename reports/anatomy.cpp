#include "reports/anatomy.hpp"

#include <algorithm>
#include <map>

#include "reports/aggregate.hpp"

namespace tessera::reports {
namespace {

/// Lines in the order in which they are shown.
enum class Purpose { products, attention, casts, both_casts, transposes, maxima, swizzles, others };

using Key = std::pair<Purpose, std::string>;

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }

/// "fp8_block" of "gemm 4096x2112x7168 fp8_block -> bf16".
std::string type_before_arrow(const std::string& shape) {
  const std::size_t arrow = shape.find(" ->");
  if (arrow == std::string::npos) return "bf16";
  const std::size_t space = shape.rfind(' ', arrow - 1);
  return shape.substr(space + 1, arrow - space - 1);
}

Key key_of(const core::KernelRow& row) {
  const std::string kind = first_word(row.shape);
  if (row.family == "gemm" || row.family == "grouped_gemm")
    return {Purpose::products, "products in " + type_before_arrow(row.shape)};
  if (row.family == "attention") return {Purpose::attention, "attention"};
  if (kind == "quantize") return {Purpose::casts, "casts"};
  if (kind == "quantize_transpose") return {Purpose::both_casts, "casts along both dimensions"};
  if (kind == "transpose") return {Purpose::transposes, "transposes"};
  if (kind == "compute_scale") return {Purpose::maxima, "maxima for scales"};
  if (row.name.ends_with("scales swizzle")) return {Purpose::swizzles, "order of scales"};
  return {Purpose::others, "norms, activations, optimizer and others"};
}

double& share_of(AnatomyRow& row, const std::string& pass) {
  if (pass == "input_gradient") return row.input_gradient;
  if (pass == "weight_gradient") return row.weight_gradient;
  return pass == "optimizer" ? row.optimizer : row.forward;
}

}  // namespace

std::vector<AnatomyRow> precision_anatomy(const core::Result& result) {
  std::map<Key, AnatomyRow> rows;
  bool narrow = false;
  for (const core::KernelRow& kernel : result.kernels) {
    const Key key = key_of(kernel);
    narrow |= key.first == Purpose::products && !key.second.ends_with("16") &&
              !key.second.ends_with("32");
    AnatomyRow& row = rows.try_emplace(key, AnatomyRow{.line = key.second}).first->second;
    share_of(row, kernel.pass) += seconds_per_step(kernel);
    row.hbm_bytes += kernel.calls_per_step * kernel.hbm_bytes;
  }
  if (!narrow) return {};
  std::vector<std::pair<Purpose, AnatomyRow>> ordered;
  for (const auto& [key, row] : rows) ordered.emplace_back(key.first, row);
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    return a.second.seconds() > b.second.seconds();
  });
  std::vector<AnatomyRow> anatomy;
  for (auto& [purpose, row] : ordered) anatomy.push_back(std::move(row));
  return anatomy;
}

}  // namespace tessera::reports
