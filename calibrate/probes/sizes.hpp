#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/probes/number_format.hpp"

/// Which sizes a probe measures: spread so that every level of the memory hierarchy and every
/// regime of a kernel is met, and fitted to the GPU's L2 and memory.
namespace tessera::calibrate::probes {

struct SizeLimits {
  std::int64_t l2_bytes;
  std::int64_t memory_bytes;  ///< That may be allocated.
  bool quick = false;
};

/// Geometric from `first` to `last`, `per_octave` values to each doubling, multiples of `multiple`,
/// ascending, without repeats, both ends included.
[[nodiscard]] std::vector<std::int64_t> geometric(std::int64_t first, std::int64_t last,
                                                  int per_octave, std::int64_t multiple);

/// Bytes of a copy (read once, written once): from the launch-bound to well beyond L2.
[[nodiscard]] std::vector<std::int64_t> copy_sizes(const SizeLimits& limits);

/// y[m,n] = x[m,k] w[n,k].
struct GemmShape {
  std::int64_t m, n, k;
  friend bool operator==(const GemmShape&, const GemmShape&) = default;
};
/// Rows from decode to prefill times the projections of models, and squares.
[[nodiscard]] std::vector<GemmShape> gemm_shapes(const SizeLimits& limits);

/// Products whose sustained power is measured: from weight streaming to all tensor cores busy.
[[nodiscard]] std::vector<GemmShape> power_shapes(const SizeLimits& limits);

/// Kernels in a graph or a stream of the launch probe.
[[nodiscard]] std::vector<std::int64_t> launch_counts(const SizeLimits& limits);

/// Footprints of a pointer chase: from within L1 to well beyond L2; multiples of a line.
[[nodiscard]] std::vector<std::int64_t> chase_footprints(const SizeLimits& limits);

/// Reads of a footprint, `passes` times, by `sms` CTAs of one SM each.
struct L2Read {
  std::int64_t footprint_bytes;
  int passes;
  int sms;
};
/// Footprints from L1's size to beyond L2 on all SMs, and a quarter of L2 on 1, 2, 4, ... of them.
[[nodiscard]] std::vector<L2Read> l2_reads(const SizeLimits& limits, int sms);

/// Words between the reads of neighbouring lanes: 1 is free of conflicts, 32 puts all into one
/// bank.
[[nodiscard]] std::vector<int> shared_strides(const SizeLimits& limits);

inline constexpr int kSharedWords = 8192;  ///< Of the buffer that the shared-memory probe reads.
inline constexpr int kSharedLoads = 8;     ///< Independent loads of a thread in one round.
/// First word that a lane reads in a load; neighbouring loads are 128 bytes apart.
TESSERA_HOST_DEVICE constexpr unsigned shared_word(unsigned lane, int stride_words, int load) {
  return (lane * static_cast<unsigned>(stride_words) + 32U * static_cast<unsigned>(load)) %
         static_cast<unsigned>(kSharedWords);
}
/// What a lane's sum is after `rounds` rounds of loads of `words` words.
[[nodiscard]] std::uint32_t shared_sum(int lane, int stride_words, int words, int rounds);

/// Prefill attention of heads of one GPU; `window` keys are seen, 0: all.
struct AttentionShape {
  std::int64_t batch, q_length, kv_length, heads, kv_heads, head_dim, window;
  bool causal;
};
/// Causal (grouped and not, full and windowed) and bidirectional (encoders).
[[nodiscard]] std::vector<AttentionShape> attention_shapes(const SizeLimits& limits);
[[nodiscard]] std::int64_t attention_bytes(const AttentionShape& shape);

/// Absorbed multi-head latent attention, one token a sequence.
struct MlaDecodeShape {
  std::int64_t batch, kv_length, heads;
};
[[nodiscard]] std::vector<MlaDecodeShape> mla_decode_shapes(const SizeLimits& limits);

/// How the cache is split over CTAs: enough for two CTAs' worth of every SM, in whole steps.
struct MlaSplits {
  int count;
  int tokens;  ///< Of one split; the last may have fewer, none is empty.
};
[[nodiscard]] MlaSplits mla_splits(const MlaDecodeShape& shape, int sms, int heads_of_cta,
                                   int step_tokens);

/// A matrix that is cast.
struct CastShape {
  std::int64_t rows, columns;
};
[[nodiscard]] std::vector<CastShape> cast_shapes(const SizeLimits& limits);

}  // namespace tessera::calibrate::probes
