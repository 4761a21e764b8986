#include <catch2/catch_test_macros.hpp>
#include <map>
#include <string>

#include "calibrate/parameter_kinds.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "sim/app/shipped_residuals.hpp"

/// Do the residuals that ship say what this program does?
namespace tessera {

TEST_CASE("the residuals that ship are of this model and these parameters", "[stamp]") {
  const app::ShippedResiduals shipped = app::load_shipped_residuals(device::kFitFolder);
  CHECK(shipped.residuals.size() > 20);
  for (const app::ShippedFit& fit : shipped.fits) {
    INFO(fit.name << ": run `tessera calibrate MEASUREMENTS --device " << fit.name
                  << " --start calibrate/fits --passes 0 --out calibrate/fits`, or without "
                     "--passes to fit again");
    CHECK(fit.stale == "");
  }
}

TEST_CASE("a GPU and an implementation have no more free parameters than they may",
          "[parameters]") {
  const auto library = kernels::ImplementationLibrary::load();
  for (const char* name : {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "rtx_pro_6000_server"}) {
    std::map<std::string, std::size_t> owned;
    for (const auto& p :
         calibrate::describe_parameters(calibrate::load_fit_record(name, device::kFitFolder),
                                        device::load_device(name), library)) {
      INFO(name << " " << p.name);
      CHECK_FALSE(p.meaning.empty());
      CHECK(p.fitted.value > 0);
      CHECK_FALSE(p.outdated());
      if (!p.prior) continue;  // taken over from another kernel
      ++owned[p.owner];
      // One constant a file and framework; its gaps are counted by themselves.
      if (p.kind == calibrate::ParameterKind::harness) CHECK(owned[p.owner] == 1);
    }
    for (const auto& [owner, count] : owned) {
      INFO(name << ": " << owner << " has " << count);
      if (owner == "gpu") CHECK(count <= calibrate::kMostOfGpu);
      if (owner != "gpu" && !owner.starts_with("harness."))
        CHECK(count <= calibrate::kMostOfImplementation);
    }
  }
}

}  // namespace tessera
