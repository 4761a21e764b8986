#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/result.hpp"

namespace tessera::reports {

/// A sum of money and what it is made of.
struct Bill {
  std::string of;  ///< "an owned GPU-hour"; empty for the result's own dollars.
  std::vector<std::pair<std::string, core::Estimate>> parts;
  core::Estimate total;
};

/// The quantity that says what rank `rank` of a result has of its quantity `bill`:
/// "dollars_per_million_tokens_of_prefill".
[[nodiscard]] std::string part_of_rank(const std::string& bill, const std::string& rank);

/// The result's dollars, of the run or of a million tokens, by each phase's part of the step as a
/// mean over ranks; where ranks have bills of their own (pools of servers), by the parts of theirs.
/// After it, where GPUs are owned, what an hour of one is made of. Results without dollars or
/// phases have fewer.
[[nodiscard]] std::vector<Bill> bills_of(const core::Result& result);

/// Parts and total as reports/web/waterfall.js reads them.
[[nodiscard]] nlohmann::ordered_json waterfall_json(const Bill& bill);

}  // namespace tessera::reports
