#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "calibrate/import_kineto.hpp"
#include "calibrate/import_nccl_tests.hpp"
#include "calibrate/ncu_export.hpp"
#include "models/device/device_file.hpp"
#include "models/workload/architecture_yaml.hpp"
#include "models/workload/hf_config.hpp"
#include "sim/app/architecture_report.hpp"
#include "sim/app/command.hpp"
#include "sim/app/import_report.hpp"
#include "sim/app/output_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using calibrate::Import;

struct ImportOptions {
  std::string input;
  std::string out;
  std::string only;
  std::string collective;
  calibrate::StatedOrigin origin;
};

/// A file, or standard input for "-".
class Source {
 public:
  explicit Source(const std::string& path) : name_(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    std::error_code error;
    if (std::filesystem::is_directory(path, error))
      throw core::ConfigError({path, 0, 0}, "is a folder; expected a file");
    file_.open(path, std::ios::binary);
    if (!file_) throw core::ConfigError({path, 0, 0}, "cannot be read; expected a file");
  }

  std::istream& stream() { return name_ == "standard input" ? std::cin : file_; }
  [[nodiscard]] const std::string& name() const { return name_; }

  void refuse_compressed() {
    constexpr int kGzip = 0x1f;  // first byte of RFC 1952; no text starts with it
    if (stream().peek() == kGzip)
      throw core::ConfigError({name_, 0, 0},
                              "found gzip, which Tessera does not unpack; expected text (gunzip "
                              "-c FILE | tessera import ... -)");
  }

 private:
  std::string name_;
  std::ifstream file_;
};

template <class Importer>
void run(const ImportOptions& options, const Importer& importer) {
  if (!options.origin.gpu.empty()) (void)device::load_device(options.origin.gpu);
  const auto rules = calibrate::ImportRules::load();
  Source source{options.input};
  source.refuse_compressed();
  Import import = importer(source.stream(), source.name(), rules);
  calibrate::restate(import, options.origin);
  if (!options.only.empty()) calibrate::keep_only(import, options.only);
  write_output_file(options.out, to_csv(import));
  fmt::print("{}", import_table(import, source.name(), options.out));
}

/// The subcommand of one source, with the options that all have.
CLI::App* add_importer(CLI::App& import, const std::string& name, const std::string& about,
                       const std::shared_ptr<ImportOptions>& options) {
  CLI::App* command = import.add_subcommand(name, about);
  command->add_option("file", options->input, "What to read; - is standard input")->required();
  command->add_option("--out", options->out, "CSV file to write")->required();
  command->add_option("--gpu", options->origin.gpu,
                      "GPU of hw_configs/devices that was measured (default: as the file says)");
  command->add_option("--framework", options->origin.framework,
                      "What ran (default: as the file says)");
  command->add_option("--framework-version", options->origin.version,
                      "Its version (default: as the file says)");
  return command;
}

void import_hf(const std::string& input, const std::string& out) {
  const workload::HfImport import = workload::load_hf_config(input);
  const std::string text = imported_architecture_text(import, input);
  if (out.empty()) {
    fmt::print("{}", text);
    return;
  }
  write_output_file(out, text);
  fmt::print("{}: a {} as an architecture in {}\n{}", input, import.model_type, out,
             architecture_summary(import.architecture));
}

void add_hf_importer(CLI::App& import) {
  CLI::App* command = import.add_subcommand(
      "hf", "The config.json of a model on Hugging Face, as an architecture file");
  auto input = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  command->add_option("file", *input, "A config.json")->required();
  command->add_option("--out", *out, "File to write (default: standard output)");
  command->callback([input, out] { import_hf(*input, *out); });
}

}  // namespace

void add_import_command(CLI::App& program) {
  CLI::App* import = program.add_subcommand(
      "import", "Other tools' measurements, as rows to calibrate to, and their models");
  import->require_subcommand(1);
  auto options = std::make_shared<ImportOptions>();
  CLI::App* nccl =
      add_importer(*import, "nccl-tests", "What all_reduce_perf and its siblings printed", options);
  nccl->add_option("--collective", options->collective,
                   "Which test it was, where the output does not say (before nccl-tests 2.17)");
  nccl->callback([options] {
    run(*options, [&](std::istream& text, const std::string& name, const auto& rules) {
      return calibrate::import_nccl_tests(text, name, rules, options->collective);
    });
  });
  add_hf_importer(*import);
  CLI::App* ncu = add_importer(
      *import, "ncu", "An export of Nsight Compute: ncu --csv, --page raw or details", options);
  ncu->callback([options] { run(*options, calibrate::import_ncu); });
  CLI::App* kineto =
      add_importer(*import, "kineto", "A trace of PyTorch's profiler (Kineto), as JSON", options);
  kineto->add_option("--only", options->only, "Only rows that belong to this measurement file")
      ->check(CLI::IsMember({"gemm", "attention_context", "attention_generation",
                             "encoder_attention", "quantize", "comm_nccl"}));
  kineto->callback([options] { run(*options, calibrate::import_kineto); });
}

}  // namespace tessera::app
