#include "reports/study_page.hpp"

#include <algorithm>
#include <cstddef>

namespace tessera::reports {

const core::Estimate* StudyPoint::find(const std::string& quantity) const {
  for (const auto& [name, estimate] : quantities)
    if (name == quantity) return &estimate;
  return nullptr;
}

std::vector<std::size_t> pareto_front(
    const std::vector<std::optional<std::pair<double, double>>>& points) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < points.size(); ++i)
    if (points[i]) order.push_back(i);
  // From the largest x down, a point is on the front when its y is above all before it.
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return *points[a] > *points[b]; });
  std::vector<std::size_t> front;
  for (const std::size_t i : order)
    if (front.empty() || points[i]->second > points[front.back()]->second) front.push_back(i);
  std::reverse(front.begin(), front.end());
  return front;
}

}  // namespace tessera::reports
