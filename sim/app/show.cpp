#include "sim/app/command.hpp"

namespace tessera::app {

void add_show_command(CLI::App&) {}

}  // namespace tessera::app
