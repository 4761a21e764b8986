#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "calibrate/probes/collective_reference.hpp"
#include "calibrate/probes/device_state.hpp"
#include "calibrate/probes/grouped_sizes.hpp"

namespace tessera::calibrate::probes {

TEST_CASE("an all-reduce gives every rank the same sum, exact in FP16", "[probes]") {
  for (std::int64_t i = 0; i < 50; ++i) {
    double sum = 0;
    for (int rank = 0; rank < 8; ++rank)
      sum += decode(fp16_format(), collective_input_bits(rank, i));
    CHECK(collective_result(Collective::all_reduce, 0, 8, 50, i) == sum);
    CHECK(collective_result(Collective::all_reduce, 7, 8, 50, i) == sum);
    CHECK(decode(fp16_format(), encode(fp16_format(), static_cast<float>(sum))) == sum);
  }
}

TEST_CASE("an all-to-all brings each rank its part of every other", "[probes]") {
  const auto input = [](int rank, std::int64_t i) {
    return static_cast<double>(decode(fp16_format(), collective_input_bits(rank, i)));
  };
  // 4 ranks, 8 elements, 2 a part: rank 1 ends with elements 2 and 3 of ranks 0, 1, 2, 3.
  for (int from = 0; from < 4; ++from)
    for (std::int64_t i = 0; i < 2; ++i)
      CHECK(collective_result(Collective::all_to_all, 1, 4, 8, 2 * from + i) == input(from, 2 + i));
}

TEST_CASE("sizes of collectives divide among ranks, iterations fall with size", "[probes]") {
  const SizeLimits limits{.l2_bytes = 1 << 20, .memory_bytes = 1LL << 40};
  for (const std::int64_t bytes : collective_sizes(limits)) CHECK(bytes / 2 % 32 == 0);
  CHECK(collective_sizes(limits).front() == 512);
  CHECK(collective_sizes(limits).back() == 512 << 20);
  CHECK(collective_iterations(512) == 100);
  CHECK(collective_iterations(512 << 20) == 8);
}

TEST_CASE("rows of experts are balanced and every row has its expert", "[probes]") {
  const auto rows = balanced_rows({.experts = 8, .rows = 19, .n = 1, .k = 1});
  CHECK(rows == std::vector<std::int64_t>{3, 3, 3, 2, 2, 2, 2, 2});
  CHECK(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}) == 19);
  CHECK(expert_of(rows, 0) == 0);
  CHECK(expert_of(rows, 8) == 2);
  CHECK(expert_of(rows, 9) == 3);
  CHECK(expert_of(rows, 18) == 7);
  CHECK(balanced_rows({.experts = 4, .rows = 1, .n = 1, .k = 1}).back() == 0);
}

TEST_CASE("a sampler reads what nvidia-smi prints until it is stopped", "[probes]") {
  const auto program =
      std::filesystem::temp_directory_path() / ("tessera_smi_" + std::to_string(::getpid()));
  std::ofstream{program} << "#!/bin/sh\n"
                            "while echo 'H, GPU-1, 580, 1900, 2619, 1980, 650.5, 700, 50'\n"
                            "do sleep 0.02; done\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  DeviceSampler sampler{program.string(), "GPU-1", 20};
  std::this_thread::sleep_for(std::chrono::milliseconds{300});
  const auto samples = sampler.stop();
  REQUIRE_FALSE(samples.empty());
  CHECK(samples.front().power_w == 650.5);
  CHECK(query_device_state(program.string(), "GPU-1")->sm_clock_mhz == 1900);
  std::filesystem::remove(program);

  DeviceSampler silent{"/no/such/program", "GPU-1", 20};
  CHECK(silent.stop().empty());
}

}  // namespace tessera::calibrate::probes
