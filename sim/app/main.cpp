#include <string>
#include <vector>

#include "sim/app/program.hpp"

int main(int argc, char** argv) {
  return tessera::app::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
