#include "calibrate/probes/chase_chain.hpp"

#include <cassert>
#include <numeric>
#include <utility>

#include "calibrate/probes/test_pattern.hpp"

namespace tessera::calibrate::probes {

std::vector<std::uint32_t> random_cycle(std::int64_t lines, std::uint64_t seed) {
  assert(lines >= 2 && lines < (1LL << 32) && "a cycle of lines that fit 32 bits");
  std::vector<std::uint32_t> next(static_cast<std::size_t>(lines));
  std::iota(next.begin(), next.end(), 0U);
  for (std::size_t i = next.size() - 1; i > 0; --i)
    std::swap(next[i], next[scrambled(seed, i) % i]);  // never with itself: one cycle
  return next;
}

std::uint32_t place_after(const std::vector<std::uint32_t>& next, std::uint64_t loads) {
  std::uint32_t place = 0;
  for (std::uint64_t i = loads % next.size(); i > 0; --i) place = next[place];
  return place;
}

}  // namespace tessera::calibrate::probes
