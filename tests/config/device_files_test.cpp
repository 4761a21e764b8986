#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <string>

#include "models/device/device_file.hpp"

namespace tessera::device {
namespace {

using core::DataType;

TEST_CASE("every device file is read whole, under the names of the design", "[config][device]") {
  const std::vector<std::string> expected = {
      "a100_40gb", "a100_pcie", "a100_sxm", "a800_sxm",           "b200_sxm", "b300_sxm",
      "gb200",     "gb300",     "h100_nvl", "h100_sxm",           "h200_sxm", "h20_141gb",
      "h20_sxm",   "h800_sxm",  "l40s",     "rtx_pro_6000_server"};
  CHECK(core::names_in("hw_configs/devices") == expected);
  for (const std::string& name : expected) {
    INFO(name);
    const DeviceSpec device = load_device(name);
    CHECK(device.name == name);
    CHECK(device.sm.tensor_flops.contains(DataType::bf16));
  }
}

TEST_CASE("devices are found by the names that other tools give them", "[config][device]") {
  CHECK(load_device("h20").name == "h20_sxm");
  CHECK(load_device("gb200_sxm").name == "gb200");
  CHECK(load_device("gb200").name == "gb200");
  CHECK_THROWS_AS(load_device("gb200_sxm_sxm"), core::ConfigError);
}

TEST_CASE("peaks at the quoted clock are the vendors'", "[config][device]") {
  struct Row {
    std::string device;
    DataType type;
    double teraflops;  ///< Dense.
  };
  const std::vector<Row> rows = {
      {"a100_sxm", DataType::bf16, 312},     {"h100_sxm", DataType::bf16, 989.4},
      {"h800_sxm", DataType::fp8, 1979},     {"h20_sxm", DataType::bf16, 148},
      {"h20_sxm", DataType::fp8_block, 296}, {"b200_sxm", DataType::bf16, 2250},
      {"b200_sxm", DataType::nvfp4, 9000},   {"gb200", DataType::fp8, 5000},
      {"b300_sxm", DataType::nvfp4, 13500},  {"gb300", DataType::nvfp4, 15000},
      {"l40s", DataType::fp8, 733},          {"rtx_pro_6000_server", DataType::bf16, 503.8}};
  for (const Row& row : rows) {
    INFO(row.device);
    CHECK(load_device(row.device).peak(row.type).value() ==
          Catch::Approx(row.teraflops * 1e12).epsilon(0.02));
  }
}

TEST_CASE("a device that extends another differs from it only where it says so",
          "[config][device]") {
  const DeviceSpec h100 = load_device("h100_sxm");
  const DeviceSpec h800 = load_device("h800_sxm");
  CHECK(h800.nvlink.rate == BytesPerSecond{200e9});
  CHECK(h800.sm.tensor_flops == h100.sm.tensor_flops);
  CHECK(h800.hbm.peak_rate == h100.hbm.peak_rate);
  CHECK(load_device("h20_141gb").sm.count == 78);
  CHECK(load_device("h20_141gb").hbm.size == Bytes{141'000'000'000});
}

}  // namespace
}  // namespace tessera::device
