#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "reports/activity.hpp"
#include "sim/app/command.hpp"
#include "sim/app/counter_report.hpp"
#include "sim/app/kernel_arguments.hpp"
#include "sim/app/kernel_batch.hpp"
#include "sim/app/kernel_report.hpp"
#include "sim/app/kernel_timeline.hpp"
#include "sim/app/output_file.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {
namespace {

struct KernelOptions {
  std::string op;
  std::vector<std::string> arguments;
  std::string device;
  std::string implementation;
  std::string fidelity = "cycle";
  std::string fits;
  std::string format = "table";
  std::string batch;
  std::string out;
  std::string compare;
  std::string compare_kernel;
  int sms = 0;
  int jobs = available_cores();
  bool counters = false;
  bool timeline = false;
  bool exact = false;
  bool burst = false;
  bool warm = false;
  double enqueue_us = 0;
  double hbm_share = 1;
  double l2_share = 1;
};

gpu::Fidelity fidelity_of(const KernelOptions& options) {
  return options.fidelity == "cycle" ? gpu::Fidelity::cycle : gpu::Fidelity::analytical;
}

/// The timeline as text; with --out also as a page and a table.
std::string timeline_text(const KernelOptions& options, const core::Activity& activity,
                          const std::string& title) {
  if (!options.out.empty()) {
    std::filesystem::create_directories(options.out);
    write_output_file(options.out + "/timeline.html", reports::to_activity_html(title, activity));
    write_output_file(options.out + "/timeline.csv", reports::to_activity_csv(activity));
  }
  return activity_strips(activity);
}

void run_one(const KernelOptions& options) {
  if (options.op.empty() || options.device.empty())
    throw core::ConfigError(
        {"command line", 0, 0},
        "kernel needs OP and --device, or --batch and --out; see tessera kernel --help");
  const device::DeviceSpec device = device::load_device(options.device);
  const device::FitSet fits = options.fits.empty() ? device::load_fit_for(device)
                                                   : device::load_fit_for(device, options.fits);
  const workload::Operator op = parse_operator(options.op, options.arguments);
  if (options.sms < 0 || options.sms > device.sm.count)
    throw core::ConfigError({"command line", 0, 0},
                            fmt::format("--sms: found {}; expected 0 (all) to {}, the SMs of {}",
                                        options.sms, device.sm.count, device.name));
  gpu::ExecutionContext context;
  context.sms = options.sms;
  context.exact = options.exact;
  if (options.burst) context.launches_before = 0;
  context.enqueue_us = options.enqueue_us;
  context.hbm_share = options.hbm_share;
  context.l2_share = options.l2_share;
  context.warm_activations = context.warm_weights = options.warm;
  auto library = kernels::ImplementationLibrary::load();
  const std::string implementation =
      options.implementation.empty() ? std::string{} : library.add(options.implementation);
  gpu::Gpu gpu{device, fits, std::move(library), fidelity_of(options)};
  const gpu::KernelResult result = gpu.run(op, context, implementation);
  const bool json = options.format == "json";
  std::string text =
      json ? kernel_json(device, op, result) : kernel_table(device, op, result, options.counters);
  if (options.timeline) {
    const core::Activity activity = gpu.activity(op, context, implementation);
    const std::string title = workload::describe(op) + " on " + device.name;
    const std::string strips = timeline_text(options, activity, title);
    if (!json) text += strips;
  }
  if (!options.compare.empty()) {
    const auto comparison =
        compare_with_ncu(result, workload::family(op), options.compare, options.compare_kernel);
    text = json ? with_comparison(text, comparison) : text + comparison_table(comparison);
  }
  fmt::print("{}", text);
}

/// Options that go with each other, and those that do not.
void check(const KernelOptions& options) {
  const auto refuse = [](const char* text) {
    throw core::ConfigError({"command line", 0, 0}, text);
  };
  if (options.timeline && !options.batch.empty())
    refuse("--timeline is for one kernel; it does not go with --batch");
  if (options.batch.empty() && !options.timeline && !options.out.empty())
    refuse("--out needs --batch or --timeline: nothing else writes files");
  if (options.timeline && options.format == "json" && options.out.empty())
    refuse("--timeline with --format json needs --out: where to write timeline.csv and .html");
}

void run(const KernelOptions& options) {
  check(options);
  const bool names_kernel = !options.compare_kernel.empty();
  if (options.compare.empty() ? names_kernel : !options.batch.empty())
    throw core::ConfigError({"command line", 0, 0},
                            names_kernel && options.compare.empty()
                                ? "--compare-kernel needs --compare: the export to look in"
                                : "--compare is for one kernel; it does not go with --batch");
  if (options.batch.empty()) {
    run_one(options);
    return;
  }
  if (options.out.empty())
    throw core::ConfigError({"command line", 0, 0},
                            "--batch needs --out: where to write the predictions");
  predict_batch({.input = options.batch,
                 .output = options.out,
                 .fits = options.fits,
                 .fidelity = fidelity_of(options),
                 .jobs = options.jobs});
}

}  // namespace

void add_kernel_command(CLI::App& program) {
  auto options = std::make_shared<KernelOptions>();
  CLI::App* command =
      program.add_subcommand("kernel", "Where the cycles of one kernel go on one GPU");
  command->add_option("op", options->op, operator_help());
  command->add_option("arguments", options->arguments,
                      "Shape as NAME=VALUE, for example M=8192 N=8192 K=8192 dtype=bf16");
  command->add_option("--device", options->device, "GPU of hw_configs/devices, or a file");
  command->add_option(
      "--implementation", options->implementation,
      "Kernel implementation of hw_configs/kernels, or your own file, which may say "
      "`extends: cublas_hopper` and what differs (default: the device's)");
  command->add_option("--fidelity", options->fidelity, "cycle or analytical")
      ->check(CLI::IsMember({"cycle", "analytical"}));
  command->add_option("--fits", options->fits, "Folder of fits instead of those that ship");
  command->add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}));
  command->add_option("--sms", options->sms, "SMs given to the kernel (default: all)");
  command->add_flag("--counters", options->counters,
                    "Counters under Nsight Compute's names, and stalls");
  command->add_flag("--timeline", options->timeline,
                    "Pipes, memory levels and waiting warp roles over the kernel's time; with "
                    "--out DIR also timeline.html (SM by SM) and timeline.csv");
  command->add_flag("--exact", options->exact,
                    "Simulate every wave; no extrapolation of the steady state");
  command->add_flag("--burst", options->burst,
                    "A burst of a few ms, before the power limit acts, instead of sustained");
  command->add_flag("--warm", options->warm,
                    "Operands are in L2 before the kernel starts, where they fit");
  command
      ->add_option("--enqueue-us", options->enqueue_us,
                   "The host launches kernels one by one and takes this long for each: 1.85 was "
                   "measured in plain CUDA beside B300, 4 to 6 is common through a framework "
                   "(default: replayed from a CUDA graph)")
      ->check(CLI::Range(0.0, 1e6));
  command->add_option("--hbm-share", options->hbm_share, "Part of HBM that neighbours leave it")
      ->check(CLI::Range(0.01, 1.0));
  command->add_option("--l2-share", options->l2_share, "Part of L2's rate that neighbours leave it")
      ->check(CLI::Range(0.01, 1.0));
  command->add_option("--compare", options->compare,
                      "Set predicted counters against an export of ncu --csv");
  command->add_option("--compare-kernel", options->compare_kernel,
                      "Which kernel of the export: a part of its name, or the number of a launch");
  command->add_option("--batch", options->batch, "Predict every row of a measurement file");
  command->add_option("--out", options->out,
                      "File that --batch writes; folder that --timeline writes");
  command->add_option("--jobs", options->jobs, "Worker processes (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command->callback([options] { run(*options); });
}

}  // namespace tessera::app
