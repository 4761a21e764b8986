#include "calibrate/probes/collective_reference.hpp"

#include <algorithm>

namespace tessera::calibrate::probes {

const char* collective_name(Collective collective) {
  return collective == Collective::all_reduce ? "all_reduce" : "alltoall";
}

std::vector<std::int64_t> collective_sizes(const SizeLimits& limits) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t bytes = 512; bytes <= 512LL << 20; bytes *= limits.quick ? 32 : 2)
    sizes.push_back(bytes);
  return sizes;
}

int collective_iterations(std::int64_t bytes) {
  constexpr std::int64_t kMostBytes = 4LL << 30;  // in a batch: a tenth of a second at 40 GB/s
  return static_cast<int>(std::clamp<std::int64_t>(kMostBytes / bytes, 8, 100));
}

double collective_result(Collective collective, int rank, int ranks, std::int64_t elements,
                         std::int64_t index) {
  const auto input = [](int of, std::int64_t at) {
    return static_cast<double>(decode(fp16_format(), collective_input_bits(of, at)));
  };
  if (collective == Collective::all_to_all) {
    const std::int64_t part = elements / ranks;
    const auto from = static_cast<int>(index / part);
    return input(from, rank * part + index % part);
  }
  double sum = 0;
  for (int of = 0; of < ranks; ++of) sum += input(of, index);
  return sum;
}

}  // namespace tessera::calibrate::probes
