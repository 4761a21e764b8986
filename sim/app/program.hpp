#pragma once

#include <string>
#include <vector>

namespace tessera::app {

/// Runs the program on its arguments (without the program's name). Returns the exit code: 0 done; 1
/// refused; 2 the input is wrong; 3 our fault.
int run_program(const std::vector<std::string>& arguments);

}  // namespace tessera::app
