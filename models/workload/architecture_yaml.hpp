#pragma once

#include <map>
#include <string>

#include "models/workload/architecture.hpp"

namespace tessera::workload {

/// An architecture as the file that read_architecture() reads back to the same value. Keys at their
/// default are left out. `sources` gives the comment of a key, "attention.heads".
[[nodiscard]] std::string architecture_yaml(const Architecture& architecture,
                                            const std::map<std::string, std::string>& sources);

}  // namespace tessera::workload
