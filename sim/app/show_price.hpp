#pragma once

#include <string>
#include <vector>

namespace tessera::app {

/// `show price NAME`: renting beside owning a device, a cluster's GPUs, or all devices. `set`
/// changes the price list. `format`: text or json; empty: text. Throws core::ConfigError.
void show_price(const std::string& name, const std::vector<std::string>& set,
                const std::string& format);

}  // namespace tessera::app
