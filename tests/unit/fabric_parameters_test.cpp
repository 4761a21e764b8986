#include "models/fabric/fabric_parameters.hpp"

#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {
namespace {

TEST_CASE("each shipped fit names parameters of the fabric and grades what was measured",
          "[fabric_parameters]") {
  const FabricParameters h100 = load_parameters(device::load_device("h100_sxm"));
  CHECK(h100.fit_name == "fabric_hopper");
  CHECK(h100.collective_grade == core::Grade::fitted);
  CHECK(h100.network_exchange_grade == core::Grade::fitted);
  // Blackwell was measured in one node, Ampere not at all with DeepEP.
  const FabricParameters b200 = load_parameters(device::load_device("b200_sxm"));
  CHECK(b200.exchange_grade == core::Grade::fitted);
  CHECK(b200.network_exchange_grade == core::Grade::transferred);
  CHECK(load_parameters(device::load_device("a100_sxm")).exchange_grade ==
        core::Grade::transferred);
}

TEST_CASE("a GPU that was not measured takes its generation's fit, graded transferred",
          "[fabric_parameters]") {
  const FabricParameters h800 = load_parameters(device::load_device("h800_sxm"));
  CHECK(h800.fit_name == "fabric_hopper");
  CHECK(h800.collective_grade == core::Grade::transferred);
  CHECK(h800.exchange_grade == core::Grade::transferred);
  const FabricParameters h100 = load_parameters(device::load_device("h100_sxm"));
  CHECK(h800.dispatch.nvlink_fraction == h100.dispatch.nvlink_fraction);
  CHECK(h800.spread.dispatch > h100.spread.dispatch);
}

TEST_CASE("GPUs without NVLink speak PCIe: one generation measured, the other transferred",
          "[fabric_parameters]") {
  const FabricParameters server = load_parameters(device::load_device("rtx_pro_6000_server"));
  CHECK(server.collective_grade == core::Grade::fitted);
  const FabricParameters l40s = load_parameters(device::load_device("l40s"));
  CHECK(l40s.collective_grade == core::Grade::transferred);
  CHECK(l40s.ring[2].nvlink_fraction == server.ring[2].nvlink_fraction);
  CHECK(l40s.spread.in_node > server.spread.in_node);
}

TEST_CASE("a fit with a foreign parameter is refused", "[fabric_parameters]") {
  device::FitSet fit;
  fit.name = "mine";
  fit.parameters["hbm.reachable"] = {};
  CHECK_THROWS_AS(fitted_parameters(device::Generation::hopper, fit), core::Refusal);
}

}  // namespace
}  // namespace tessera::fabric
