#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <stdexcept>

#include "calibrate/csv_table.hpp"
#include "calibrate/probes/device_state.hpp"
#include "calibrate/probes/measurement_file.hpp"
#include "calibrate/probes/probe_options.hpp"

namespace tessera::calibrate::probes {
namespace {

const Environment kEnvironment{.gpu = "h100_sxm",
                               .version = "0.1.0",
                               .device = "NVIDIA H100 80GB HBM3",
                               .driver = "580.1",
                               .cuda = "13.0",
                               .sms = 132,
                               .l2_bytes = 52428800,
                               .memory_clock_mhz = 2619,
                               .power_limit_w = 700};
const Family kGemm{.file = "gemm", .shape = {"M", "N", "K"}, .outcome = {}};

Measurement gemm_row() {
  return {.op = "gemm",
          .dtype = "bfloat16",
          .kernel = "cublaslt",
          .columns = {{"M", "16"}, {"N", "4096"}, {"K", "7168"}},
          .library = "cublasLt 13.1.0",
          .timing = {.plan = {.operand_sets = 6, .operations = 24},
                     .latency_us = summarize({20.5, 20.25, 20.75}),
                     .sm_clock_before_mhz = 1980,
                     .sm_clock_after_mhz = 1964.6},
          .error = 0.0017,
          .allowed_error = 0.005};
}

ParsedOptions parsed(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "probe");
  return parse_options("probe", "A probe", static_cast<int>(arguments.size()), arguments.data());
}

}  // namespace

TEST_CASE("a row has the columns of a measurement file first, then how it was timed", "[probes]") {
  const CsvTable table =
      CsvTable::parse(header_line(kGemm) + row_line(kGemm, kEnvironment, gemm_row()), "gemm.csv");
  REQUIRE(table.size() == 1);
  const std::vector<std::string> measured = {
      "gpu", "framework", "version", "op", "dtype", "kernel", "M", "N", "K", "latency_us", "split"};
  REQUIRE(table.header().size() > measured.size());
  CHECK(std::vector<std::string>(table.header().begin(),
                                 table.header().begin() + static_cast<long>(measured.size())) ==
        measured);
  CHECK(table.text(0, "gpu") == "h100_sxm");
  CHECK(table.text(0, "framework") == "tessera_probes");
  CHECK(table.number(0, "latency_us") == 20.5);
  CHECK(table.text(0, "split") == "calib");
  CHECK(table.text(0, "device") == "NVIDIA H100 80GB HBM3");
  CHECK(table.text(0, "driver") == "580.1");
  CHECK(table.number(0, "sm_clock_before_mhz") == 1980);
  CHECK(table.number(0, "sm_clock_after_mhz") == 1965);
  CHECK(table.text(0, "operands") == "cycled");
  CHECK(table.number(0, "operand_sets") == 6);
  CHECK(table.number(0, "p10_us") == 20.3);
}

TEST_CASE("what else a family measures stands between latency and split", "[probes]") {
  const Family power{
      .file = "power_gemm", .shape = {"M", "N", "K"}, .outcome = {"power_w", "power_limit_w"}};
  CHECK(header_line(power).starts_with(
      "gpu,framework,version,op,dtype,kernel,M,N,K,latency_us,power_w,power_limit_w,split,"));
  Measurement row = gemm_row();
  CHECK_THROWS_AS(row_line(power, kEnvironment, row), std::logic_error);
  row.columns["power_w"] = "612.5";
  row.columns["power_limit_w"] = "700";
  CHECK(row_line(power, kEnvironment, row).find(",20.5,612.5,700,calib,") != std::string::npos);
}

TEST_CASE("what nvidia-smi does not say stays empty", "[probes]") {
  Environment silent = kEnvironment;
  silent.driver.clear();
  silent.memory_clock_mhz.reset();
  silent.power_limit_w.reset();
  const CsvTable table =
      CsvTable::parse(header_line(kGemm) + row_line(kGemm, silent, gemm_row()), "gemm.csv");
  CHECK(table.text(0, "driver").empty());
  CHECK(table.text(0, "board_limit_w").empty());
}

TEST_CASE("rows are in the file as soon as they are written", "[probes]") {
  const auto folder = std::filesystem::temp_directory_path() / "tessera_probe_files_test";
  std::filesystem::create_directories(folder);
  MeasurementFile file{folder.string(), kGemm, kEnvironment};
  file.write(gemm_row());
  CHECK(CsvTable::load((folder / "gemm.csv").string()).size() == 1);
  file.write(gemm_row());
  CHECK(CsvTable::load((folder / "gemm.csv").string()).size() == 2);
  std::filesystem::remove_all(folder);
  CHECK_THROWS_AS((MeasurementFile{(folder / "absent").string(), kGemm, kEnvironment}),
                  std::runtime_error);
}

TEST_CASE("numbers are written without trailing zeros", "[probes]") {
  CHECK(number_text(12.5) == "12.5");
  CHECK(number_text(0.000295) == "0.000295");
  CHECK(number_text(3.0) == "3");
  CHECK(number_text(-1e-9) == "0");
}

TEST_CASE("the line of nvidia-smi is read, with fields that a GPU does not report", "[probes]") {
  const auto state = parse_device_state(
      "NVIDIA H100 80GB HBM3, GPU-0a1b, 580.82.07, 1980, 2619, 1980, 112.34, 700.00, 41\n");
  REQUIRE(state);
  CHECK(state->name == "NVIDIA H100 80GB HBM3");
  CHECK(state->driver == "580.82.07");
  CHECK(state->memory_clock_mhz == 2619);
  CHECK(state->power_w == 112.34);
  CHECK(state->temperature_c == 41);
  const auto partial =
      parse_device_state("A, GPU-0, 1, 1410, [N/A], 1410, [Not Supported], [N/A], 30");
  REQUIRE(partial);
  CHECK_FALSE(partial->memory_clock_mhz);
  CHECK_FALSE(partial->power_w);
  CHECK(partial->sm_clock_mhz == 1410);
}

TEST_CASE("what is no line of nvidia-smi is none", "[probes]") {
  CHECK_FALSE(parse_device_state("No devices were found"));
  CHECK_FALSE(parse_device_state(""));
  CHECK_FALSE(query_device_state("/no/such/program", "GPU-0"));
}

TEST_CASE("nvidia-smi is asked by the UUID that CUDA gives", "[probes]") {
  const unsigned char bytes[16] = {0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71,
                                   0x82, 0x93, 0xa4, 0xb5, 0xc6, 0xd7, 0xe8, 0xf9};
  CHECK(uuid_text(bytes) == "GPU-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
}

TEST_CASE("products are known by Tessera's names", "[probes]") {
  const std::int64_t memory = 80'000'000'000;
  CHECK(tessera_device("NVIDIA H100 80GB HBM3", memory) == "h100_sxm");
  CHECK(tessera_device("NVIDIA A100-SXM4-80GB", memory) == "a100_sxm");
  CHECK(tessera_device("NVIDIA A100-SXM4-40GB", memory / 2) == "a100_40gb");
  CHECK(tessera_device("NVIDIA H200", 141'000'000'000) == "h200_sxm");
  CHECK(tessera_device("NVIDIA H20", 96'000'000'000) == "h20_sxm");
  CHECK(tessera_device("NVIDIA H20", 141'000'000'000) == "h20_141gb");
  CHECK(tessera_device("NVIDIA GB200", 186'000'000'000) == "gb200");
  CHECK(tessera_device("NVIDIA B200", 180'000'000'000) == "b200_sxm");
  CHECK(tessera_device("NVIDIA RTX PRO 6000 Blackwell Server Edition", memory) ==
        "rtx_pro_6000_server");
  CHECK_FALSE(tessera_device("NVIDIA GeForce RTX 3060", memory));
}

TEST_CASE("power is the mean after the load has settled", "[probes]") {
  std::vector<DeviceState> samples(5);
  const double power[] = {100, 300, 600, 610, 620};
  for (std::size_t i = 0; i < 5; ++i) {
    samples[i].power_w = power[i];
    samples[i].sm_clock_mhz = 1980 - 10.0 * static_cast<double>(i);
  }
  const auto summary = summarize_power(samples, 2);
  REQUIRE(summary);
  CHECK(summary->power_w == 610);
  CHECK(summary->sm_clock_mhz == 1950);
  CHECK(summary->samples == 3);
  CHECK_FALSE(summarize_power(samples, 5));
}

TEST_CASE("options are read, and what is wrong with them is said", "[probes]") {
  const ParsedOptions good =
      parsed({"--out", "x", "--l2", "flushed", "--replays", "9", "--quick", "--gpu", "h20_sxm"});
  REQUIRE_FALSE(good.exit_code);
  CHECK(good.options.out == "x");
  CHECK(good.options.replay.state == OperandState::flushed);
  CHECK(good.options.replay.replays == 9);
  CHECK(good.options.quick);
  CHECK(good.options.gpu == "h20_sxm");
  CHECK(parsed({}).options.replay.state == OperandState::cycled);

  CHECK(parsed({"--help"}).exit_code == 0);
  CHECK(parsed({"--help"}).message.find("--operand-sets") != std::string::npos);
  CHECK(parsed({"--l2", "hot"}).exit_code == 2);
  CHECK(parsed({"--replays", "0"}).exit_code == 2);
  const ParsedOptions unknown = parsed({"--speed", "fast"});
  CHECK(unknown.exit_code == 2);
  CHECK(unknown.message.find("--speed") != std::string::npos);
}

}  // namespace tessera::calibrate::probes
