#include "models/gpu/machine.hpp"

#include <algorithm>
#include <numeric>

namespace tessera::gpu {

std::vector<int> give_sms(std::vector<int> gpc_sizes, int sms) {
  int total = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), 0);
  while (sms > 0 && total > sms) {
    auto largest = std::max_element(gpc_sizes.begin(), gpc_sizes.end());
    const int taken = std::min({2, total - sms, *largest});
    *largest -= taken;
    total -= taken;
  }
  return gpc_sizes;
}

int cluster_slots(const std::vector<int>& gpc_sizes, int cluster, int ctas_per_sm) {
  int slots = 0;
  for (const int size : gpc_sizes) slots += size / cluster * ctas_per_sm;
  return slots;
}

double surviving_part(double touched, double capacity) {
  constexpr double kSpread = 0.15;  // of the capacity. // assumed: sets do not fill evenly
  return std::clamp(1 - (touched / capacity - 1) / kSpread, 0.0, 1.0);
}

}  // namespace tessera::gpu
