#pragma once

#include <string>
#include <vector>

#include "models/workload/operators.hpp"

namespace tessera::app {

/// "gemm" and {"M=8192", "dtype=bf16", ...} -> operator. Throws core::ConfigError naming the
/// argument.
workload::Operator parse_operator(const std::string& name,
                                  const std::vector<std::string>& arguments);
/// One line that lists the operators and their arguments.
std::string operator_help();

}  // namespace tessera::app
