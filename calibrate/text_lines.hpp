#pragma once

#include <cstddef>
#include <istream>
#include <string>

namespace tessera::calibrate {

/// Reads up to the next line end, which it takes and leaves out; false at the end of the text.
/// Stops at `limit` bytes, so that a file without line ends cannot fill memory: a line of that
/// size is too long.
bool read_line(std::istream& text, std::string& line, std::size_t limit);

}  // namespace tessera::calibrate
