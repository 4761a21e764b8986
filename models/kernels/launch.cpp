#include "models/kernels/launch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "models/kernels/decode_attention.hpp"
#include "models/kernels/exchange.hpp"
#include "models/kernels/flash_attention.hpp"
#include "models/kernels/grouped_gemm.hpp"
#include "models/kernels/index_scores.hpp"
#include "models/kernels/mla_decode.hpp"
#include "models/kernels/select_top_k.hpp"
#include "models/kernels/stream.hpp"
#include "models/kernels/tile_choice.hpp"
#include "models/kernels/warp_attention.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::kernels {

std::vector<std::unique_ptr<TileKernel>> make_launches(const workload::Operator& op,
                                                       const device::DeviceSpec& device,
                                                       const Implementation& implementation,
                                                       const Residency& residency,
                                                       const std::vector<int>& gpc_sizes) {
  std::vector<std::unique_ptr<TileKernel>> launches;
  const int sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), 0);
  if (const auto* gemm = std::get_if<workload::Gemm>(&op)) {
    for (const GemmConfiguration& configuration :
         choose_tiles(*gemm, gemm->batch, sms, implementation,
                      gemm_configurations(*gemm, device, implementation)))
      launches.push_back(
          make_gemm(*gemm, device, implementation, configuration, residency, gpc_sizes));
  }
  if (const auto* grouped = std::get_if<workload::GroupedGemm>(&op)) {
    for (const GemmConfiguration& configuration :
         grouped_gemm_configurations(*grouped, device, implementation, sms))
      launches.push_back(
          make_grouped_gemm(*grouped, device, implementation, configuration, residency, gpc_sizes));
  }
  if (const auto* stream = std::get_if<workload::Stream>(&op))
    launches.push_back(make_stream(*stream, device, implementation, residency, gpc_sizes));
  if (const auto* exchange = std::get_if<workload::Exchange>(&op))
    launches.push_back(make_exchange(*exchange, device, implementation, residency, gpc_sizes));
  if (const auto* attention = std::get_if<workload::Attention>(&op)) {
    if (attention->backward) {
      launches = make_attention_backward(*attention, device, implementation);
    } else {
      const auto make = implementation.decode  ? make_decode_attention
                        : implementation.warps ? make_warp_attention
                                               : make_attention;
      launches = make(multiplied(*attention, implementation), device, implementation, residency,
                      gpc_sizes);
    }
  }
  if (const auto* latent = std::get_if<workload::AbsorbedAttention>(&op))
    launches = make_absorbed_attention(*latent, device, implementation, residency, gpc_sizes);
  if (const auto* scores = std::get_if<workload::IndexScores>(&op))
    launches = make_index_scores(*scores, device, implementation, residency, gpc_sizes);
  if (const auto* selection = std::get_if<workload::SelectTopK>(&op))
    launches.push_back(make_select_top_k(*selection, device, implementation, residency, gpc_sizes));
  if (launches.empty())
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("implementation '{}' has no tile for {} on {}",
                                    implementation.name, workload::describe(op), device.name));
  return launches;
}

std::optional<workload::Operator> timed_with(const workload::Operator& op,
                                             const Implementation& implementation) {
  const auto* grouped = std::get_if<workload::GroupedGemm>(&op);
  if (grouped == nullptr || grouped->planned_rows == 0 || grouped->sizes.empty() ||
      implementation.choice != TileChoice::fastest)
    return {};
  const auto largest = std::max_element(grouped->sizes.begin(), grouped->sizes.end());
  if (*largest <= grouped->planned_rows) return {};
  workload::GroupedGemm planned = *grouped;
  std::fill(planned.sizes.begin(), planned.sizes.end(), grouped->planned_rows);
  return planned;
}

}  // namespace tessera::kernels
