#include "models/gpu/machine.hpp"

#include <algorithm>
#include <cmath>
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
  if (touched <= capacity) return 1;
  const double cycles = touched / capacity;
  constexpr int kIterations = 200;  // the error shrinks by cycles * h a step, less than 1
  double part = 0;
  for (int i = 0; i < kIterations; ++i) part = std::exp(-(1 - part) * cycles);
  return part;
}

}  // namespace tessera::gpu
