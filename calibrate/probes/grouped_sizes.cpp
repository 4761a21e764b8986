#include "calibrate/probes/grouped_sizes.hpp"

#include <cassert>

namespace tessera::calibrate::probes {

std::vector<GroupedShape> grouped_shapes(const SizeLimits& limits) {
  struct Layer {
    std::int64_t experts, n, k;
  };
  // Gate-and-up and down projections of mixtures of experts, as one GPU of 1 to 32 holds them.
  const std::vector<Layer> layers =
      limits.quick ? std::vector<Layer>{{8, 4096, 7168}}
                   : std::vector<Layer>{{8, 4096, 7168},  {8, 7168, 2048},   {32, 4096, 7168},
                                        {32, 7168, 2048}, {128, 1536, 2048}, {128, 2048, 768},
                                        {8, 28672, 4096}, {8, 4096, 14336}};
  const std::vector<std::int64_t> rows =
      limits.quick ? std::vector<std::int64_t>{1024}
                   : std::vector<std::int64_t>{8,    32,   64,   128,  256,   512,
                                               1024, 2048, 4096, 8192, 16384, 32768};
  std::vector<GroupedShape> shapes;
  for (const Layer& layer : layers)
    for (const std::int64_t count : rows)
      if (2 * layer.experts * layer.n * layer.k < limits.memory_bytes / 2)
        shapes.push_back({layer.experts, count, layer.n, layer.k});
  return shapes;
}

std::vector<std::int64_t> balanced_rows(const GroupedShape& shape) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(shape.experts),
                                 shape.rows / shape.experts);
  for (std::int64_t i = 0; i < shape.rows % shape.experts; ++i) ++rows[static_cast<std::size_t>(i)];
  return rows;
}

std::int64_t expert_of(const std::vector<std::int64_t>& rows, std::int64_t row) {
  std::int64_t end = 0;
  for (std::size_t expert = 0; expert < rows.size(); ++expert) {
    end += rows[expert];
    if (row < end) return static_cast<std::int64_t>(expert);
  }
  assert(false && "a row beyond the last expert's");
  return 0;
}

}  // namespace tessera::calibrate::probes
