#include "models/kernels/tile_kernel.hpp"

namespace tessera::kernels {

void add_survivor(const Box& box, double part, std::vector<WarmBox>& boxes) {
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ull;  // spreads consecutive places evenly
  const std::uint64_t place = (std::uint64_t{box.row} << 32 | box.column) + box.tensor;
  const double share = static_cast<double>((place * kGolden) >> 40) / static_cast<double>(1 << 24);
  if (share < part) boxes.push_back({box, false});
}

}  // namespace tessera::kernels
