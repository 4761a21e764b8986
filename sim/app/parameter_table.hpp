#pragma once

#include <string>

namespace tessera::app {

/// The free parameters of every device's own fit in a folder: meaning, unit, value, standard error
/// and prior, with how many each owner has. Throws core::ConfigError.
[[nodiscard]] std::string parameter_table(const std::string& folder);

}  // namespace tessera::app
