#pragma once

#include <memory>
#include <string>

#include "calibrate/measured_call.hpp"
#include "calibrate/served_as.hpp"
#include "models/device/device_spec.hpp"
#include "models/workload/engine_kernels.hpp"

/// Inference engines as measured kernels know them.
namespace tessera::calibrate {

/// The maps from engines to kernels (calibrate/served_as.yaml,
/// hw_configs/kernels/measured_as.yaml).
struct ServedMaps {
  ServedMap served;
  MeasurementMap measured;

  /// Throws core::ConfigError.
  [[nodiscard]] static std::shared_ptr<const ServedMaps> load();
};

/// Runs what measured calls of the engine's kernels ran, on operands as a whole model leaves them.
class ServedEngine : public workload::EngineKernels {
 public:
  ServedEngine(ServerKernels kernels, const device::DeviceSpec& device,
               std::shared_ptr<const ServedMaps> maps);

  [[nodiscard]] const workload::EngineFusions& fusions() const override { return kernels_.fusions; }
  [[nodiscard]] const std::string& name() const override { return kernels_.name; }
  [[nodiscard]] workload::Work product(std::string name, const workload::Gemm& gemm) const override;
  [[nodiscard]] workload::Steps decode_attention(
      const workload::Attention& attention) const override;
  [[nodiscard]] workload::Steps decode_attention(
      const workload::AbsorbedAttention& attention) const override;
  [[nodiscard]] workload::Steps prefill_attention(const workload::Attention& attention,
                                                  bool latent) const override;
  [[nodiscard]] workload::Steps routed_experts(
      const workload::RoutedExperts& experts) const override;

 private:
  /// What a call of a measured file ran that ends with attention, on the wanted lengths.
  template <class Core>
  [[nodiscard]] workload::Steps attend(const char* file, const NamedKernel& kernel,
                                       const std::string& columns, const std::string& values,
                                       const Core& wanted) const;
  /// `length`: the file's column of `tokens`.
  [[nodiscard]] workload::Steps attend_grouped(const char* file, const char* length,
                                               std::int64_t tokens,
                                               const workload::Attention& attention) const;

  ServerKernels kernels_;
  device::DeviceSpec device_;
  std::shared_ptr<const ServedMaps> maps_;
};

}  // namespace tessera::calibrate
