#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera::testing {

/// What of `value` a JSON schema forbids, each with its path; empty when valid. Knows the keywords
/// that workloads/schema uses: $ref into $defs, type, const, enum, required, properties,
/// additionalProperties, items and minimum. Another keyword is itself reported.
[[nodiscard]] std::vector<std::string> schema_errors(const nlohmann::json& schema,
                                                     const nlohmann::json& value);

}  // namespace tessera::testing
