#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera::workload {

/// What a router was seen to do in one layer.
struct RecordedLayer {
  std::int64_t layer = 0;
  std::vector<std::int64_t> rows;  ///< By expert.
  /// Experts of every token, top_k each; empty when only loads were recorded.
  std::vector<int> choices;
};

/// Recorded expert loads, or the experts of every token.
struct RecordedRouting {
  std::string name;                   ///< The file as messages name it.
  std::vector<RecordedLayer> layers;  ///< At least one, ascending.
  /// Layer `index` of a model; recordings of fewer layers repeat.
  [[nodiscard]] const RecordedLayer& layer(std::int64_t index) const;
};

/// Reads a table with commas. Its head says which of two it is: `expert,count`, a line an expert,
/// every expert once; or columns e0, e1, ... of the ids that one token chose, a line a token, other
/// columns being ignored. Either may have a column `layer`. Throws core::ConfigError with every
/// mistake (the first 20) at its line and column: ids outside of the experts, repeated ones, counts
/// that are not whole, missing experts, other numbers of ids than `top_k`.
[[nodiscard]] RecordedRouting read_recorded_routing(const std::string& text,
                                                    const std::string& file, std::int64_t experts,
                                                    std::int64_t top_k);

}  // namespace tessera::workload
