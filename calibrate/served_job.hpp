#pragma once

#include <memory>
#include <optional>

#include "calibrate/served_engine.hpp"
#include "calibrate/served_row.hpp"
#include "models/serving/inference.hpp"

namespace tessera::calibrate {

/// A measured server as jobs of one attention replica's share.
struct ServedJobs {
  serving::InferenceJob decode;  ///< A token of every request, half of the output made.
  /// The same by a server that drafts tokens; of models with modules for it, where its scripts say
  /// how many.
  std::optional<serving::InferenceJob> drafting;
  serving::InferenceJob prefill;  ///< One whole prompt on every replica.
  bool mixes = false;             ///< An iteration that holds a prompt also decodes.
};

/// `device`: the row's GPU. Without its host overhead. Throws core::Refusal for models that are
/// refused by name, and for what no row of served_as.yaml describes.
[[nodiscard]] ServedJobs served_jobs(const ServedRow& row, const device::DeviceSpec& device,
                                     const std::shared_ptr<const ServedMaps>& maps);

/// Who sums over tensor ranks in a framework.
[[nodiscard]] serving::ReduceBy reduces_in(const std::string& framework);

}  // namespace tessera::calibrate
