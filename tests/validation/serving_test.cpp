#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "calibrate/scoreboard.hpp"
#include "sim/app/serving_validation.hpp"
#include "sim/app/worker_pool.hpp"

/// How far are predicted servers from measured ones?
namespace tessera::app {

TEST_CASE("time per output token of measured servers, on the half that no fit has seen",
          "[serving][slow]") {
  const char* folder = std::getenv("TESSERA_MEASUREMENTS");
  if (folder == nullptr) SKIP("TESSERA_MEASUREMENTS does not name the folder of e2e_serving.csv");
  const ServingValidation validation = validate_serving(
      {.measurements = folder, .half = calibrate::Half::test, .jobs = available_cores()});
  std::map<std::string, std::vector<double>> errors;
  std::size_t inside = 0, all = 0;
  for (const ValidatedServer& server : validation.rows) {
    if (server.timed.row.half != calibrate::Half::test || !server.timed.refused.empty()) continue;
    errors[server.timed.row.gpu + " " + server.timed.row.model].push_back(std::abs(server.error()));
    ++all;
    inside += server.inside() ? 1 : 0;
  }
  for (const auto& [name, sizes] : errors) {
    INFO(name);
    CHECK(calibrate::quantile(sizes, 0.5) <= 0.2);
  }
  CHECK(static_cast<double>(inside) >= 0.85 * static_cast<double>(all));
}

}  // namespace tessera::app
