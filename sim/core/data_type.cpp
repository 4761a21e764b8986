#include "sim/core/data_type.hpp"

#include <array>

namespace tessera::core {
namespace {

struct Row {
  DataType type;
  std::string_view name;
  int activation_bits;
  int weight_bits;
  double activation_scale_bytes;
  double weight_scale_bytes;
};

// Scale layouts: DeepSeek-V3 report section 3.3 (blocks); OCP MX specification v1.0 (MX); NVFP4 as
// in the Blackwell tensor-core documentation: 16 elements a scale.
constexpr std::array kRows = {
    Row{DataType::fp32, "fp32", 32, 32, 0, 0},
    Row{DataType::tf32, "tf32", 32, 32, 0, 0},
    Row{DataType::bf16, "bf16", 16, 16, 0, 0},
    Row{DataType::fp16, "fp16", 16, 16, 0, 0},
    Row{DataType::fp8, "fp8", 8, 8, 0, 0},
    Row{DataType::fp8_token, "fp8_token", 8, 8, 0, 0},
    Row{DataType::fp8_block, "fp8_block", 8, 8, 4.0 / 128, 4.0 / (128 * 128)},
    Row{DataType::mxfp8, "mxfp8", 8, 8, 1.0 / 32, 1.0 / 32},
    Row{DataType::mxfp4, "mxfp4", 4, 4, 1.0 / 32, 1.0 / 32},
    Row{DataType::nvfp4, "nvfp4", 4, 4, 1.0 / 16, 1.0 / 16},
    Row{DataType::int8, "int8", 8, 8, 0, 0},
    Row{DataType::int8_wo, "int8_wo", 16, 8, 0, 0},
    Row{DataType::int4_wo, "int4_wo", 16, 4, 0, 2.0 / 128},
    Row{DataType::w4a16_mxfp4, "w4a16_mxfp4", 16, 4, 0, 1.0 / 32},
    Row{DataType::w4a8_mxfp4_mxfp8, "w4a8_mxfp4_mxfp8", 8, 4, 1.0 / 32, 1.0 / 32},
};

const Row& row(DataType type) { return kRows[static_cast<std::size_t>(type)]; }

}  // namespace

std::string_view to_string(DataType type) { return row(type).name; }

std::optional<DataType> parse_data_type(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.type;
  return std::nullopt;
}

std::vector<std::string> data_type_names() {
  std::vector<std::string> names;
  for (const Row& r : kRows) names.emplace_back(r.name);
  return names;
}

int activation_bits(DataType type) { return row(type).activation_bits; }
int weight_bits(DataType type) { return row(type).weight_bits; }
double activation_scale_bytes(DataType type) { return row(type).activation_scale_bytes; }
double weight_scale_bytes(DataType type) { return row(type).weight_scale_bytes; }

}  // namespace tessera::core
