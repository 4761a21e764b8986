#pragma once

#include <cstdint>
#include <string>

#include "calibrate/measured_call.hpp"
#include "calibrate/measured_row.hpp"

/// Parts that measured calls of latent attention, alone or within a module, are put together from.
namespace tessera::calibrate {

/// Widths of a model's latent attention, in elements.
struct LatentWidths {
  std::int64_t hidden = 7168;
  std::int64_t query_rank = 1536;  ///< Of the compressed queries.
  std::int64_t latent = 512;       ///< Of a token's compressed keys and values.
  std::int64_t content = 128;      ///< Of a head's query and key without position.
  std::int64_t rotary = 64;        ///< Of a token's shared rotary key.
  std::int64_t value = 128;        ///< Of a head's value.
};
/// DeepSeek-V3 and V3.2 (config.json of deepseek-ai/DeepSeek-V3.2).
inline constexpr LatentWidths kDeepSeekV3{};
/// GLM-5 (config.json of zai-org/GLM-5).
inline constexpr LatentWidths kGlm5{
    .hidden = 6144, .query_rank = 2048, .content = 192, .value = 256};

/// The type of a row's cache: 16 bits on a GPU without FP8, whatever the row asked for.
[[nodiscard]] core::DataType cache_type(const MeasuredRow& row, const device::DeviceSpec& device);

/// Rotates the rotary part of queries, `columns` elements a head, and appends the token's latent to
/// the cache; one kernel.
[[nodiscard]] workload::Stream rotate_and_append(const LatentWidths& widths, std::int64_t tokens,
                                                 std::int64_t heads, std::int64_t columns,
                                                 core::DataType cache);

/// Causal attention of `heads` expanded keys and values, each of its own width.
[[nodiscard]] workload::Attention expanded_attention(const LatentWidths& widths, std::int64_t batch,
                                                     std::int64_t queries, std::int64_t tokens,
                                                     std::int64_t heads, core::DataType type);
/// The cast of its queries, keys and values to FP8.
[[nodiscard]] workload::Stream expanded_cast(const LatentWidths& widths, std::int64_t tokens,
                                             std::int64_t heads);

/// Collects the kernels of one module, each of which finds in L2 what the one before wrote.
class ModuleKernels {
 public:
  /// `projections`: what projections multiply in; their weights, so many elements, survive replays
  /// where they fit L2. `block_gemm`: implementation of block-scaled ones.
  ModuleKernels(core::DataType projections, std::int64_t weights, std::string block_gemm,
                const device::DeviceSpec& device);

  void add(workload::Operator op, const std::string& implementation = {});
  /// y[tokens,n] = x[tokens,k] w[k,n], after the cast of x where the product is narrower.
  void project(std::int64_t tokens, std::int64_t n, std::int64_t k);
  /// The same of an input that `project` has just cast, or in BF16 whatever the others do.
  void multiply(std::int64_t tokens, std::int64_t n, std::int64_t k, core::DataType type);
  void norm(std::int64_t tokens, std::int64_t columns);
  /// A product of each head's part of all tokens with a weight of its own, in BF16.
  void absorb(std::int64_t heads, std::int64_t tokens, std::int64_t n, std::int64_t k);

  [[nodiscard]] core::DataType projections() const { return projections_; }
  MeasuredCall call;

 private:
  core::DataType projections_;
  std::string block_gemm_;
  gpu::ExecutionContext context_;
};

/// Latent attention's own projections and norms: down to the ranks of queries and of the cache in
/// one product, the queries up to `heads`.
void compress(ModuleKernels& module, const LatentWidths& widths, std::int64_t tokens,
              std::int64_t heads);
/// Keys and values of `tokens` expanded, the queries rotated, the cache filled, attention.
struct ExpandedCall {
  std::int64_t batch = 1, queries = 1, tokens = 1, heads = 1;
  core::DataType cache = core::DataType::bf16;
  core::DataType multiplied = core::DataType::bf16;
  std::string attention{};      ///< Implementation.
  bool assembles_keys = false;  ///< Content and rotary part of each head are copied together.
};
void attend_expanded(ModuleKernels& module, const LatentWidths& widths, const ExpandedCall& how);
/// The up-projections absorbed into queries and outputs around `attention`.
void attend_absorbed(ModuleKernels& module, const LatentWidths& widths,
                     const workload::AbsorbedAttention& attention, core::DataType cache,
                     const std::string& implementation);
/// Elements of the weights of all of it and of the output's projection.
[[nodiscard]] std::int64_t module_weights(const LatentWidths& widths, std::int64_t heads);

}  // namespace tessera::calibrate
