#include "calibrate/probes/sizes.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "calibrate/probes/test_pattern.hpp"

namespace tessera::calibrate::probes {

std::vector<std::int64_t> geometric(std::int64_t first, std::int64_t last, int per_octave,
                                    std::int64_t multiple) {
  assert(first > 0 && last >= first && per_octave > 0 && multiple > 0 && "an empty range of sizes");
  std::vector<std::int64_t> sizes;
  const auto add = [&](double size) {
    const auto whole =
        static_cast<std::int64_t>(std::llround(size / static_cast<double>(multiple)));
    const std::int64_t rounded = std::max<std::int64_t>(1, whole) * multiple;
    if (sizes.empty() || rounded > sizes.back()) sizes.push_back(rounded);
  };
  const double octaves = std::log2(static_cast<double>(last) / static_cast<double>(first));
  const int steps = static_cast<int>(std::ceil(octaves * per_octave - 1e-9));
  for (int i = 0; i < steps; ++i)
    add(static_cast<double>(first) * std::exp2(static_cast<double>(i) / per_octave));
  add(static_cast<double>(last));
  return sizes;
}

std::vector<std::int64_t> copy_sizes(const SizeLimits& limits) {
  constexpr std::int64_t kSmallest = 64 << 10;
  // Source and destination of the largest size, 16 times L2, leave half of the memory free.
  const std::int64_t largest =
      std::max(kSmallest, std::min(16 * limits.l2_bytes, limits.memory_bytes / 4));
  return geometric(kSmallest, largest, limits.quick ? 1 : 4, 4096);
}

std::vector<GemmShape> gemm_shapes(const SizeLimits& limits) {
  const std::vector<std::int64_t> rows =
      limits.quick ? std::vector<std::int64_t>{16, 1024, 4096}
                   : std::vector<std::int64_t>{1,   4,   16,   32,   64,   128,  192,  256,
                                               512, 768, 1024, 2048, 4096, 8192, 16384};
  struct Projection {
    std::int64_t n, k;
  };
  // Widths of projections from 8 to 600 billion parameters, whole and cut for tensor parallelism.
  const std::vector<Projection> projections =
      limits.quick ? std::vector<Projection>{{4096, 4096}, {1536, 7168}}
                   : std::vector<Projection>{
                         {512, 4096},   {1024, 4096},  {4096, 4096},  {6144, 4096},  {28672, 4096},
                         {4096, 14336}, {8192, 8192},  {1280, 8192},  {57344, 8192}, {8192, 28672},
                         {1536, 7168},  {24576, 1536}, {7168, 16384}, {2112, 7168},  {4096, 7168},
                         {7168, 2048},  {129280, 7168}};
  std::vector<GemmShape> shapes;
  for (const Projection& projection : projections)
    for (const std::int64_t m : rows) shapes.push_back({m, projection.n, projection.k});
  const std::vector<std::int64_t> squares =
      limits.quick ? std::vector<std::int64_t>{2048, 8192}
                   : std::vector<std::int64_t>{256,  512,  1024, 1536,  2048, 3072,
                                               4096, 6144, 8192, 12288, 16384};
  for (const std::int64_t side : squares) shapes.push_back({side, side, side});
  return shapes;
}

std::vector<GemmShape> power_shapes(const SizeLimits& limits) {
  if (limits.quick) return {{16, 8192, 8192}, {8192, 8192, 8192}};
  return {{1, 8192, 8192},     {16, 8192, 8192},    {128, 8192, 8192},    {512, 8192, 8192},
          {2048, 8192, 8192},  {8192, 8192, 8192},  {16384, 8192, 8192},  {4096, 4096, 7168},
          {4096, 24576, 1536}, {1024, 7168, 16384}, {16384, 16384, 16384}};
}

std::vector<std::int64_t> launch_counts(const SizeLimits& limits) {
  if (limits.quick) return {1, 16, 256};
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
}

std::vector<std::int64_t> chase_footprints(const SizeLimits& limits) {
  constexpr std::int64_t kSmallest = 4 << 10;
  constexpr std::int64_t kLine = 128;
  const std::int64_t largest =
      std::max(kSmallest, std::min(8 * limits.l2_bytes, limits.memory_bytes / 4));
  return geometric(kSmallest, largest / kLine * kLine, limits.quick ? 1 : 2, kLine);
}

std::vector<L2Read> l2_reads(const SizeLimits& limits, int sms) {
  constexpr std::int64_t kSmallest = 1 << 20;
  constexpr std::int64_t kBytesPerSm = 8 << 20;  // some 100 us at 64 bytes a cycle
  std::vector<L2Read> reads;
  const auto add = [&](std::int64_t footprint, int on_sms) {
    const std::int64_t passes = kBytesPerSm * on_sms / footprint;
    reads.push_back({footprint, static_cast<int>(std::max<std::int64_t>(1, passes)), on_sms});
  };
  const std::int64_t largest = std::min(8 * limits.l2_bytes, limits.memory_bytes / 4);
  for (const std::int64_t footprint :
       geometric(kSmallest, std::max(kSmallest, largest), limits.quick ? 1 : 2, 4096))
    add(footprint, sms);
  const std::int64_t within_l2 = limits.l2_bytes / 4 / 4096 * 4096;
  for (int on_sms = 1; on_sms < sms; on_sms *= 2) add(within_l2, on_sms);
  return reads;
}

std::vector<int> shared_strides(const SizeLimits& limits) {
  if (limits.quick) return {1, 4, 32};
  return {1, 2, 3, 4, 8, 12, 16, 32, 36, 64};
}

std::uint32_t shared_sum(int lane, int stride_words, int words, int rounds) {
  std::uint32_t sum = 0;
  for (int load = 0; load < kSharedLoads; ++load) {
    const unsigned first = shared_word(static_cast<unsigned>(lane), stride_words, load);
    for (int word = 0; word < words; ++word)
      sum += static_cast<std::uint32_t>(scrambled(0, first + static_cast<unsigned>(word)));
  }
  return sum * static_cast<std::uint32_t>(rounds);
}

std::vector<AttentionShape> attention_shapes(const SizeLimits& limits) {
  struct Heads {
    std::int64_t heads, kv_heads, head_dim, window;
  };
  const std::vector<Heads> groups =
      limits.quick ? std::vector<Heads>{{32, 8, 128, 0}}
                   : std::vector<Heads>{{32, 8, 128, 0},  {8, 1, 128, 0},   {4, 4, 128, 0},
                                        {64, 64, 128, 0}, {64, 8, 64, 128}, {32, 32, 64, 0}};
  const std::vector<std::int64_t> lengths =
      limits.quick ? std::vector<std::int64_t>{1024, 8192}
                   : std::vector<std::int64_t>{16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384};
  const std::vector<std::int64_t> batches =
      limits.quick ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{1, 2, 4, 8, 16, 32};
  constexpr std::int64_t kMostTokens = 65536;
  std::vector<AttentionShape> shapes;
  for (const bool causal : {true, false})
    for (const Heads& group : groups)
      for (const std::int64_t batch : batches)
        for (const std::int64_t length : lengths)
          if (batch * length <= kMostTokens &&
              (causal || (group.window == 0 && group.heads == group.kv_heads) || limits.quick))
            shapes.push_back({batch, length, length, group.heads, group.kv_heads, group.head_dim,
                              group.window, causal});
  return shapes;
}

std::int64_t attention_bytes(const AttentionShape& shape) {
  return 2 * shape.batch * shape.head_dim *
         (2 * shape.q_length * shape.heads + 2 * shape.kv_length * shape.kv_heads);
}

std::vector<MlaDecodeShape> mla_decode_shapes(const SizeLimits& limits) {
  constexpr std::int64_t kTokenBytes = 576 * 2;
  std::vector<MlaDecodeShape> shapes;
  for (const std::int64_t heads : limits.quick ? std::vector<std::int64_t>{16, 128}
                                               : std::vector<std::int64_t>{16, 32, 64, 128})
    for (const std::int64_t batch : limits.quick
                                        ? std::vector<std::int64_t>{64}
                                        : std::vector<std::int64_t>{1, 8, 32, 64, 128, 256})
      for (const std::int64_t length :
           limits.quick ? std::vector<std::int64_t>{4096}
                        : std::vector<std::int64_t>{64, 512, 1024, 2048, 4096, 8192, 16384, 65536})
        if (batch * length * kTokenBytes < limits.memory_bytes / 4)
          shapes.push_back({batch, length, heads});
  return shapes;
}

MlaSplits mla_splits(const MlaDecodeShape& shape, int sms, int heads_of_cta, int step_tokens) {
  const auto up = [](std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; };
  const std::int64_t ctas = shape.batch * up(shape.heads, heads_of_cta);
  const std::int64_t steps = up(shape.kv_length, step_tokens);
  const std::int64_t wanted = std::clamp<std::int64_t>(up(2LL * sms, ctas), 1, steps);
  const std::int64_t tokens = up(steps, wanted) * step_tokens;
  return {.count = static_cast<int>(up(shape.kv_length, tokens)),
          .tokens = static_cast<int>(tokens)};
}

std::vector<CastShape> cast_shapes(const SizeLimits& limits) {
  const std::vector<std::int64_t> columns =
      limits.quick ? std::vector<std::int64_t>{7168}
                   : std::vector<std::int64_t>{512, 1536, 2048, 4096, 7168, 8192, 16384};
  const std::vector<std::int64_t> rows =
      limits.quick ? std::vector<std::int64_t>{16, 4096}
                   : std::vector<std::int64_t>{1,   4,    16,   32,   64,   128,   256,  512,
                                               768, 1024, 2048, 4096, 8192, 16384, 32768};
  std::vector<CastShape> shapes;
  for (const std::int64_t width : columns)
    for (const std::int64_t height : rows) shapes.push_back({height, width});
  return shapes;
}

}  // namespace tessera::calibrate::probes
