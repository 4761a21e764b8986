#include "models/training/rank_grid.hpp"

#include <cassert>

namespace tessera::training {

RankGrid::RankGrid(const Degrees& degrees, Placement placement)
    : degrees_(degrees), placement_(placement) {
  assert(members() % (degrees.expert * degrees.expert_tensor) == 0 &&
         "experts must fold into the GPUs of a pipeline rank");
}

int RankGrid::gpu(int pipeline_rank, int member) const {
  if (placement_ == Placement::expert_first) return pipeline_rank * members() + member;
  const int tensor = degrees_.tensor;
  return member % tensor + tensor * (pipeline_rank + degrees_.pipeline * (member / tensor));
}

std::vector<int> RankGrid::along(int pipeline_rank, int member, int stride, int count) const {
  const int first = member - member / stride % count * stride;
  std::vector<int> group;
  for (int i = 0; i < count; ++i) group.push_back(gpu(pipeline_rank, first + i * stride));
  return group;
}

std::vector<int> RankGrid::tensor_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, 1, degrees_.tensor);
}

std::vector<int> RankGrid::context_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, degrees_.tensor, degrees_.context);
}

std::vector<int> RankGrid::data_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, degrees_.tensor * degrees_.context, degrees_.data);
}

std::vector<int> RankGrid::data_context_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, degrees_.tensor, degrees_.context * degrees_.data);
}

std::vector<int> RankGrid::expert_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, degrees_.expert_tensor, degrees_.expert);
}

std::vector<int> RankGrid::expert_tensor_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, 1, degrees_.expert_tensor);
}

std::vector<int> RankGrid::expert_data_group(int pipeline_rank, int member) const {
  return along(pipeline_rank, member, degrees_.expert_tensor * degrees_.expert, expert_data());
}

std::vector<int> RankGrid::pipeline_group(int member) const {
  std::vector<int> group;
  for (int rank = 0; rank < degrees_.pipeline; ++rank) group.push_back(gpu(rank, member));
  return group;
}

std::vector<int> RankGrid::embedding_group(int member) const {
  if (degrees_.pipeline == 1) return {gpu(0, member)};
  return {gpu(0, member), gpu(degrees_.pipeline - 1, member)};
}

}  // namespace tessera::training
