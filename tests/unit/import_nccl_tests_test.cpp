#include "calibrate/import_nccl_tests.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <sstream>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Matchers::ContainsSubstring;

// Times are made up; layout and preambles are the tool's.
const std::string kUnits =
    "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            "
    "(us)  (GB/s)  (GB/s)\n";
const std::string kHeader =
    "#       size         count      type   redop    root     time   algbw   busbw #wrong     time "
    "  algbw   busbw #wrong\n" +
    kUnits;
const std::string kEnd = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 100.1\n#\n";
const std::string kTwoDevices =
    "# Using devices\n"
    "#  Rank  0 Group  0 Pid  11 on node-a device  0 [0000:1b:00] NVIDIA H100 80GB HBM3\n"
    "#  Rank  1 Group  0 Pid  12 on node-a device  1 [0000:43:00] NVIDIA H100 80GB HBM3\n";
const std::string kVersion217 =
    "# nccl-tests version 2.17.6 nccl-headers=22807 nccl-library=22807\n"
    "# Collective test starting: all_reduce_perf\n"
    "# nThread 1 nGpus 1 minBytes 8 maxBytes 1024 step: 2(factor) warmup iters: 1 iters: 20 agg "
    "iters: 1 validation: 1 graph: 0\n#\n" +
    kTwoDevices + kHeader +
    "        1024           512      half     sum      -1    15.11    0.07    0.07      0    14.22 "
    "   0.07    0.07      0\n"
    "node-a:11:99 [0] NCCL INFO Connected all rings\n"
    "     1048576        524288      half     sum      -1   101.50   10.33   10.33    N/A    99.25 "
    "  10.56   10.56    N/A\n" +
    kEnd;

Import read(const std::string& text, const std::string& collective = "") {
  static const ImportRules kRules = ImportRules::load();
  std::istringstream stream(text);
  return import_nccl_tests(stream, "run.txt", kRules, collective);
}

std::string mistake(const std::string& text, const std::string& collective = "") {
  try {
    (void)read(text, collective);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("a run of nccl-tests 2.17 becomes rows of comm_nccl", "[import]") {
  const Import import = read(kVersion217);
  REQUIRE(import.rows.size() == 2);
  CHECK(to_csv(import) ==
        "gpu,framework,version,op,dtype,kernel,collective,ranks,bytes,latency_us,split,redop,"
        "in_place_us,ranks_per_node\n"
        "h100_sxm,nccl,2.28.7,nccl,half,NCCL,all_reduce,2,1024,15.110,calib,sum,14.22,\n"
        "h100_sxm,nccl,2.28.7,nccl,half,NCCL,all_reduce,2,1048576,101.500,calib,sum,99.25,\n");
}

TEST_CASE("the first version's table has no root and an error column; the command names the test",
          "[import]") {
  const Import import = read(
      "$ mpirun -np 2 ./build/all_gather_perf -b 8 -e 1M -f 2\n"
      "# nThread 1 nGpus 2 minBytes 8 maxBytes 1048576 step: 2(factor) warmup iters: 5 iters: 20 "
      "validation: 1 \n#\n# Using devices\n"
      "#   Rank  0 Pid   1320 on a device  0 [0x00] Tesla V100-SXM2-16GB\n"
      "#   Rank  1 Pid   1320 on a device  1 [0x00] Tesla V100-SXM2-16GB\n#\n"
      "#                                             out-of-place                       in-place\n"
      "#       size         count    type     time   algbw   busbw  error     time   algbw   busbw "
      " "
      "error\n"
      "#        (B)    (elements)             (us)  (GB/s)  (GB/s)            (us)  (GB/s)  "
      "(GB/s)       \n"
      "     1048576        131072   float    60.01   17.47    8.74  0e+00    58.02   18.07    9.04 "
      " "
      "0e+00\n" +
      kEnd);
  REQUIRE(import.rows.size() == 1);
  CHECK(import.rows[0].shape ==
        Fields{{"collective", "all_gather"}, {"ranks", "2"}, {"bytes", "1048576"}});
  CHECK(import.rows[0].gpu == "unknown");      // no such device in hw_configs
  CHECK(import.rows[0].version == "unknown");  // not printed then
  CHECK(import.rows[0].latency_us == 60.01);
}

TEST_CASE("ranks over two nodes say how many a node has; marks of srun are passed over",
          "[import]") {
  const Import import = read(
      "0: # Collective test starting: alltoall_perf\n0: # Using devices\n"
      "0: #  Rank  0 Group  0 Pid 1 on n1 device  0 [0000:1b:00] NVIDIA H200\n"
      "0: #  Rank  1 Group  0 Pid 2 on n2 device  0 [0000:1b:00] NVIDIA H200\n"
      "0: NCCL version 2.29.3+cuda13.1\n0: " +
      kHeader.substr(0, kHeader.find('\n') + 1) +
      "0:      4096          1024     float    none      -1    20.00    0.20    0.18      0    N/A "
      "  "
      " N/A     N/A    N/A\n0: # Avg bus bandwidth    : 0.2\n");
  REQUIRE(import.rows.size() == 1);
  CHECK(import.rows[0].version == "2.29.3");
  CHECK(import.rows[0].more ==
        Fields{{"redop", "none"}, {"in_place_us", ""}, {"ranks_per_node", "1"}});
}

TEST_CASE("empty, wrong and CPU-timed runs make no row and are counted", "[import]") {
  std::string text = kVersion217;
  const std::string row = "        1024           512 ";
  text.replace(text.find(row), row.size(), "           0             0 ");
  text.replace(text.find("N/A"), 3, "  7");
  const Import import = read(text);
  CHECK(import.rows.empty());
  CHECK(import.skipped == std::map<std::string, std::size_t>{{"runs of no bytes", 1},
                                                             {"runs with wrong results", 1}});
}

TEST_CASE("what a second run does not say is not taken from the first", "[import]") {
  CHECK_THAT(mistake(kVersion217 + kTwoDevices + kHeader + kEnd),
             ContainsSubstring("run.txt:19:1: error: the output does not say which collective"));
  const Import import =
      read(kVersion217 + "# Collective test starting: broadcast_perf\n" + kHeader +
           "  8  2  float  none  0  9.00  0.00  0.00  0  8.00  0.00  0.00  0\n" + kEnd);
  REQUIRE(import.rows.size() == 3);
  CHECK(import.rows[2].gpu == "unknown");
  CHECK(import.rows[2].shape[1].second == "unknown");
  CHECK(import.rows[2].file.empty());
  CHECK(import.rows[2].why_unknown == "the output lists no devices");
}

TEST_CASE("malformed output is reported at its place", "[import]") {
  CHECK_THAT(mistake("Segmentation fault\n"),
             ContainsSubstring("run.txt: error: found no table of nccl-tests"));
  CHECK_THAT(mistake(kVersion217.substr(0, kVersion217.find("# Out of"))),
             ContainsSubstring("run.txt:8:1: error: the table that starts here has no end"));
  std::string cut = kVersion217;
  cut.replace(cut.find("   10.56   10.56"), 8, "");
  CHECK_THAT(mistake(cut),
             ContainsSubstring("run.txt:12:") && ContainsSubstring("found 12 fields; expected 13"));
  std::string word = kVersion217;
  word.replace(word.find("15.11"), 5, "15.x1");
  CHECK(mistake(word) == "run.txt:10:57: error: time: found '15.x1'; expected a number");
  std::string twice = kVersion217;
  twice.replace(twice.find("Rank  1"), 7, "Rank  0");
  CHECK_THAT(mistake(twice), ContainsSubstring("run.txt:7:1: error: found rank 0 a second time"));
  std::string gap = kVersion217;
  gap.replace(gap.find("Rank  1"), 7, "Rank  7");
  CHECK_THAT(mistake(gap),
             ContainsSubstring("found 2 devices before this table but ranks up to 7"));
  CHECK_THAT(
      mistake(kVersion217, "all_gather"),
      ContainsSubstring("run.txt:2:29: error: found a run of all_reduce; --collective says"));
  CHECK_THAT(mistake(kVersion217, "all_red"), ContainsSubstring("(did you mean 'all_reduce'?)"));
}

}  // namespace
}  // namespace tessera::calibrate
