#include "models/training/rank_grid.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>

namespace tessera::training {
namespace {

using Group = std::vector<int>;

TEST_CASE("tensor is fastest, then context, data and pipeline", "[rank_grid]") {
  const RankGrid grid({.tensor = 2, .context = 2, .data = 2, .pipeline = 2},
                      Placement::expert_first);
  CHECK(grid.gpus() == 16);
  CHECK(grid.members() == 8);
  CHECK(grid.tensor_group(0, 0) == Group{0, 1});
  CHECK(grid.tensor_group(1, 3) == Group{10, 11});
  CHECK(grid.context_group(0, 0) == Group{0, 2});
  CHECK(grid.context_group(0, 5) == Group{5, 7});
  CHECK(grid.data_group(0, 0) == Group{0, 4});
  CHECK(grid.data_group(1, 3) == Group{11, 15});
  CHECK(grid.data_context_group(0, 1) == Group{1, 3, 5, 7});
  CHECK(grid.pipeline_group(3) == Group{3, 11});
  CHECK(grid.embedding_group(5) == Group{5, 13});
}

TEST_CASE("Megatron's documented example: 16 GPUs, tensor 2, pipeline 4", "[rank_grid]") {
  // megatron/core/parallel_state.py, initialize_model_parallel: "8 data_parallel groups [g0, g2],
  // [g1, g3], ...; 8 tensor model-parallel groups [g0, g1], ...; 4 pipeline model-parallel groups
  // [g0, g4, g8, g12], ..."
  const RankGrid grid({.tensor = 2, .data = 2, .pipeline = 4}, Placement::expert_first);
  CHECK(grid.data_group(0, 0) == Group{0, 2});
  CHECK(grid.data_group(0, 1) == Group{1, 3});
  CHECK(grid.data_group(3, 1) == Group{13, 15});
  CHECK(grid.tensor_group(2, 2) == Group{10, 11});
  CHECK(grid.pipeline_group(0) == Group{0, 4, 8, 12});
  CHECK(grid.pipeline_group(3) == Group{3, 7, 11, 15});
}

TEST_CASE("experts fold over tensor, context and data", "[rank_grid]") {
  const RankGrid grid(
      {.tensor = 2, .context = 1, .data = 4, .pipeline = 1, .expert = 4, .expert_tensor = 1},
      Placement::expert_first);
  CHECK(grid.expert_group(0, 0) == Group{0, 1, 2, 3});  // across both tensor ranks
  CHECK(grid.expert_group(0, 6) == Group{4, 5, 6, 7});
  CHECK(grid.expert_data_group(0, 1) == Group{1, 5});
  CHECK(grid.expert_tensor_group(0, 1) == Group{1});
  const RankGrid split(
      {.tensor = 2, .context = 1, .data = 4, .pipeline = 1, .expert = 2, .expert_tensor = 2},
      Placement::expert_first);
  CHECK(split.expert_tensor_group(0, 3) == Group{2, 3});
  CHECK(split.expert_group(0, 3) == Group{1, 3});
  CHECK(split.expert_data_group(0, 3) == Group{3, 7});
}

TEST_CASE("pipeline-first keeps tensor ranks together", "[rank_grid]") {
  const RankGrid grid({.tensor = 2, .data = 2, .pipeline = 2}, Placement::pipeline_first);
  CHECK(grid.tensor_group(0, 0) == Group{0, 1});
  CHECK(grid.pipeline_group(0) == Group{0, 2});
  CHECK(grid.data_group(0, 0) == Group{0, 4});
}

TEST_CASE("every kind of group parts the cluster", "[rank_grid]") {
  using Of = Group (RankGrid::*)(int, int) const;
  const Of kinds[] = {&RankGrid::tensor_group,     &RankGrid::context_group,
                      &RankGrid::data_group,       &RankGrid::data_context_group,
                      &RankGrid::expert_group,     &RankGrid::expert_tensor_group,
                      &RankGrid::expert_data_group};
  for (const Placement placement : {Placement::expert_first, Placement::pipeline_first}) {
    const RankGrid grid(
        {.tensor = 4, .context = 2, .data = 6, .pipeline = 3, .expert = 8, .expert_tensor = 2},
        placement);
    for (const Of kind : kinds) {
      std::set<Group> groups;
      std::map<int, int> seen;
      for (int rank = 0; rank < 3; ++rank) {
        for (int member = 0; member < grid.members(); ++member) {
          const Group group = (grid.*kind)(rank, member);
          groups.insert(group);
          CHECK(std::count(group.begin(), group.end(), grid.gpu(rank, member)) == 1);
        }
      }
      for (const Group& group : groups) {
        for (const int gpu : group) ++seen[gpu];
      }
      CHECK(static_cast<int>(seen.size()) == grid.gpus());
      for (const auto& [gpu, times] : seen) CHECK(times == 1);
    }
  }
}

}  // namespace
}  // namespace tessera::training
