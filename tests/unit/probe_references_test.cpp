#include <array>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "calibrate/probes/gemm_reference.hpp"
#include "calibrate/probes/number_format.hpp"
#include "calibrate/probes/sizes.hpp"
#include "calibrate/probes/test_pattern.hpp"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {

TEST_CASE("formats encode their landmarks", "[probes]") {
  CHECK(encode(e4m3_format(), 448) == 0x7E);   // OFP8: S.1111.110
  CHECK(encode(e4m3_format(), 1e9F) == 0x7E);  // saturates
  CHECK(encode(e4m3_format(), -1) == 0xB8);
  CHECK(encode(e4m3_format(), std::ldexp(1.0F, -9)) == 0x01);  // smallest subnormal
  CHECK(std::isnan(decode(e4m3_format(), 0x7F)));
  CHECK(encode(e2m1_format(), 6) == 0x7);
  CHECK(encode(e2m1_format(), 0.5F) == 0x1);
  CHECK(encode(e2m1_format(), -1.5F) == 0xB);
  CHECK(encode(bf16_format(), 1) == 0x3F80);
  CHECK(encode(fp16_format(), 1) == 0x3C00);
  CHECK(encode(fp16_format(), 65504) == 0x7BFF);
  CHECK(std::isnan(decode(bf16_format(), 0xFFFF)));
  CHECK(std::isinf(decode(fp16_format(), 0x7C00)));
}

TEST_CASE("every value of a format comes back", "[probes]") {
  for (const FloatFormat& format : {bf16_format(), fp16_format(), e4m3_format(), e2m1_format()}) {
    const int bits = 1 + format.exponent_bits + format.mantissa_bits;
    for (std::uint32_t code = 0; code < 1U << bits; ++code) {
      const float value = decode(format, code);
      if (!std::isfinite(value) || std::fabs(value) < std::numeric_limits<float>::min()) continue;
      if (encode(format, value) != code) {
        CAPTURE(bits, code, value);
        CHECK(encode(format, value) == code);
      }
    }
  }
}

TEST_CASE("rounding is to nearest, ties to even", "[probes]") {
  CHECK(decode(bf16_format(), encode(bf16_format(), 1 + 1.0F / 256)) == 1);  // tie, down
  CHECK(decode(bf16_format(), encode(bf16_format(), 1 + 3.0F / 256)) == 1 + 4.0F / 256);
  CHECK(decode(e4m3_format(), encode(e4m3_format(), 1.95F)) == 2);  // carries into the exponent
  CHECK(decode(e2m1_format(), encode(e2m1_format(), 2.5F)) == 2);
}

TEST_CASE("power-of-two scales round up", "[probes]") {
  CHECK(decode_e8m0(encode_e8m0_up(1)) == 1);
  CHECK(decode_e8m0(encode_e8m0_up(1.01F)) == 2);
  CHECK(decode_e8m0(encode_e8m0_up(0.25F)) == 0.25F);
}

TEST_CASE("patterns are spread over their range and differ by seed", "[probes]") {
  double sum = 0, squares = 0;
  constexpr int kCount = 20000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double value = uniform_value(3, i);
    REQUIRE(value >= -1);
    REQUIRE(value < 1);
    sum += value;
    squares += value * value;
  }
  CHECK(std::abs(sum / kCount) < 0.02);
  CHECK(squares / kCount == Catch::Approx(1.0 / 3).epsilon(0.03));
  CHECK(uniform_value(1, 5) != uniform_value(2, 5));
}

TEST_CASE("an error is relative to the norm, and unwritten results never pass", "[probes]") {
  RelativeError error;
  error.add(3, 3);
  error.add(4.05, 4);
  CHECK(error.value() == Catch::Approx(0.05 / 5));
  error.add(std::nan(""), 1);
  CHECK(std::isinf(error.value()));
  RelativeError exact;
  exact.add(0, 0);
  CHECK(exact.value() == 0);
  RelativeError of_zero;
  of_zero.add(1e-9, 0);
  CHECK(std::isinf(of_zero.value()));
}

TEST_CASE("sampled places are within the result and include its corners", "[probes]") {
  const auto places = sampled_places(300, 5000, 40, 1);
  CHECK(places.size() == 40);
  const std::set<Place> unique(places.begin(), places.end());
  CHECK(unique.size() == places.size());
  for (const Place corner : {Place{0, 0}, Place{299, 4999}, Place{0, 4999}, Place{127, 128}})
    CHECK(unique.contains(corner));
  for (const Place& place : places) CHECK((place.row < 300 && place.column < 5000));
  CHECK(sampled_places(1, 3, 64, 1).size() == 3);
  CHECK(sampled_places(300, 5000, 40, 1) == places);
}

TEST_CASE("scales of every block have their own place in the buffer", "[probes]") {
  constexpr std::int64_t kRows = 200, kColumns = 640;
  for (const ScaleKind kind : {ScaleKind::vector128, ScaleKind::block128, ScaleKind::vector32_e8m0,
                               ScaleKind::vector16_e4m3}) {
    std::map<std::int64_t, std::int64_t> block_at;
    std::set<std::int64_t> blocks;
    for (std::int64_t row = 0; row < kRows; ++row)
      for (std::int64_t column = 0; column < kColumns; ++column) {
        const ScalePlace place = scale_place(kind, row, column, kRows, kColumns);
        REQUIRE(place.offset >= 0);
        REQUIRE(place.offset < scale_count(kind, kRows, kColumns));
        REQUIRE(block_at.try_emplace(place.offset, place.block).first->second == place.block);
        blocks.insert(place.block);
      }
    CHECK(block_at.size() == blocks.size());
  }
}

TEST_CASE("block scales lie in tiles of 128 rows by 4 groups", "[probes]") {
  // cuBLAS 13 documentation: offset (row % 32) 16 + (row / 32) 4 + group within a tile of 512.
  const auto offset = [](std::int64_t row, std::int64_t group) {
    return scale_place(ScaleKind::vector32_e8m0, row, 32 * group, 256, 256).offset;
  };
  CHECK(offset(0, 0) == 0);
  CHECK(offset(1, 0) == 16);
  CHECK(offset(32, 0) == 4);
  CHECK(offset(33, 3) == 16 + 4 + 3);
  CHECK(offset(0, 4) == 512);        // the next tile along k
  CHECK(offset(128, 0) == 2 * 512);  // the next tile of rows
}

TEST_CASE("a reference element is the scaled product of its row and column", "[probes]") {
  const GemmTypeTraits* block = nullptr;
  for (const GemmTypeTraits& traits : gemm_types())
    if (traits.type == GemmType::fp8_block) block = &traits;
  REQUIRE(block != nullptr);
  const GemmSeeds seeds = gemm_seeds(0);
  double expected = 0;
  for (std::int64_t i = 0; i < 256; ++i) {
    const double x = decode(
        e4m3_format(),
        encode(e4m3_format(),
               8 * uniform_value(seeds.activation, static_cast<std::uint64_t>(5 * 256 + i))));
    const double w =
        decode(e4m3_format(),
               encode(e4m3_format(),
                      8 * uniform_value(seeds.weight, static_cast<std::uint64_t>(130 * 256 + i))));
    const std::int64_t group = i / 128;
    // Row 5 has scales 10 and 11 of x; row 130 is in the second line of 128-blocks of w.
    expected +=
        x * w *
        std::exp2(scale_exponent(seeds.activation, static_cast<std::uint64_t>(10 + group))) *
        std::exp2(scale_exponent(seeds.weight, static_cast<std::uint64_t>(2 + group)));
  }
  CHECK(gemm_element(*block, seeds, 8, 256, 256, 5, 130) == Catch::Approx(expected));
}

TEST_CASE("integers of a GEMM are what the bits say", "[probes]") {
  CHECK(element_value(GemmType::int8, 0xFF) == -1);
  CHECK(element_value(GemmType::int8, 0x64) == 100);
  const std::uint32_t bits = element_bits_at(GemmType::int8, 1, 0, 0, 16);
  CHECK(std::fabs(element_value(GemmType::int8, bits) - 100 * uniform_value(1, 0)) <= 0.5F);
}

TEST_CASE("geometric sizes ascend without repeats and keep both ends", "[probes]") {
  CHECK(geometric(4, 32, 1, 1) == std::vector<std::int64_t>{4, 8, 16, 32});
  CHECK(geometric(4, 33, 1, 1) == std::vector<std::int64_t>{4, 8, 16, 32, 33});
  CHECK(geometric(1, 4, 4, 1) == std::vector<std::int64_t>{1, 2, 3, 4});
  CHECK(geometric(100, 100, 3, 64) == std::vector<std::int64_t>{128});
}

TEST_CASE("sizes reach beyond L2 and stay within memory", "[probes]") {
  const SizeLimits limits{.l2_bytes = 50LL << 20, .memory_bytes = 80LL << 30};
  CHECK(copy_sizes(limits).front() == 64 << 10);
  CHECK(copy_sizes(limits).back() == 16 * limits.l2_bytes);
  const SizeLimits small{.l2_bytes = 50LL << 20, .memory_bytes = 1LL << 30};
  CHECK(copy_sizes(small).back() == 256LL << 20);
  const SizeLimits quick{.l2_bytes = 50LL << 20, .memory_bytes = 80LL << 30, .quick = true};
  CHECK(copy_sizes(quick).size() * 3 < copy_sizes(limits).size());
  CHECK(gemm_shapes(quick).size() < 10);
  std::set<std::array<std::int64_t, 3>> unique;
  for (const GemmShape& shape : gemm_shapes(limits)) unique.insert({shape.m, shape.n, shape.k});
  CHECK(unique.size() + 2 >= gemm_shapes(limits).size());  // two squares are also projections
  CHECK(unique.size() > 250);
}

}  // namespace tessera::calibrate::probes
