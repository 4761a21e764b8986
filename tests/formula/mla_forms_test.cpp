#include "models/serving/mla_forms.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <cmath>

#include "models/workload/architecture_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using Catch::Matchers::Message;

/// A GPU that does nothing but arithmetic, at 10^15 FLOP a second.
class FlopTimer : public gpu::KernelTimer {
 public:
  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext&,
                        const std::string&) override {
    gpu::KernelResult result;
    result.time = core::to_time(core::Seconds{workload::flops(op).value() / 1e15});
    return result;
  }
};

FormQuestion question(const char* name, std::int64_t context) {
  return {.architecture = workload::load_architecture(name), .context = context};
}

TEST_CASE("where arithmetic is all, expanding wins once it costs less than what it saves",
          "[mla_forms]") {
  // DeepSeek-V3, one new token of a long context: absorbed 128 heads (576 + 512) a cached token
  // and 128 (128 * 512 + 512 * 128) a new one; expanded 128 heads (192 + 128) and, a cached token,
  // 128 * 256 * 512 to expand it. Halves of causal triangles cancel where queries are few.
  FlopTimer timer;
  constexpr std::int64_t kContext = 131'072;
  const auto from = expanding_wins_from(question("deepseek_v3", kContext), timer);
  REQUIRE(from.has_value());
  const double expansion = 128.0 * 256 * 512, saved = 128.0 * (1088 - 320);
  // Each new token also saves its absorption.
  const double absorption = 128.0 * 2 * 128 * 512 / kContext;
  const double expected = expansion / (saved + absorption);
  CHECK(std::abs(static_cast<double>(*from) / expected - 1) < 1.0 / 16 + 0.01);
}

TEST_CASE("a token of a long context is faster absorbed, a whole prompt expanded", "[mla_forms]") {
  FlopTimer timer;
  const FormQuestion q = question("deepseek_v3", 4096);
  const FormTimes decode = form_times(q, 1, timer);
  CHECK(decode.absorbed < decode.expanded);
  const FormTimes prefill = form_times(q, 4096, timer);
  CHECK(prefill.expanded < prefill.absorbed);
}

TEST_CASE("models without both forms are refused", "[mla_forms]") {
  FlopTimer timer;
  CHECK_THROWS_MATCHES(form_times(question("llama3.1_8b", 4096), 1, timer), core::Refusal,
                       Message("llama3.1_8b has no latent to absorb projections for"));
  CHECK_THROWS_MATCHES(
      form_times(question("deepseek_v3.2", 4096), 1, timer), core::Refusal,
      Message("deepseek_v3.2 attends to chosen latents, which are never expanded"));
}

}  // namespace
}  // namespace tessera::serving
