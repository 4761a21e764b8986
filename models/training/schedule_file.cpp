#include "models/training/schedule_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "models/training/schedule_check.hpp"

namespace tessera::training {
namespace {

using core::ConfigNode;

// Bounds that keep arithmetic sane; far outside of any pipeline.
constexpr std::int64_t kMaxRanks = 100'000;
constexpr std::int64_t kMaxMicroBatches = 10'000'000;

constexpr std::string_view kForms = "'F 3', 'B 3', 'Bi 3', 'W 3' or 'F 4 & B 3'";

/// One letter with its chunk; the stage is -1 where it is not written.
struct Word {
  std::string action;
  Chunk chunk;
};

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// "F 3" or "F 3 s5".
std::optional<Word> word_of(const std::vector<std::string_view>& parts) {
  if (parts.size() < 2 || parts.size() > 3) return std::nullopt;
  const std::optional<int> micro_batch = number(parts[1]);
  if (!micro_batch) return std::nullopt;
  Word word{std::string(parts[0]), {-1, *micro_batch, 0}};
  if (parts.size() == 2) return word;
  const std::optional<int> stage =
      parts[2].starts_with('s') ? number(parts[2].substr(1)) : std::nullopt;
  if (!stage) return std::nullopt;
  word.chunk.stage = *stage;
  return word;
}

std::optional<Instruction> instruction_of(const Word& word) {
  if (word.action == "F") return Instruction{Action::forward, word.chunk, {}};
  if (word.action == "B") return Instruction{Action::backward, {}, word.chunk};
  if (word.action == "Bi") return Instruction{Action::input_gradient, {}, word.chunk};
  if (word.action == "W") return Instruction{Action::weight_gradient, {}, word.chunk};
  return std::nullopt;
}

std::optional<Instruction> parse(std::string_view text) {
  std::vector<std::string_view> parts = split(text);
  const auto pair = std::find(parts.begin(), parts.end(), "&");
  const std::optional<Word> first = word_of({parts.begin(), pair});
  if (!first) return std::nullopt;
  if (pair == parts.end()) return instruction_of(*first);
  const std::optional<Word> second = word_of({pair + 1, parts.end()});
  if (!second || first->action != "F" || second->action != "B") return std::nullopt;
  return Instruction{Action::overlapped, first->chunk, second->chunk};
}

class Reader {
 public:
  explicit Reader(const ConfigNode& root) : root_(root) {}

  std::optional<Schedule> read() {
    micro_batches_ = static_cast<int>(root_.integer("micro_batches", 1, kMaxMicroBatches));
    const std::vector<ConfigNode> programs = root_.list("programs");
    read_placement(static_cast<int>(programs.size()));
    if (!root_.sound()) {
      root_.ignore("programs");
      return std::nullopt;
    }
    Schedule schedule{*placement_, {}};
    for (const ConfigNode& program : programs) {
      const int rank = static_cast<int>(schedule.programs.size());
      schedule.programs.push_back(read_program(rank, program));
    }
    if (root_.sound()) check(schedule);
    return schedule;
  }

  [[nodiscard]] int micro_batches() const { return micro_batches_; }

 private:
  void read_placement(int ranks) {
    std::vector<int> rank_of;
    const ConfigNode list = root_.at("rank_of_stage");
    for (const std::int64_t rank : list.integers(0, kMaxRanks)) {
      rank_of.push_back(static_cast<int>(rank));
    }
    if (!root_.sound()) return;
    if (ranks == 0) return root_.at("programs").fail("found no rank; expected one program a rank");
    if (rank_of.empty()) return list.fail("found no stage; expected the rank of each");
    for (int rank = 0; rank < ranks; ++rank) {
      if (std::find(rank_of.begin(), rank_of.end(), rank) != rank_of.end()) continue;
      list.fail_against(root_.at("programs"), fmt::format("rank {} holds no stage", rank));
    }
    const int last = *std::max_element(rank_of.begin(), rank_of.end());
    if (last >= ranks) {
      list.fail_against(root_.at("programs"), fmt::format("found rank {}; expected one of the {} "
                                                          "that have a program",
                                                          last, ranks));
    }
    placement_.emplace(ranks, std::vector<std::vector<int>>{std::move(rank_of)});
  }

  Program read_program(int rank, const ConfigNode& list) {
    Program program;
    std::vector<ConfigNode>& nodes = nodes_.emplace_back();
    for (const ConfigNode& item : list.list()) {
      const std::string text = item.text();
      std::optional<Instruction> instruction = parse(text);
      if (!instruction) {
        item.fail(fmt::format("found '{}'; expected {}", text, kForms));
        continue;
      }
      if (runs_forward(instruction->action)) settle(rank, instruction->forward, item);
      if (instruction->action != Action::forward) settle(rank, instruction->backward, item);
      program.push_back(*instruction);
      nodes.push_back(item);
    }
    nodes.push_back(list);
    return program;
  }

  /// Fills in the stage of a rank that has only one.
  void settle(int rank, Chunk& chunk, const ConfigNode& item) const {
    if (chunk.stage >= 0) return;
    const std::vector<int> stages = placement_->stages_of(rank);
    if (stages.size() == 1) {
      chunk.stage = stages.front();
      return;
    }
    item.fail(fmt::format(
        "found '{}' without a stage; rank {} holds stages {}: expected for "
        "example 'F {} s{}'",
        item.text(), rank, fmt::join(stages, " and "), chunk.micro_batch, stages.front()));
  }

  void check(const Schedule& schedule) const {
    for (const ScheduleMistake& mistake : mistakes_of(schedule, micro_batches_)) {
      nodes_[static_cast<std::size_t>(mistake.rank)][mistake.instruction].fail(mistake.message);
    }
  }

  ConfigNode root_;
  int micro_batches_ = 0;
  std::optional<StagePlacement> placement_;
  std::vector<std::vector<ConfigNode>> nodes_;  ///< By rank: its instructions, then the program.
};

}  // namespace

core::LoadOptions schedule_options() {
  core::LoadOptions options;
  options.kind = "schedule";
  options.folder = kScheduleFolder;
  return options;
}

CustomSchedule read_schedule(const core::ConfigDocument& document) {
  Reader reader(document.root());
  std::optional<Schedule> schedule = reader.read();
  document.finish();
  return {document.name(), std::move(*schedule), reader.micro_batches()};
}

CustomSchedule load_schedule(const std::string& path_or_name, const core::LoadOptions& options) {
  return read_schedule(core::ConfigDocument::load(path_or_name, options));
}

std::string to_yaml(const Schedule& schedule, int micro_batches) {
  std::vector<int> rank_of;
  for (int stage = 0; stage < schedule.placement.stages(); ++stage) {
    rank_of.push_back(schedule.placement.rank_of({stage, 0, 0}));
  }
  std::string text = fmt::format("micro_batches: {}\nrank_of_stage: [{}]\nprograms:\n",
                                 micro_batches, fmt::join(rank_of, ", "));
  for (const Program& program : schedule.programs) {
    std::vector<std::string> words;
    for (const Instruction& i : program) words.push_back(describe(i, schedule.placement));
    text += fmt::format("  - [{}]\n", fmt::join(words, ", "));
  }
  return text;
}

}  // namespace tessera::training
