#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/measured_call.hpp"
#include "calibrate/measured_row.hpp"

/// From a row of each measurement file to the kernels of the call that it timed. All throw
/// core::Refusal with the reason when Tessera has no model of it.
namespace tessera::calibrate {

/// gemm.csv: the activation's quantisation, then the product.
MeasuredCall gemm_call(const MeasuredRow& row, const device::DeviceSpec& device,
                       const MeasuredAs& as);
/// quantize.csv: a static cast, or an amax pass.
MeasuredCall quantize_call(const MeasuredRow& row, const device::DeviceSpec& device,
                           const MeasuredAs& as);
/// attention_context.csv
MeasuredCall attention_context_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                    const MeasuredAs& as);
/// attention_generation.csv
MeasuredCall attention_generation_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                       const MeasuredAs& as);
/// encoder_attention.csv
MeasuredCall encoder_attention_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                    const MeasuredAs& as);
/// mla_context.csv: prefill with keys and values expanded from the latent.
MeasuredCall mla_context_call(const MeasuredRow& row, const device::DeviceSpec& device,
                              const MeasuredAs& as);
/// mla_generation.csv: absorbed decode of one token a sequence.
MeasuredCall mla_generation_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                 const MeasuredAs& as);
/// mla_module.csv: a whole attention layer of DeepSeek-V3: projections, norms, rotation, cache,
/// attention.
MeasuredCall mla_module_call(const MeasuredRow& row, const device::DeviceSpec& device,
                             const MeasuredAs& as);
/// sparse_attention.csv: kernels of sparse latent attention (index scores, selection, attention
/// over selected tokens), and whole modules of DeepSeek-V3.2, GLM-5 and DeepSeek-V4.
MeasuredCall sparse_attention_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                   const MeasuredAs& as);
/// mhc.csv: the mixing of a hyper-connection's residual streams before or after a layer.
MeasuredCall mhc_call(const MeasuredRow& row, const device::DeviceSpec& device,
                      const MeasuredAs& as);
/// mla_bmm.csv: the products that absorb the up-projections into queries and outputs.
MeasuredCall mla_bmm_call(const MeasuredRow& row, const device::DeviceSpec& device,
                          const MeasuredAs& as);
/// moe.csv
MeasuredCall moe_call(const MeasuredRow& row, const device::DeviceSpec& device,
                      const MeasuredAs& as);
/// The same without the row's routing: each of the rank's experts has its `rows`.
MeasuredCall experts_call(const MeasuredRow& row, const std::vector<std::int64_t>& rows,
                          const device::DeviceSpec& device, const MeasuredAs& as);
/// moe_wideep.csv
MeasuredCall moe_wideep_call(const MeasuredRow& row, const device::DeviceSpec& device,
                             const MeasuredAs& as);

/// The second launch of an amax pass: from the maximum of each CTA to one scale.
[[nodiscard]] KernelQuery scale_of_maxima(const device::DeviceSpec& device);

}  // namespace tessera::calibrate
