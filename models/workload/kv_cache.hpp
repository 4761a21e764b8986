#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/workload/architecture.hpp"

/// What attention keeps of the tokens that it has seen: bytes by layer, by sequence and by block.
namespace tessera::workload {

/// How one cached token is written.
enum class CacheFormat {
  bf16,
  fp8,  ///< Every element in FP8, one scale a tensor: kernels multiply it as it is.
  /// FlashMLA's: the latent in FP8 with an FP32 scale every 128 elements, the rotated part in BF16;
  /// widened before it is multiplied. 656 bytes for 512 + 64 (its README, "FP8 KV cache").
  fp8_flashmla,
};
[[nodiscard]] std::string_view to_string(CacheFormat format);
[[nodiscard]] std::optional<CacheFormat> parse_cache_format(std::string_view name);
/// In the order of CacheFormat.
[[nodiscard]] std::vector<std::string> cache_format_names();

/// Layers whose tokens take the same bytes and stay as long.
struct CacheLayers {
  std::string name;         ///< "latents", "keys and values", "indexer keys"; MTP layers apart.
  std::int64_t layers = 0;  ///< That keep them.
  double values = 0;        ///< Elements of one token and layer on one GPU.
  double bytes = 0;         ///< The same in bytes, scales included.
  std::int64_t window = 0;  ///< Tokens kept at most; 0: all. Of chunked attention: a whole chunk.

  /// Tokens of a sequence of `tokens` that are still kept.
  [[nodiscard]] double kept(double tokens) const;
  friend bool operator==(const CacheLayers&, const CacheLayers&) = default;
};

struct CacheChoice {
  CacheFormat format = CacheFormat::bf16;
  /// Ranks that share the heads of one sequence's attention. Heads of keys and values are split
  /// over them and, where there are fewer than ranks, held more than once; a latent is the same for
  /// all heads, so every rank holds all of it, and of the indexer's key too.
  std::int64_t tensor = 1;
  std::int64_t block = 64;    ///< Tokens of a page.
  bool mtp = false;           ///< The layers of MTP modules keep tokens too.
  std::int64_t pipeline = 1;  ///< Stages that share the layers, the first ones one layer more.
  std::int64_t stage = 0;     ///< Which of them; MTP layers lie on the last.
};

/// Layers [first, end) of one of `pipeline` stages that share `layers` as equally as they can.
struct LayerRange {
  std::int64_t first = 0, end = 0;
};
[[nodiscard]] LayerRange stage_layers(std::int64_t layers, std::int64_t pipeline,
                                      std::int64_t stage);

/// The cache of one GPU of a tensor-parallel group.
class KvCache {
 public:
  /// Throws core::Refusal (illegal_combination): `tensor` does not divide the heads, or neither
  /// divides the heads of keys and values nor is a multiple of them; FlashMLA's format without a
  /// latent, or with one that its scales do not divide.
  KvCache(const Architecture& architecture, const CacheChoice& choice);

  [[nodiscard]] const std::vector<CacheLayers>& layers() const { return layers_; }
  /// Bytes that one more token adds, as long as every window still holds it.
  [[nodiscard]] double bytes_per_token() const;
  /// Of these the part that stays as long as its sequence does.
  [[nodiscard]] double lasting_bytes_per_token() const;
  /// Bytes of a sequence that has `tokens`, were pages one token long.
  [[nodiscard]] double bytes(double tokens) const;
  /// Bytes of the pages that hold it, a mean over where it ends and windows begin: the last page
  /// misses (block - 1) / 2 tokens, and a full window touches block - 1 tokens more than it holds.
  [[nodiscard]] double paged_bytes(double tokens) const;

 private:
  void add(CacheLayers layers);
  void add_attention(const AttentionKind& attention, const CacheChoice& choice,
                     const std::string& where);

  std::vector<CacheLayers> layers_;
  double block_;
};

/// Elements a token and layer that multi-head attention with the model's query heads would keep:
/// heads (qk_dim + v_dim), beside what the model's own attention keeps on one GPU that holds it
/// all.
struct CacheComparison {
  double own = 0, multi_head = 0;
  [[nodiscard]] double saved() const { return 1 - own / multi_head; }
};
[[nodiscard]] CacheComparison against_multi_head(const Architecture& architecture);

}  // namespace tessera::workload
