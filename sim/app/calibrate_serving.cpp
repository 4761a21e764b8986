#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/app/command.hpp"
#include "sim/app/output_file.hpp"
#include "sim/app/serving_validation.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {

void add_calibrate_serving(CLI::App& calibrate) {
  struct Options {
    ServingValidationOptions serving;
    std::string out, fidelity = "cycle";
  };
  auto options = std::make_shared<Options>();
  options->serving.jobs = available_cores();
  CLI::App* command = calibrate.add_subcommand(
      "serving", "Fit the host's time of an iteration, one number per framework version");
  command->add_option("--measurements", options->serving.measurements, "Folder of e2e_serving.csv")
      ->required();
  command->add_option("--out", options->out, "Folder that gets host_overhead.yaml")->required();
  command->add_option("--fidelity", options->fidelity, "cycle or analytical")
      ->check(CLI::IsMember({"cycle", "analytical"}));
  command->add_option("--fits", options->serving.fits, "Folder of fits of GPUs and fabrics");
  command->add_option("--jobs", options->serving.jobs, "Worker processes")
      ->check(CLI::Range(1, 1024));
  command->callback([options] {
    if (options->fidelity == "analytical") options->serving.fidelity = gpu::Fidelity::analytical;
    const calibrate::HostOverheads overheads = fit_serving(options->serving);
    for (const auto& [name, overhead] : overheads)
      fmt::print("{:<40} {:>8.3f} ms {:>4} rows {:>6.1f} % {:>6.1f} % {:>+6.1f} %\n", name,
                 overhead.milliseconds, overhead.rows, 100 * overhead.median, 100 * overhead.spread,
                 100 * overhead.bias);
    std::filesystem::create_directories(options->out);
    write_output_file(options->out + "/host_overhead.yaml", calibrate::overhead_text(overheads));
  });
}

}  // namespace tessera::app
