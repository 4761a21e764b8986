#include "models/training/schedule_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

namespace tessera::training {
namespace {

/// The three things that every chunk must have done, in order.
enum class Step : std::size_t { forward, input_gradient, weight_gradient };
constexpr std::array kSteps{Step::forward, Step::input_gradient, Step::weight_gradient};

std::string to_string(Step step) {
  switch (step) {
    case Step::forward:
      return "forward";
    case Step::input_gradient:
      return "backward";
    case Step::weight_gradient:
      return "weight gradient";
  }
  return "";
}

std::string name(const Chunk& chunk) {
  return fmt::format("micro-batch {} on stage {}", chunk.micro_batch, chunk.stage);
}

struct Work {
  Step step;
  Chunk chunk;
};

std::vector<Work> works_of(const Instruction& i) {
  std::vector<Work> works;
  if (runs_forward(i.action)) works.push_back({Step::forward, i.forward});
  if (runs_input_gradient(i.action)) works.push_back({Step::input_gradient, i.backward});
  if (runs_weight_gradient(i.action)) works.push_back({Step::weight_gradient, i.backward});
  return works;
}

/// Where a chunk's three steps stand in its rank's program.
using Places = std::array<std::optional<std::size_t>, 3>;

class Checker {
 public:
  Checker(const Schedule& schedule, int micro_batches)
      : schedule_(schedule), placement_(schedule.placement), micro_batches_(micro_batches) {}

  std::vector<ScheduleMistake> run() {
    for (int rank = 0; rank < placement_.ranks(); ++rank) place(rank);
    check_chunks();
    if (mistakes_.empty()) find_deadlock();
    std::sort(mistakes_.begin(), mistakes_.end());
    return std::move(mistakes_);
  }

 private:
  void add(int rank, std::size_t instruction, std::string message) {
    mistakes_.push_back({rank, instruction, std::move(message)});
  }
  [[nodiscard]] const Program& program(int rank) const {
    return schedule_.programs[static_cast<std::size_t>(rank)];
  }

  void place(int rank) {
    for (std::size_t at = 0; at < program(rank).size(); ++at) {
      for (const Work& work : works_of(program(rank)[at])) place(rank, at, work);
    }
  }

  void place(int rank, std::size_t at, const Work& work) {
    const Chunk& chunk = work.chunk;
    if (chunk.stage < 0 || chunk.stage >= placement_.stages()) {
      return add(
          rank, at,
          fmt::format("stage {} does not exist; there are {}", chunk.stage, placement_.stages()));
    }
    if (chunk.micro_batch < 0 || chunk.micro_batch >= micro_batches_) {
      return add(rank, at,
                 fmt::format("micro-batch {} does not exist; there are {}", chunk.micro_batch,
                             micro_batches_));
    }
    if (placement_.rank_of(chunk) != rank) {
      return add(rank, at,
                 fmt::format("stage {} is on rank {}, not on rank {}", chunk.stage,
                             placement_.rank_of(chunk), rank));
    }
    std::optional<std::size_t>& place = places_[chunk][static_cast<std::size_t>(work.step)];
    if (place) {
      return add(rank, at,
                 fmt::format("the {} of {} runs twice", to_string(work.step), name(chunk)));
    }
    place = at;
  }

  /// Every chunk has all steps, each after the one before.
  void check_chunks() {
    const int per_copy = micro_batches_ / placement_.copies();
    for (int copy = 0; copy < placement_.copies(); ++copy) {
      for (int stage = 0; stage < placement_.stages(); ++stage) {
        for (int m = 0; m < per_copy; ++m) check_chunk({stage, m, copy});
      }
    }
  }

  void check_chunk(const Chunk& chunk) {
    const Places& places = places_[chunk];
    const int rank = placement_.rank_of(chunk);
    for (const Step step : kSteps) {
      if (places[static_cast<std::size_t>(step)]) continue;
      return add(rank, program(rank).size(),
                 fmt::format("the {} of {} is missing", to_string(step), name(chunk)));
    }
    if (*places[1] <= *places[0]) {
      add(rank, *places[1], fmt::format("the backward of {} runs before its forward", name(chunk)));
    }
    if (*places[2] < *places[1]) {
      add(rank, *places[2],
          fmt::format("the weight gradient of {} runs before its input gradient", name(chunk)));
    }
  }

  /// What the rank's next instruction waits for; none when it can run.
  struct Wait {
    bool gradient;
    Chunk producer;
  };
  [[nodiscard]] std::optional<Wait> wait_of(int rank) const {
    const Instruction& i = program(rank)[next_[static_cast<std::size_t>(rank)]];
    for (const bool gradient : {false, true}) {
      if (gradient ? !runs_input_gradient(i.action) : !runs_forward(i.action)) continue;
      const Chunk& chunk = gradient ? i.backward : i.forward;
      const std::optional<Chunk> producer = placement_.producer(chunk, gradient);
      if (producer && !done_.contains({gradient, *producer})) return Wait{gradient, *producer};
    }
    return std::nullopt;
  }

  [[nodiscard]] bool finished(int rank) const {
    return next_[static_cast<std::size_t>(rank)] == program(rank).size();
  }

  bool advance(int rank) {
    bool moved = false;
    for (; !finished(rank) && !wait_of(rank); moved = true) {
      for (const Work& work : works_of(program(rank)[next_[static_cast<std::size_t>(rank)]++])) {
        done_.insert({work.step == Step::input_gradient, work.chunk});
      }
    }
    return moved;
  }

  void find_deadlock() {
    next_.assign(static_cast<std::size_t>(placement_.ranks()), 0);
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < placement_.ranks(); ++rank) moved = advance(rank) || moved;
    }
    for (int rank = 0; rank < placement_.ranks(); ++rank) {
      if (!finished(rank)) return name_circle(rank);
    }
  }

  /// Follows who waits for whom until a rank comes twice: those between are the circle.
  void name_circle(int rank) {
    std::vector<int> path;
    while (std::find(path.begin(), path.end(), rank) == path.end()) {
      path.push_back(rank);
      rank = placement_.rank_of(wait_of(rank)->producer);
    }
    path.erase(path.begin(), std::find(path.begin(), path.end(), rank));
    std::rotate(path.begin(), std::min_element(path.begin(), path.end()), path.end());
    std::string text = "deadlock: ";
    for (std::size_t i = 0; i < path.size(); ++i) {
      const Wait wait = *wait_of(path[i]);
      text += fmt::format(
          "{}rank {} waits with '{}' for the {} of {}", i > 0 ? "; " : "", path[i],
          describe(program(path[i])[next_[static_cast<std::size_t>(path[i])]], placement_),
          wait.gradient ? "gradient" : "activation", name(wait.producer));
    }
    add(path.front(), next_[static_cast<std::size_t>(path.front())], std::move(text));
  }

  const Schedule& schedule_;
  const StagePlacement& placement_;
  int micro_batches_;
  std::map<Chunk, Places> places_;
  std::vector<std::size_t> next_;          ///< By rank, while looking for a deadlock.
  std::set<std::pair<bool, Chunk>> done_;  ///< (input gradient, chunk)
  std::vector<ScheduleMistake> mistakes_;
};

}  // namespace

std::vector<ScheduleMistake> mistakes_of(const Schedule& schedule, int micro_batches) {
  return Checker(schedule, micro_batches).run();
}

}  // namespace tessera::training
