#include "calibrate/measured_row.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {

using core::DataType;

namespace {

DataType data_type(std::string_view name) {
  static const std::map<std::string_view, DataType> kNames = {
      {"bfloat16", DataType::bf16}, {"bf16", DataType::bf16}, {"half", DataType::fp16},
      {"float16", DataType::fp16},  {"sq", DataType::int8},   {"fp8_e4m3", DataType::fp8}};
  if (const auto found = kNames.find(name); found != kNames.end()) return found->second;
  if (const auto type = core::parse_data_type(name)) return *type;
  refuse_row(fmt::format("data type '{}' is not modelled", name));
}

}  // namespace

void refuse_row(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::outside_model, reason);
}

std::int64_t MeasuredRow::size(std::string_view column) const {
  const auto value = number(column);
  if (!value || *value < 0 || *value != std::floor(*value))
    refuse_row(fmt::format("column '{}' is not a size", column));
  return static_cast<std::int64_t>(*value);
}

DataType MeasuredRow::type(std::string_view column) const { return data_type(text(column)); }

double MeasuredRow::operand_sets() const {
  if (text("operands") == "flushed") return std::numeric_limits<double>::infinity();
  return number("operand_sets").value_or(1);
}

double bytes_of(std::int64_t rows, std::int64_t columns, double bits) {
  return static_cast<double>(rows) * static_cast<double>(columns) * bits / 8;
}

/// Times the size of L2; of a cycle of so many bytes nothing is found again (gpu::surviving_part).
constexpr double kNothingSurvives = 2;

gpu::ExecutionContext replayed(double touched_bytes, const device::DeviceSpec& device) {
  gpu::ExecutionContext context;
  if (touched_bytes > kNothingSurvives * static_cast<double>(device.l2.size.value()))
    return context;
  context.warm_activations = context.warm_weights = true;
  context.activation_reuse_bytes = context.weight_reuse_bytes = touched_bytes;
  return context;
}

}  // namespace tessera::calibrate
