#include "calibrate/probes/probe_options.hpp"

#include <CLI/CLI.hpp>
#include <map>

namespace tessera::calibrate::probes {

ParsedOptions parse_options(const std::string& probe, const std::string& description, int count,
                            const char* const* arguments) {
  ParsedOptions parsed;
  ProbeOptions& options = parsed.options;
  std::int64_t l2_mib = options.listed_l2_bytes >> 20;
  std::int64_t memory_gib = options.listed_memory_bytes >> 30;
  const std::map<std::string, OperandState> states = {{"cycled", OperandState::cycled},
                                                      {"warm", OperandState::warm},
                                                      {"flushed", OperandState::flushed}};
  CLI::App app{description, probe};
  app.add_option("--out", options.out, "Folder for the CSV files")->capture_default_str();
  app.add_option("--gpu", options.gpu, "Tessera's name of the device; default: by product name");
  app.add_option("--device", options.device, "CUDA device number")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--quick", options.quick, "Few sizes");
  app.add_option("--l2", options.replay.state,
                 "What an operation finds in L2: cycled operand sets, warm, or flushed")
      ->transform(CLI::CheckedTransformer(states, CLI::ignore_case));
  app.add_option("--operand-sets", options.replay.most_sets, "Operand sets that are cycled")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--replays", options.replay.replays, "Timed graph replays")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--warm-up", options.replay.warm_up, "Replays before the timed ones")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str();
  app.add_option("--graph-us", options.replay.graph_us, "Time of one graph, microseconds")
      ->check(CLI::Range(1.0, 1e7))
      ->capture_default_str();
  app.add_option("--smi", options.smi, "The nvidia-smi program")->capture_default_str();
  app.add_flag("--list", options.list, "Print what would be measured and stop; needs no GPU");
  app.add_option("--list-l2-mib", l2_mib, "L2 that --list assumes")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--list-memory-gib", memory_gib, "Memory that --list assumes")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  try {
    app.parse(count, arguments);
  } catch (const CLI::CallForHelp&) {
    parsed.exit_code = 0;
    parsed.message = app.help();
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = 2;
    parsed.message = probe + ": " + error.what() + "\n";
  }
  options.listed_l2_bytes = l2_mib << 20;
  options.listed_memory_bytes = memory_gib << 30;
  return parsed;
}

}  // namespace tessera::calibrate::probes
