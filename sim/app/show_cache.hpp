#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "sim/app/cache_table.hpp"

namespace tessera::app {

/// Adds the options of `show cache` to the command, in a group of their own.
void add_cache_options(CLI::App& command, CacheQuestion& question);

/// Prints what an architecture's attention keeps of a token, beside multi-head attention's, and the
/// largest batches; `name` is an architecture or `all`: every language model that ships, a line
/// each. `format`: text (or empty), csv or json.
void show_cache(const std::string& name, const std::string& format, CacheQuestion question);

}  // namespace tessera::app
