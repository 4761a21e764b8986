#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/probes/sizes.hpp"
#include "calibrate/probes/test_pattern.hpp"

/// Attention on the CPU, in double, from the patterns of its operands.
namespace tessera::calibrate::probes {

/// Seeds of an operand set's q, k (or latent cache) and v.
struct AttentionSeeds {
  std::uint64_t q, k, v;
};
[[nodiscard]] AttentionSeeds attention_seeds(int operand_set);

/// Element `index` of an operand, as BF16. Queries are three times larger, so that weights differ.
TESSERA_HOST_DEVICE inline std::uint32_t attention_bits(std::uint64_t seed, std::int64_t index,
                                                        float factor) {
  return encode(bf16_format(), factor * uniform_value(seed, static_cast<std::uint64_t>(index)));
}
inline constexpr float kQueryFactor = 3;

/// Output of one query and head: `dim` values.
[[nodiscard]] std::vector<double> attention_row(const AttentionShape& shape,
                                                const AttentionSeeds& seeds, std::int64_t batch,
                                                std::int64_t head, std::int64_t query);

/// Output of one head of one sequence of absorbed MLA decode: 512 values.
[[nodiscard]] std::vector<double> mla_decode_row(const MlaDecodeShape& shape,
                                                 const AttentionSeeds& seeds, std::int64_t batch,
                                                 std::int64_t head);

}  // namespace tessera::calibrate::probes
