#include <catch2/catch_test_macros.hpp>

#include "tests/unit/simt.hpp"

// The kernels themselves, after what stands for the GPU.
#include "calibrate/probes/attention_kernel.cuh"
#include "calibrate/probes/attention_reference.hpp"
#include "calibrate/probes/cast_kernels.cuh"
#include "calibrate/probes/cast_reference.hpp"
#include "calibrate/probes/mla_decode_kernel.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

constexpr double kAllowedError = 1e-2;

std::vector<std::uint16_t> filled(std::uint64_t seed, std::int64_t count, float factor) {
  std::vector<std::uint16_t> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<std::uint16_t>(attention_bits(seed, i, factor)));
  return values;
}

/// Error of the whole output of the kernel against the reference.
template <int dim>
double attention_error(const AttentionShape& shape) {
  const AttentionSeeds seeds = attention_seeds(0);
  const std::int64_t q_count = shape.batch * shape.q_length * shape.heads * dim;
  const std::int64_t kv_count = shape.batch * shape.kv_length * shape.kv_heads * dim;
  const auto q = filled(seeds.q, q_count, kQueryFactor);
  const auto k = filled(seeds.k, kv_count, 1);
  const auto v = filled(seeds.v, kv_count, 1);
  std::vector<std::uint16_t> out(q.size(), 0xFFFF);
  const AttentionArguments arguments{
      .q = q.data(),
      .k = k.data(),
      .v = v.data(),
      .out = out.data(),
      .heads = static_cast<int>(shape.heads),
      .kv_heads = static_cast<int>(shape.kv_heads),
      .q_length = static_cast<int>(shape.q_length),
      .kv_length = static_cast<int>(shape.kv_length),
      .window = static_cast<int>(shape.window),
      .causal = shape.causal,
      .scale_log2 = static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(dim))};
  simt::launch({static_cast<unsigned>((shape.q_length + kAttentionRows - 1) / kAttentionRows),
                static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch)},
               kAttentionThreads, attention_shared_bytes(dim), [&] { attend<dim>(arguments); });
  RelativeError error;
  for (std::int64_t batch = 0; batch < shape.batch; ++batch)
    for (std::int64_t query = 0; query < shape.q_length; ++query)
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const auto row = attention_row(shape, seeds, batch, head, query);
        const std::int64_t at = ((batch * shape.q_length + query) * shape.heads + head) * dim;
        for (std::int64_t i = 0; i < dim; ++i)
          error.add(decode(bf16_format(), out[static_cast<std::size_t>(at + i)]),
                    row[static_cast<std::size_t>(i)]);
      }
  return error.value();
}

double mla_error(const MlaDecodeShape& shape, const MlaSplits& splits) {
  const AttentionSeeds seeds = attention_seeds(0);
  const auto q = filled(seeds.q, shape.batch * shape.heads * kMlaKey, kQueryFactor);
  const auto cache = filled(seeds.k, shape.batch * shape.kv_length * kMlaKey, 1);
  const std::int64_t parts_count = shape.batch * splits.count * shape.heads;
  std::vector<float> parts(static_cast<std::size_t>(parts_count * kMlaValue), NAN);
  std::vector<float> sums(static_cast<std::size_t>(parts_count), NAN);
  std::vector<std::uint16_t> out(static_cast<std::size_t>(shape.batch * shape.heads * kMlaValue),
                                 0xFFFF);
  const MlaDecodeArguments arguments{
      .q = q.data(),
      .cache = cache.data(),
      .parts = parts.data(),
      .sums_log2 = sums.data(),
      .heads = static_cast<int>(shape.heads),
      .kv_length = static_cast<int>(shape.kv_length),
      .split_tokens = splits.tokens,
      .scale_log2 = static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(192.0))};
  simt::launch({static_cast<unsigned>(splits.count),
                static_cast<unsigned>((shape.heads + kMlaHeads - 1) / kMlaHeads),
                static_cast<unsigned>(shape.batch)},
               kAttentionThreads, mla_decode_shared_bytes(), [&] { mla_decode(arguments); });
  simt::launch({static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch), 1},
               kAttentionThreads, 0, [&] {
                 mla_combine(parts.data(), sums.data(), splits.count, static_cast<int>(shape.heads),
                             out.data());
               });
  RelativeError error;
  for (std::int64_t batch = 0; batch < shape.batch; ++batch)
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      const auto row = mla_decode_row(shape, seeds, batch, head);
      for (std::int64_t i = 0; i < kMlaValue; ++i)
        error.add(
            decode(bf16_format(),
                   out[static_cast<std::size_t>((batch * shape.heads + head) * kMlaValue + i)]),
            row[static_cast<std::size_t>(i)]);
    }
  return error.value();
}

/// Error of the cast matrix, each value times the scale that the kernel stored.
template <CastKind kind>
double cast_error(std::int64_t count) {
  std::vector<std::uint32_t> from;
  for (std::int64_t i = 0; i < count; i += 2)
    from.push_back(cast_input_bits(5, i) | cast_input_bits(5, i + 1) << 16);
  constexpr int kGroup = cast_group(kind);
  std::vector<unsigned char> to(static_cast<std::size_t>(count), 0xFF);
  std::vector<float> scales(static_cast<std::size_t>(count), NAN);  // room for all formats
  CastArguments arguments{.from = from.data(),
                          .count = count,
                          .to = to.data(),
                          .scale = nullptr,
                          .block_scales = reinterpret_cast<unsigned char*>(scales.data())};
  simt::launch({2, 1, 1}, kCastThreads, 0, [&] { cast_groups<kind>(arguments); });
  RelativeError error;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto group = static_cast<std::size_t>(i / kGroup);
    const unsigned char bits = arguments.block_scales[group];
    float scale = scales[group];
    if (kind == CastKind::mxfp8) scale = decode_e8m0(bits);
    if (kind == CastKind::nvfp4) scale = decode(e4m3_format(), bits);
    const auto at = static_cast<std::size_t>(i);
    const float value = kind == CastKind::nvfp4
                            ? decode(e2m1_format(), to[at / 2] >> (4 * (at % 2)) & 0xFU)
                            : decode(e4m3_format(), to[at]);
    error.add(value * scale, cast_result(kind, 5, i));
  }
  return error.value();
}

}  // namespace

TEST_CASE("the attention kernel computes attention", "[probes][kernels]") {
  // Ragged lengths: tiles of 64 queries and keys are cut on both sides.
  CHECK(attention_error<64>({1, 70, 70, 2, 1, 64, 0, true}) < kAllowedError);
  CHECK(attention_error<64>({1, 16, 150, 1, 1, 64, 0, true}) < kAllowedError);  // after a prefix
  CHECK(attention_error<64>({2, 66, 66, 1, 1, 64, 0, false}) < kAllowedError);
  CHECK(attention_error<128>({1, 130, 130, 1, 1, 128, 20, true}) < kAllowedError);
}

TEST_CASE("a kernel that leaves out a key is found wrong", "[probes][kernels]") {
  const AttentionShape shape{1, 8, 8, 1, 1, 64, 0, false};
  AttentionShape fewer = shape;
  fewer.kv_length = 7;
  fewer.q_length = 7;
  const AttentionSeeds seeds = attention_seeds(0);
  RelativeError error;
  const auto all = attention_row(shape, seeds, 0, 0, 3);
  const auto less = attention_row(fewer, seeds, 0, 0, 3);
  for (std::size_t i = 0; i < all.size(); ++i) error.add(less[i], all[i]);
  CHECK(error.value() > kAllowedError);
}

TEST_CASE("the decode kernel computes latent attention, split or whole", "[probes][kernels]") {
  CHECK(mla_error({1, 40, 16}, {.count = 1, .tokens = 64}) < kAllowedError);
  CHECK(mla_error({1, 70, 20}, {.count = 3, .tokens = 32}) < kAllowedError);
}

TEST_CASE("casts bring every group to the top of its type", "[probes][kernels]") {
  constexpr std::int64_t kCount = 128 * 40;  // more than the grid takes at once
  CHECK(cast_error<CastKind::fp8_block>(kCount) < 1e-6);
  CHECK(cast_error<CastKind::mxfp8>(kCount) < 1e-6);
  CHECK(cast_error<CastKind::nvfp4>(kCount) < 1e-6);
}

TEST_CASE("the pass for the largest magnitude finds it, and the cast uses it",
          "[probes][kernels]") {
  constexpr std::int64_t kCount = 4 * 1000;
  std::vector<std::uint32_t> from;
  double largest = 0;
  for (std::int64_t i = 0; i < kCount; i += 2)
    from.push_back(cast_input_bits(9, i) | cast_input_bits(9, i + 1) << 16);
  for (std::int64_t i = 0; i < kCount; ++i)
    largest = std::max(largest, cast_result(CastKind::fp8_amax, 9, i));
  float found = 0;
  CastArguments arguments{.from = from.data(),
                          .count = kCount,
                          .to = nullptr,
                          .scale = &found,
                          .block_scales = nullptr};
  simt::launch({2, 1, 1}, kCastThreads, 0, [&] { raise_amax(arguments); });
  CHECK(found == largest);

  float scale = kTensorScale;
  std::vector<unsigned char> to(kCount, 0xFF);
  arguments.to = to.data();
  arguments.scale = &scale;
  simt::launch({1, 1, 1}, kCastThreads, 0, [&] { cast_tensor(arguments); });
  for (std::int64_t i = 0; i < kCount; ++i)
    REQUIRE(decode(e4m3_format(), to[static_cast<std::size_t>(i)]) * kTensorScale ==
            cast_result(CastKind::fp8, 9, i));
}

TEST_CASE("splits of a cache cover it, and none is empty", "[probes]") {
  for (const std::int64_t length : {1, 31, 32, 33, 1000, 65536})
    for (const std::int64_t batch : {1, 7, 300}) {
      const MlaSplits splits = mla_splits({batch, length, 128}, 132, kMlaHeads, kMlaTokens);
      CHECK(splits.tokens % kMlaTokens == 0);
      CHECK(std::int64_t{splits.count} * splits.tokens >= length);
      CHECK(std::int64_t{splits.count - 1} * splits.tokens < length);
    }
  CHECK(mla_splits({1, 65536, 16}, 132, kMlaHeads, kMlaTokens).count > 200);
  CHECK(mla_splits({300, 65536, 16}, 132, kMlaHeads, kMlaTokens).count == 1);
}

}  // namespace tessera::calibrate::probes
