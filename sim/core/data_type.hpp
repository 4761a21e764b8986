#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::core {

/// Number formats, with the scaling that belongs to them.
enum class DataType {
  fp32,
  tf32,
  bf16,
  fp16,
  fp8,        ///< One scale a tensor.
  fp8_token,  ///< One scale a row of activations and a column of weights.
  fp8_block,  ///< Activations 1x128, weights 128x128, FP32 scales.
  mxfp8,      ///< One E8M0 scale every 32 elements.
  mxfp4,      ///< One E8M0 scale every 32 elements.
  nvfp4,      ///< One E4M3 scale every 16 elements and one FP32 scale a tensor.
  int8,
  int8_wo,           ///< INT8 weights, BF16 activations.
  int4_wo,           ///< INT4 weights, BF16 activations.
  w4a16_mxfp4,       ///< MXFP4 weights, BF16 activations.
  w4a8_mxfp4_mxfp8,  ///< MXFP4 weights, MXFP8 activations.
};

[[nodiscard]] std::string_view to_string(DataType type);
[[nodiscard]] std::optional<DataType> parse_data_type(std::string_view name);
/// Every name, in the order of DataType.
[[nodiscard]] std::vector<std::string> data_type_names();

/// Bits of one activation element, without its scale.
[[nodiscard]] int activation_bits(DataType type);
/// Bits of one weight element, without its scale.
[[nodiscard]] int weight_bits(DataType type);
/// Bytes of scales per activation element (0 when one scale serves the tensor or row).
[[nodiscard]] double activation_scale_bytes(DataType type);
/// Bytes of scales per weight element.
[[nodiscard]] double weight_scale_bytes(DataType type);

}  // namespace tessera::core
