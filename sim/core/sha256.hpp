#pragma once

#include <string>
#include <string_view>

namespace tessera::core {

/// SHA-256 of the bytes as 64 lower-case hexadecimal digits: names of fits and keys of caches.
[[nodiscard]] std::string sha256(std::string_view bytes);

}  // namespace tessera::core
