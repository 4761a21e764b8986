#include "calibrate/host_overhead.hpp"

#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;

/// A row whose GPU takes `kernels` ms and whose server was measured at `measured`.
OverheadRow row(const std::string& version, double kernels, double measured) {
  return {.framework = "vllm",
          .version = version,
          .measured_ms = measured,
          .predicted_ms = [kernels](double ms) { return kernels + ms; }};
}

TEST_CASE("the overhead that rows share is found", "[host_overhead]") {
  const HostOverheads fitted =
      fit_host_overheads({row("vllm 1", 5, 7), row("vllm 1", 10, 12), row("vllm 1", 3, 5)});
  CHECK(fitted.at("vllm 1").milliseconds == Approx(2).epsilon(1e-4));
  CHECK(fitted.at("vllm 1").rows == 3);
  CHECK(fitted.at("vllm 1").median == Approx(0).margin(1e-4));
}

TEST_CASE("an overhead's error is what leaving out a row moves it by", "[host_overhead]") {
  // Without the first row it is 3, without the second 2: sqrt((1/2)^2 + (1/2)^2) sqrt(1/2).
  const HostOverheads two = fit_host_overheads({row("vllm 1", 5, 7), row("vllm 1", 10, 13)});
  CHECK(two.at("vllm 1").standard_error == Approx(0.5).epsilon(1e-3));
  const HostOverheads one = fit_host_overheads({row("vllm 1", 5, 7)});
  CHECK(one.at("vllm 1").standard_error == one.at("vllm 1").milliseconds);
}

TEST_CASE("one row far off moves the overhead little", "[host_overhead]") {
  std::vector<OverheadRow> rows;
  for (int i = 0; i < 9; ++i) rows.push_back(row("vllm 1", 5 + i, 7 + i));
  rows.push_back(row("vllm 1", 10, 60));
  CHECK(fit_host_overheads(rows).at("vllm 1").milliseconds == Approx(2).margin(0.3));
}

TEST_CASE("an overhead is never negative", "[host_overhead]") {
  CHECK(fit_host_overheads({row("vllm 1", 10, 8)}).at("vllm 1").milliseconds == 0);
}

TEST_CASE("a version without rows takes its framework's", "[host_overhead]") {
  const HostOverheads fitted = fit_host_overheads({row("vllm 1", 5, 7), row("vllm 2", 5, 7)});
  CHECK(overhead_of(fitted, "vllm", "vllm 3").milliseconds == Approx(2).epsilon(1e-4));
  CHECK_THROWS_AS(overhead_of(fitted, "sglang", "sglang 1"), core::Refusal);
}

TEST_CASE("eager servers are fitted apart, by layer", "[host_overhead]") {
  OverheadRow eager = row("vllm 1", 5, 61);
  eager.eager = true;
  eager.predicted_ms = [](double ms) { return std::max(5.0, 61 * ms); };
  const HostOverheads fitted = fit_host_overheads({row("vllm 1", 5, 7), eager});
  CHECK(fitted.at("vllm 1").milliseconds == Approx(2).epsilon(1e-4));
  CHECK(fitted.at("any vllm").rows == 1);
  CHECK(fitted.at("vllm 1, eager").milliseconds == Approx(1).epsilon(1e-4));
  CHECK(overhead_of(fitted, "trtllm", "trtllm 2", true).milliseconds == Approx(1).epsilon(1e-4));
  CHECK(unmeasured_overhead(fitted).milliseconds == Approx(2).epsilon(1e-4));
}

TEST_CASE("an engine that nobody measured takes the middle of those that were", "[host_overhead]") {
  const HostOverheads measured = {{"any a", {.milliseconds = 2, .spread = 0.3}},
                                  {"any b", {.milliseconds = 1, .spread = 0.2}},
                                  {"any c", {.milliseconds = 5, .spread = 0.1}},
                                  {"c 1.0", {.milliseconds = 9, .spread = 0.9}}};
  CHECK(unmeasured_overhead(measured).milliseconds == 2);
  CHECK(unmeasured_overhead(measured).spread == 0.2);
}

TEST_CASE("the fit that ships names every framework", "[host_overhead]") {
  const HostOverheads shipped = load_host_overheads("calibrate/fits");
  for (const char* framework : {"vllm", "sglang", "trtllm"}) {
    const HostOverhead& any = overhead_of(shipped, framework, "no such version");
    CHECK(any.rows > 10);
    CHECK(any.milliseconds > 0);
    CHECK(any.milliseconds < 5);
  }
}

}  // namespace
}  // namespace tessera::calibrate
