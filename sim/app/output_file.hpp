#pragma once

#include <string>

namespace tessera::app {

/// Throws core::ConfigError, saying that `option` named it, when write_output_file() could not
/// write `path`: before work whose outcome would have no place.
void check_output_file(const std::string& path, const std::string& option = "--out");

/// Writes a file that appears whole or not at all: beside its place, then moved there. Throws
/// core::ConfigError, saying that `option` named it, when it cannot be written.
void write_output_file(const std::string& path, const std::string& text,
                       const std::string& option = "--out");

}  // namespace tessera::app
