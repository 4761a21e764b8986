#include "models/training/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace tessera::training {
namespace {

std::string name(const Chunk& chunk, const StagePlacement& placement) {
  const bool several = placement.stages() > placement.ranks();
  return fmt::format("{}{}{}", chunk.micro_batch, chunk.copy == 0 ? "" : "'",
                     several ? fmt::format(" s{}", chunk.stage) : "");
}

}  // namespace

StagePlacement::StagePlacement(int ranks, std::vector<std::vector<int>> rank_of)
    : ranks_(ranks), rank_of_(std::move(rank_of)) {
  assert(!rank_of_.empty() && !rank_of_.front().empty() && "there must be a stage to place");
}

StagePlacement StagePlacement::one_each(int ranks) { return round_robin(ranks, 1); }

StagePlacement StagePlacement::round_robin(int ranks, int stages_per_rank) {
  std::vector<int> rank_of;
  for (int stage = 0; stage < ranks * stages_per_rank; ++stage) rank_of.push_back(stage % ranks);
  return {ranks, {std::move(rank_of)}};
}

StagePlacement StagePlacement::v_shape(int ranks) {
  std::vector<int> rank_of;
  for (int stage = 0; stage < 2 * ranks; ++stage) {
    rank_of.push_back(std::min(stage, 2 * ranks - 1 - stage));
  }
  return {ranks, {std::move(rank_of)}};
}

StagePlacement StagePlacement::mirrored(int ranks) {
  std::vector<std::vector<int>> rank_of(2);
  for (int stage = 0; stage < ranks; ++stage) {
    rank_of[0].push_back(stage);
    rank_of[1].push_back(ranks - 1 - stage);
  }
  return {ranks, std::move(rank_of)};
}

std::vector<int> StagePlacement::stages_of(int rank) const {
  std::vector<int> stages;
  for (const std::vector<int>& copy : rank_of_) {
    for (std::size_t stage = 0; stage < copy.size(); ++stage) {
      if (copy[stage] == rank) stages.push_back(static_cast<int>(stage));
    }
  }
  return stages;
}

std::vector<int> StagePlacement::holders(int stage) const {
  std::set<int> ranks;
  for (const std::vector<int>& copy : rank_of_) ranks.insert(copy[static_cast<std::size_t>(stage)]);
  return {ranks.begin(), ranks.end()};
}

std::optional<Chunk> StagePlacement::consumer(const Chunk& chunk, bool gradient) const {
  const int stage = chunk.stage + (gradient ? -1 : 1);
  if (stage < 0 || stage >= stages()) return std::nullopt;
  return Chunk{stage, chunk.micro_batch, chunk.copy};
}

std::optional<int> StagePlacement::receiver(const Chunk& chunk, bool gradient) const {
  const std::optional<Chunk> to = consumer(chunk, gradient);
  if (!to || rank_of(*to) == rank_of(chunk)) return std::nullopt;
  return rank_of(*to);
}

std::set<std::pair<int, int>> StagePlacement::links() const {
  std::set<std::pair<int, int>> links;
  for (const std::vector<int>& copy : rank_of_) {
    for (std::size_t stage = 0; stage + 1 < copy.size(); ++stage) {
      if (copy[stage] == copy[stage + 1]) continue;
      links.emplace(copy[stage], copy[stage + 1]);
      links.emplace(copy[stage + 1], copy[stage]);
    }
  }
  return links;
}

int StagePlacement::directions() const {
  std::vector<std::set<int>> to(static_cast<std::size_t>(ranks_));
  for (const std::vector<int>& copy : rank_of_) {
    for (std::size_t stage = 0; stage + 1 < copy.size(); ++stage) {
      if (copy[stage] == copy[stage + 1]) continue;
      to[static_cast<std::size_t>(copy[stage])].insert(copy[stage + 1]);
    }
  }
  std::size_t most = 0;
  for (const std::set<int>& receivers : to) most = std::max(most, receivers.size());
  return static_cast<int>(most);
}

int most_in_flight(const Program& program, bool until_weight_gradient) {
  int now = 0, most = 0;
  for (const Instruction& i : program) {
    now += runs_forward(i.action);
    most = std::max(most, now);
    now -= until_weight_gradient ? runs_weight_gradient(i.action) : runs_input_gradient(i.action);
  }
  return most;
}

std::string span_category(Action action) {
  switch (action) {
    case Action::forward:
      return "forward";
    case Action::backward:
    case Action::input_gradient:
      return "backward";
    case Action::weight_gradient:
      return "weight";
    case Action::overlapped:
      return "overlapped";
  }
  return "";
}

std::string describe(const Instruction& i, const StagePlacement& placement) {
  switch (i.action) {
    case Action::forward:
      return "F " + name(i.forward, placement);
    case Action::backward:
      return "B " + name(i.backward, placement);
    case Action::input_gradient:
      return "Bi " + name(i.backward, placement);
    case Action::weight_gradient:
      return "W " + name(i.backward, placement);
    case Action::overlapped:
      return fmt::format("F {} & B {}", name(i.forward, placement), name(i.backward, placement));
  }
  return "";
}

}  // namespace tessera::training
