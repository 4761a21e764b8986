#include "calibrate/import_nccl_tests.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <istream>
#include <map>
#include <optional>
#include <set>

#include "calibrate/text_lines.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::calibrate {
namespace {

/// Longer lines are not this tool's.
constexpr std::size_t kLongestLine = 1 << 16;

const std::vector<std::string> kCollectives = {
    "all_reduce", "all_gather", "reduce_scatter", "alltoall", "broadcast",
    "reduce",     "gather",     "scatter",        "sendrecv", "hypercube"};

struct Word {
  std::string_view text;
  int column;  ///< From 1, in the line as it stands in the file.
};

std::vector<Word> words_of(std::string_view line, std::size_t from) {
  std::vector<Word> words;
  while ((from = line.find_first_not_of(" \t\r", from)) != std::string_view::npos) {
    const std::size_t end = std::min(line.find_first_of(" \t\r", from), line.size());
    words.push_back({line.substr(from, end - from), static_cast<int>(from) + 1});
    from = end;
  }
  return words;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Where the tool's own text starts: behind "[1,0]<stdout>:" of mpirun or "0: " of srun.
std::size_t behind_marks(std::string_view line) {
  if (line.starts_with('[')) {
    const std::size_t mark = line.find("<stdout>:");
    if (mark != std::string_view::npos) return mark + 9;
  }
  const std::size_t digits = line.find_first_not_of(" 0123456789");
  const bool labelled = digits != std::string_view::npos && digits > 0 && line[digits] == ':' &&
                        line[digits - 1] != ' ';
  return labelled ? digits + 1 : 0;
}

/// "22807" of "nccl-library=22807" is 2.28.7.
std::string dotted(std::string_view code) {
  const auto value = number<int>(code);
  if (!value || *value < 10'000) return std::string{kUnknown};
  return fmt::format("{}.{}.{}", *value / 10'000, *value / 100 % 100, *value % 100);
}

/// One run of one test: what its preamble says, and its table.
struct Run {
  std::string collective;
  std::string version{kUnknown};
  bool rccl = false;                ///< AMD's library under a fork of the same tests.
  std::map<int, std::string> gpus;  ///< By rank.
  std::map<std::string, int> hosts;
  std::set<int> groups;
  std::vector<std::string> columns;  ///< Of the table; empty before its header.
  int header_line = 0;
};

class Reader {
 public:
  Reader(const std::string& file, const ImportRules& rules, const std::string& collective)
      : file_(file), rules_(rules), stated_(collective) {
    run_.collective = collective;
  }

  void line(std::string_view text) {
    ++line_;
    const std::size_t start = std::min(text.size(), behind_marks(text));
    const std::vector<Word> words = words_of(text, start);
    if (words.empty()) return;
    if (text.find("rccl-tests") != std::string_view::npos) run_.rccl = true;
    if (words.front().text.starts_with('#')) {
      comment(text.substr(start), words);
    } else if (text.find("NCCL version ", start) != std::string_view::npos) {
      const auto rest = words_of(text, text.find("NCCL version ", start) + 13);
      if (!rest.empty()) run_.version = rest.front().text.substr(0, rest.front().text.find('+'));
    } else if (!run_.columns.empty() && words.size() > 1 && number<std::int64_t>(words[0].text) &&
               number<std::int64_t>(words[1].text)) {
      row(words);
    } else {
      name_from_command(words);
    }
  }

  Import finish() {
    if (!run_.columns.empty())
      fail(run_.header_line, 1,
           "the table that starts here has no end; expected '# Avg bus bandwidth' after it");
    if (tables_ == 0)
      fail(0, 0, "found no table of nccl-tests; expected a line '# size count type ...'");
    return std::move(import_);
  }

 private:
  [[noreturn]] void fail(int line, int column, const std::string& message) const {
    throw core::ConfigError({file_, line, column}, message);
  }

  /// "mpirun ... ./build/all_reduce_perf -b 8": older versions name the test nowhere else.
  void name_from_command(const std::vector<Word>& words) {
    for (const Word& word : words) take_name(word);
  }

  void take_name(const Word& program) {
    const std::size_t slash = program.text.rfind('/');
    const std::size_t start = slash == std::string_view::npos ? 0 : slash + 1;
    const std::size_t end = program.text.rfind("_perf");
    if (end == std::string_view::npos || end < start) return;
    const std::string name{program.text.substr(start, end - start)};
    if (std::find(kCollectives.begin(), kCollectives.end(), name) == kCollectives.end()) return;
    if (!stated_.empty() && name != stated_)
      fail(line_, program.column,
           fmt::format("found a run of {}; --collective says {}", name, stated_));
    run_.collective = name;
  }

  void comment(std::string_view text, const std::vector<Word>& words) {
    const auto says = [&](std::string_view what) { return text.find(what) != text.npos; };
    if (says("# Collective test starting:")) {
      take_name(words.back());
    } else if (says("nccl-tests version")) {
      const std::size_t at = text.find("nccl-library=");
      const auto code = at == text.npos ? std::vector<Word>{} : words_of(text, at + 13);
      if (!code.empty()) run_.version = dotted(code.front().text);
    } else if (says("# Using devices")) {
      start_run();
    } else if (says(" Rank ") && says(" device ")) {
      rank(text, words);
    } else if (says(" size ") && says(" count ")) {
      header(words);
    } else if (says("# Avg bus bandwidth")) {
      end_table();
    }
  }

  /// A new run; what was said of it before its devices (test, version) stays.
  void start_run() {
    if (!run_.columns.empty())
      fail(run_.header_line, 1,
           fmt::format("the table that starts here has no end before the next run in line {}; "
                       "expected '# Avg bus bandwidth' after it",
                       line_));
    Run next;
    next.collective = run_.collective;
    next.version = run_.version;
    next.rccl = run_.rccl;
    run_ = std::move(next);
  }

  /// "#  Rank  0 Group  0 Pid 1584 on host device  0 [0000:0f:00] NVIDIA H200"; Group since 2.14.
  void rank(std::string_view text, const std::vector<Word>& words) {
    std::optional<int> rank;
    std::string host;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i].text == "Rank") rank = number<int>(words[i + 1].text);
      if (words[i].text == "Group") run_.groups.insert(number<int>(words[i + 1].text).value_or(0));
      if (words[i].text == "on") host = words[i + 1].text;
    }
    if (!rank) fail(line_, words.front().column, "found a device without a rank");
    const std::size_t bracket = text.find("] ");
    std::string gpu{bracket == text.npos ? std::string_view{} : text.substr(bracket + 2)};
    while (!gpu.empty() && (gpu.back() == ' ' || gpu.back() == '\r')) gpu.pop_back();
    if (!run_.gpus.emplace(*rank, gpu).second)
      fail(line_, words.front().column,
           fmt::format("found rank {} a second time; expected one process group (were the tests "
                       "built without MPI?)",
                       *rank));
    ++run_.hosts[host];
  }

  void header(const std::vector<Word>& words) {
    if (!run_.columns.empty()) fail(line_, 1, "found a second header; expected rows or the end");
    for (const Word& word : words)
      if (word.text != "#") run_.columns.emplace_back(word.text);
    const auto rate = std::find(run_.columns.begin(), run_.columns.end(), "algbw");
    if (rate == run_.columns.begin() || rate == run_.columns.end())
      fail(line_, words.front().column, "found a table without times; expected 'time algbw busbw'");
    run_.header_line = line_;
    ++tables_;
    if (run_.collective.empty())
      fail(line_, words.front().column,
           "the output does not say which collective this is; expected a line '# Collective test "
           "starting', the command that ran, or --collective");
    if (run_.groups.size() > 1)
      fail(line_, words.front().column,
           fmt::format("found {} groups that ran at once; expected one", run_.groups.size()));
    if (!run_.gpus.empty() && run_.gpus.rbegin()->first + 1 != static_cast<int>(run_.gpus.size()))
      fail(line_, words.front().column,
           fmt::format("found {} devices before this table but ranks up to {}; expected a line for "
                       "every rank",
                       run_.gpus.size(), run_.gpus.rbegin()->first));
  }

  /// The next table says anew what it is of; what it does not say is not taken from this one.
  void end_table() {
    run_ = Run{};
    run_.collective = stated_;
  }

  /// The n-th word (from 0) below a column of this name; none when the table has no such column.
  [[nodiscard]] const Word* field(const std::vector<Word>& words, std::string_view name,
                                  int n) const {
    for (std::size_t i = 0; i < run_.columns.size(); ++i)
      if (run_.columns[i] == name && n-- == 0) return &words[i];
    return nullptr;
  }

  [[nodiscard]] double positive(const Word& word, std::string_view what) const {
    const auto value = number<double>(word.text);
    if (!value || !std::isfinite(*value) || *value < 0)
      fail(line_, word.column, fmt::format("{}: found '{}'; expected a number", what, word.text));
    return *value;
  }

  void row(const std::vector<Word>& words) {
    if (words.size() != run_.columns.size())
      fail(line_, words.back().column,
           fmt::format("found {} fields; expected {} as in the header in line {}", words.size(),
                       run_.columns.size(), run_.header_line));
    // The time's column is named for what was timed ("time", "cputime" with -C): the one before
    // algbw.
    const auto at = static_cast<std::size_t>(
        std::find(run_.columns.begin(), run_.columns.end(), "algbw") - run_.columns.begin());
    if (run_.columns[at - 1] != "time") {
      ++import_.skipped[fmt::format("times of '{}', not of the GPU", run_.columns[at - 1])];
      return;
    }
    const auto bytes = number<std::int64_t>(words[0].text).value_or(0);
    if (bytes <= 0) {
      ++import_.skipped["runs of no bytes"];
      return;
    }
    for (const char* name : {"#wrong", "wrong", "error"}) {
      const Word* wrong = field(words, name, 0);
      if (wrong != nullptr && is_wrong(*wrong)) {
        ++import_.skipped["runs with wrong results"];
        return;
      }
    }
    add(words, bytes, positive(words[at - 1], "time"));
  }

  /// Elements that were wrong (since 2.13), or the largest error (before), which rounding makes.
  static bool is_wrong(const Word& word) {
    constexpr double kRounding = 1e-2;  // nccl-tests' DeltaMaxValue of half
    const auto value = number<double>(word.text);
    return value && *value > kRounding;
  }

  void add(const std::vector<Word>& words, std::int64_t bytes, double time) {
    ImportedRow row;
    row.file = "comm_nccl";
    row.family = KernelFamily::nccl;
    row.op = "nccl";
    row.framework = run_.rccl ? "rccl" : "nccl";
    row.kernel = run_.rccl ? "RCCL" : "NCCL";
    row.version = run_.version;
    row.gpu = gpu();
    const Word* type = field(words, "type", 0);
    row.dtype = type == nullptr ? kUnknown : type->text;
    const bool ranks_known = !run_.gpus.empty();
    row.shape = {{"collective", run_.collective},
                 {"ranks", ranks_known ? std::to_string(run_.gpus.size()) : std::string{kUnknown}},
                 {"bytes", std::to_string(bytes)}};
    if (!ranks_known) {
      row.file.clear();
      row.why_unknown = "the output lists no devices";
    }
    row.latency_us = row.total_us = time;
    const Word* in_place = field(words, "time", 1);
    const auto in_place_time = in_place == nullptr ? std::nullopt : number<double>(in_place->text);
    const bool timed = in_place_time && std::isfinite(*in_place_time);
    const Word* reduction = field(words, "redop", 0);
    row.more = {{"redop", std::string{reduction == nullptr ? "" : reduction->text}},
                {"in_place_us", timed ? std::string{in_place->text} : std::string{}},
                {"ranks_per_node", ranks_per_node()}};
    import_.rows.push_back(std::move(row));
  }

  /// The device, when all ranks run on the same.
  [[nodiscard]] std::string gpu() const {
    std::set<std::string> names;
    for (const auto& [rank, name] : run_.gpus) names.insert(rules_.gpu(name));
    return names.size() == 1 ? *names.begin() : std::string{kUnknown};
  }

  /// Empty inside a node; unknown where nodes differ.
  [[nodiscard]] std::string ranks_per_node() const {
    if (run_.hosts.size() < 2) return "";
    std::set<int> counts;
    for (const auto& [host, ranks] : run_.hosts) counts.insert(ranks);
    return counts.size() == 1 ? std::to_string(*counts.begin()) : std::string{kUnknown};
  }

  const std::string& file_;
  const ImportRules& rules_;
  const std::string stated_;
  Run run_;
  Import import_;
  int line_ = 0;
  int tables_ = 0;
};

}  // namespace

Import import_nccl_tests(std::istream& text, const std::string& file, const ImportRules& rules,
                         const std::string& collective) {
  if (!collective.empty() &&
      std::find(kCollectives.begin(), kCollectives.end(), collective) == kCollectives.end())
    throw core::ConfigError({"command line", 0, 0},
                            "--collective: " + core::unknown_name(collective, kCollectives));
  Reader reader{file, rules, collective};
  std::string line;
  int number = 0;
  while (read_line(text, line, kLongestLine)) {
    ++number;
    if (line.size() == kLongestLine)
      throw core::ConfigError({file, number, 1}, "found a line of 64 KiB or more; expected text");
    reader.line(line);
  }
  return reader.finish();
}

}  // namespace tessera::calibrate
