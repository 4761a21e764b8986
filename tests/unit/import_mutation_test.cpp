#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <random>
#include <sstream>

#include "calibrate/import_kineto.hpp"
#include "calibrate/import_nccl_tests.hpp"
#include "calibrate/ncu_export.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

const std::string kRun =
    "# nccl-tests version 2.17.6 nccl-headers=22807 nccl-library=22807\n"
    "# Collective test starting: all_reduce_perf\n# Using devices\n"
    "#  Rank  0 Group  0 Pid 1 on n device  0 [0000:1b:00] NVIDIA H100 80GB HBM3\n"
    "#  Rank  1 Group  0 Pid 1 on n device  1 [0000:2b:00] NVIDIA H100 80GB HBM3\n"
    "#       size    count   type  redop  root   time  algbw  busbw #wrong   time  algbw  busbw "
    "#wrong\n"
    "     1048576   524288   half    sum    -1  21.50  48.77  48.77      0  21.25  49.34  49.34    "
    "  0\n"
    "# Avg bus bandwidth    : 49.0\n";
const std::string kExport =
    "==PROF== x\n\"ID\",\"Process ID\",\"Kernel Name\",\"Grid Size\",\"Metric Name\",\"Metric "
    "Unit\",\"Metric Value\"\n"
    "\"0\",\"1\",\"a \"\"b\"\" gemm\",\"(132, 1, "
    "1)\",\"gpu__time_duration.sum\",\"us\",\"1,205.0\"\n"
    "\"1\",\"1\",\"k\",\"(132, 1, 1)\",\"gpu__time_duration.sum\",\"ns\",\"100,000\"\n";
const std::string kTrace =
    R"({"deviceProperties": [{"id": 0, "name": "NVIDIA H200"}], "distributedInfo": {"a": [1]},
"traceEvents": [
{"ph": "X", "cat": "cpu_op", "name": "aten::bmm", "ts": 10, "dur": 50, "args": {"External id": 3,
"Input Dims": [[4, 8, 16], [4, 16, 8], []], "Input type": ["c10::BFloat16", "float"],
"Concrete Inputs": ["", "[1, 2]"]}},
{"ph": "X", "cat": "cuda_runtime", "name": "launch", "ts": 20.5, "args": {"correlation": 9}},
{"ph": "X", "cat": "kernel", "name": "gemm", "ts": 4e1, "dur": 190.5, "args": {"External id": 3,
"correlation": 9, "device": 0}},
{"ph": "X", "cat": "kernel", "name": "nccl", "ts": 9, "dur": 4, "args": {"Collective name":
"allreduce", "dtype": "Float", "In msg nelems": 8, "Out msg nelems": 8, "Group size": 2,
"In split size": [1, 2]}}]})";

/// One to four random changes: a byte replaced, a piece left out, doubled or moved, or a cut.
std::string changed(std::string text, std::mt19937& random) {
  const auto at = [&] { return random() % (text.size() + 1); };
  for (auto changes = 1 + random() % 4; changes > 0; --changes) {
    const std::size_t from = at();
    const std::size_t length = random() % 12;
    switch (random() % 5) {
      case 0:
        if (from < text.size()) text[from] = static_cast<char>(random());
        break;
      case 1:
        text.erase(from, length);
        break;
      case 2:
        text.insert(at(), text.substr(from, length));
        break;
      case 3:
        text.insert(from, "9999999999999999999");
        break;
      default:
        if (random() % 8 == 0) text.resize(from);
    }
  }
  return text;
}

TEST_CASE("whatever a file holds, an importer reads it or says where it is wrong", "[import]") {
  const ImportRules rules = ImportRules::load();
  using Reader = std::function<Import(std::istream&)>;
  const std::vector<std::pair<std::string, Reader>> kReaders = {
      {kRun, [&](std::istream& text) { return import_nccl_tests(text, "f", rules, ""); }},
      {kExport, [&](std::istream& text) { return import_ncu(text, "f", rules); }},
      {kTrace, [&](std::istream& text) { return import_kineto(text, "f", rules); }}};
  for (const auto& [whole, read] : kReaders) {
    std::mt19937 random{7};
    int wrong = 0;
    for (int i = 0; i < 3'000; ++i) {
      const std::string text = i == 0 ? whole : changed(whole, random);
      INFO(text);
      std::istringstream stream(text);
      try {
        const Import import = read(stream);
        CHECK_FALSE(to_csv(import).empty());
      } catch (const core::ConfigError& error) {
        REQUIRE(i > 0);
        ++wrong;
        CHECK(error.diagnostics().size() == 1);
      }
    }
    CHECK(wrong > 300);
  }
}

}  // namespace
}  // namespace tessera::calibrate
