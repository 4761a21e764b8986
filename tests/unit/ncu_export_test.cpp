#include "calibrate/ncu_export.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <sstream>

#include "calibrate/counter_comparison.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

// Values are made up; columns, quotes, units and the profiler's own lines are the tool's.
const std::string kNvjet = "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN";
const std::string kLong =
    "==PROF== Connected to process 1234 (/usr/bin/python3)\n"
    "loaded weights\n"
    "==PROF== Profiling \"nvjet\" - 0: 0%....50%....100% - 9 passes\n"
    "\"ID\",\"Process ID\",\"Process Name\",\"Host Name\",\"Kernel Name\",\"Context\",\"Stream\","
    "\"Block Size\",\"Grid Size\",\"Device\",\"CC\",\"Section Name\",\"Metric Name\",\"Metric "
    "Unit\",\"Metric Value\"\n" +
    [] {
      std::string rows;
      const auto row = [&](const std::string& id, const std::string& kernel,
                           const std::string& metric, const std::string& unit,
                           const std::string& value) {
        rows += "\"" + id + "\",\"1234\",\"python3\",\"127.0.0.1\",\"" + kernel +
                "\",\"1\",\"7\",\"(384, 1, 1)\",\"(132, 1, 1)\",\"0\",\"9.0\",\"Command line "
                "profiler metrics\",\"" +
                metric + "\",\"" + unit + "\",\"" + value + "\"\n";
      };
      row("0", kNvjet, "dram__bytes_read.sum", "Mbyte", "402.50");
      row("0", kNvjet, "gpu__time_duration.sum", "us", "1,205.00");
      row("0", kNvjet, "sm__cycles_elapsed.max", "cycle", "1,900,000");
      row("0", kNvjet, "lts__t_sector_hit_rate.pct", "%", "80.25");
      row("1", kNvjet, "dram__bytes_read.sum", "byte", "n/a");
      row("1", kNvjet, "gpu__time_duration.sum", "ms", "1.215");
      row("1", kNvjet, "sm__cycles_elapsed.max", "cycle", "1,920,000");
      row("2", "void at::native::f<\"\"4\"\", a>(int, T1)", "gpu__time_duration.sum", "nsecond",
          "2,112");
      row("3", "void flash::flash_fwd_kernel<T>()", "dram__bytes_read.sum", "Kbyte", "3.5");
      return rows;
    }() +
    "==PROF== Disconnected from process 1234\n";
const std::string kRaw =
    "\"ID\",\"Process ID\",\"Process Name\",\"Host Name\",\"Kernel Name\",\"Context\",\"Stream\","
    "\"Block Size\",\"Grid Size\",\"Device\",\"CC\",\"device__attribute_display_name\","
    "\"gpu__time_duration.sum\",\"launch__func_cache_config\",\"lts__t_sectors_op_read.sum\"\n"
    "\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"ns\",\"\",\"sector\"\n"
    "\"0\",\"7\",\"a\",\"h\",\"sm90_xmma_gemm_bf16\",\"1\",\"7\",\"(384, 1, 1)\",\"(64, 2, "
    "1)\",\"0\",\"9.0\",\"NVIDIA H100 80GB HBM3\",\"41,500\",\"CachePreferNone\",\"1,024\"\n";

const ImportRules& rules() {
  static const ImportRules kRules = ImportRules::load();
  return kRules;
}

Import read(const std::string& text) {
  std::istringstream stream(text);
  return import_ncu(stream, "export.csv", rules());
}

std::string mistake(const std::string& text) {
  try {
    (void)read(text);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  text.replace(text.find(what), what.size(), by);
  return text;
}

TEST_CASE("one line a metric: launches of a kernel become one row, units undone", "[import]") {
  const Import import = read(kLong);
  REQUIRE(import.rows.size() == 2);
  const ImportedRow& gemm = import.rows[0];
  CHECK(gemm.kernel == kNvjet);
  CHECK(gemm.family == KernelFamily::gemm);
  CHECK(gemm.latency_us == Approx(1210));  // median of 1,205 us and 1.215 ms
  CHECK(gemm.calls == 2);
  CHECK(gemm.gpu == "unknown");
  CHECK(gemm.more == Fields{{"calls", "2"},
                            {"min_us", "1205.000"},
                            {"max_us", "1215.000"},
                            {"grid", "132x1x1"},
                            {"block", "384x1x1"}});
  CHECK(import.rows[1].kernel == "void at::native::f<\"4\", a>(int, T1)");
  CHECK(import.rows[1].latency_us == Approx(2.112));
  CHECK(import.skipped.at("launches without gpu__time_duration.sum") == 1);
}

TEST_CASE("the raw page: one column a metric, the GPU by its name", "[import]") {
  const Import import = read(kRaw);
  REQUIRE(import.rows.size() == 1);
  CHECK(import.rows[0].gpu == "h100_sxm");
  CHECK(import.rows[0].latency_us == Approx(41.5));
  CHECK(import.rows[0].shape == Fields{{"M", "unknown"}, {"N", "unknown"}, {"K", "unknown"}});
  CHECK_FALSE(import.rows[0].why_unknown.empty());
}

TEST_CASE("the details page calls metrics by other names", "[import]") {
  std::string details = kLong;
  for (std::size_t at; (at = details.find("Command line profiler metrics")) != std::string::npos;)
    details.replace(at, 29, "GPU Speed Of Light Throughput");
  for (std::size_t at; (at = details.find("gpu__time_duration.sum")) != std::string::npos;)
    details.replace(at, 22, "Duration");
  CHECK(to_csv(read(details)) == to_csv(read(kLong)));
}

TEST_CASE("a malformed export is reported at its place", "[import]") {
  CHECK_THAT(mistake("==PROF== No kernels were profiled.\n"),
             ContainsSubstring("export.csv: error: found no table of ncu --csv"));
  CHECK_THAT(mistake(kLong.substr(0, kLong.find("Mbyte") + 2)),
             ContainsSubstring("export.csv:5:") && ContainsSubstring("a quote that is not closed"));
  CHECK_THAT(mistake(kLong.substr(0, kLong.find("\"Mbyte"))),
             ContainsSubstring("found 14 fields; expected 15 as in the header in line 4"));
  CHECK_THAT(mistake(replaced(kLong, "1,205.00", "1.205,00")),
             ContainsSubstring("export.csv:6:") &&
                 ContainsSubstring("gpu__time_duration.sum: found '1.205,00'; expected a number"));
  CHECK_THAT(mistake(replaced(kLong, "\"us\"", "\"furlong\"")),
             ContainsSubstring("found the unit 'furlong', which is not known"));
  CHECK_THAT(
      mistake(replaced(kRaw, "\"\",\"\",\"\"", "\"0\",\"\",\"\"")),
      ContainsSubstring("export.csv:2:1: error: found a launch; expected the line of units"));
  CHECK_THAT(mistake(replaced(kRaw, "\"h\",", "\"h\"x,")),
             ContainsSubstring("export.csv:3:13: error: found text behind a quoted field"));
}

CounterComparison compare(const std::string& selection, const std::string& family = "gemm") {
  std::istringstream stream(kLong);
  return compare_counters({{"dram__bytes_read.sum", 483e6},
                           {"lts__t_sector_hit_rate.pct", 75.25},
                           {"sm__cycles_elapsed.max", 1'719'000},
                           {"smsp__inst_executed_op_tma.sum", 5}},
                          stream, "export.csv", rules(), family, selection);
}

TEST_CASE("predicted counters are set against measured ones, signed", "[import]") {
  const CounterComparison comparison = compare("");
  CHECK(comparison.kernel == kNvjet);
  CHECK(comparison.launches == 2);
  REQUIRE(comparison.rows.size() == 3);
  CHECK(comparison.rows[0].measured == Approx(402.5e6));
  CHECK(comparison.rows[0].difference() == Approx(0.2));
  CHECK(comparison.rows[1].in_percent());
  CHECK(comparison.rows[1].difference() == Approx(-5));
  CHECK(comparison.rows[2].difference() == Approx(-0.1));
  CHECK(comparison.missing == std::vector<std::string>{"smsp__inst_executed_op_tma.sum"});
}

TEST_CASE("the kernel to compare with is chosen, never guessed", "[import]") {
  const auto refused = [](const std::string& selection, const std::string& family) {
    try {
      (void)compare(selection, family);
    } catch (const core::ConfigError& error) {
      return std::string{error.what()};
    }
    return std::string{};
  };
  CHECK_THAT(refused("", "stream"), ContainsSubstring("found 3 kernels of the family of stream") &&
                                        ContainsSubstring("launch 0: " + kNvjet));
  CHECK_THAT(refused("hgemm", "gemm"),
             ContainsSubstring("found 4 launches but no kernel that --compare-kernel 'hgemm'"));
  CHECK(compare("nvjet").launches == 2);
  CHECK(compare("1").launches == 1);
}

}  // namespace
}  // namespace tessera::calibrate
