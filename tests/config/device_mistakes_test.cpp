#include "models/device/device_file.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

void read(const std::string& text, const std::vector<core::Override>& overrides) {
  static_cast<void>(device::read_device(
      core::ConfigDocument::from_text(text, "mine.yaml", device::device_options(overrides))));
}

TEST_CASE("a wrong value in a device file is reported where it stands", "[config][device]") {
  check_rows(
      {
          {"extends: h100_sxm\n", {}, ""},
          {"extends: h100_sxm\nsm:\n  count: 1O8\n",
           {},
           "mine.yaml:3:10: error: sm.count: found '1O8'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  count: 0\n",
           {},
           "mine.yaml:3:10: error: sm.count: found '0'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm: {count: -132}\n",
           {},
           "mine.yaml:2:13: error: sm.count: found '-132'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: 010\n",
           {},
           "mine.yaml:3:14: error: sm.max_warps: found '010'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: 0x10\n",
           {},
           "mine.yaml:3:14: error: sm.max_warps: found '0x10'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: 64.0\n",
           {},
           "mine.yaml:3:14: error: sm.max_warps: found '64.0'; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: 99999999999999999999\n",
           {},
           "mine.yaml:3:14: error: sm.max_warps: found '99999999999999999999'; expected an integer "
           "in [1, 1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: '64'\n",
           {},
           "mine.yaml:3:14: error: sm.max_warps: found '64' in quotes; expected an integer in [1, "
           "1024]"},
          {"extends: h100_sxm\nsm:\n  max_warps: [64]\n",
           {},
           "mine.yaml:3:3: error: sm.max_warps: found a list; expected an integer in [1, 1024]"},
          {"extends: h100_sxm\nhbm:\n  reachable: .nan\n",
           {},
           "mine.yaml:3:14: error: hbm.reachable: found '.nan'; expected a number in [0.01, 1]"},
          {"extends: h100_sxm\nhbm:\n  reachable: inf\n",
           {},
           "mine.yaml:3:14: error: hbm.reachable: found 'inf'; expected a number in [0.01, 1]"},
          {"extends: h100_sxm\ndie:\n  transistors: 1e999\n",
           {},
           "mine.yaml:3:16: error: die.transistors: found '1e999'; expected a number in [1e+06, "
           "1e+15]"},
          {"extends: h100_sxm\nhbm:\n  reachable: 92 %\n",
           {},
           "mine.yaml:3:14: error: hbm.reachable: found '92 %'; expected a number in [0.01, 1]"},
          {"extends: h100_sxm\ngeneration: hoper\n",
           {},
           "mine.yaml:2:13: error: generation: found 'hoper'; expected one of ampere, ada, hopper, "
           "blackwell or blackwell_client (did you mean 'hopper'?)"},
      },
      read);
}

TEST_CASE("a quantity needs its unit, spelled right", "[config][device]") {
  check_rows(
      {
          {"extends: h100_sxm\nhbm:\n  size: 80\n",
           {},
           "mine.yaml:3:9: error: hbm.size: found '80', which has no unit; expected a size in B, "
           "KB, MB, GB, TB, KiB, MiB, GiB or TiB"},
          {"extends: h100_sxm\nhbm:\n  size: 80 Gb\n",
           {},
           "mine.yaml:3:9: error: hbm.size: found '80 Gb', whose unit 'Gb' is not accepted; "
           "expected a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB"},
          {"extends: h100_sxm\nhbm:\n  size: 80 gb\n",
           {},
           "mine.yaml:3:9: error: hbm.size: found '80 gb', whose unit 'gb' is not accepted; "
           "expected a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB"},
          {"extends: h100_sxm\nhbm:\n  size: 80GiB\n", {}, ""},
          {"extends: h100_sxm\nhbm:\n  peak_rate: 3350 GB\n",
           {},
           "mine.yaml:3:14: error: hbm.peak_rate: found '3350 GB', whose unit 'GB' is not "
           "accepted; "
           "expected a rate in B/s, KB/s, MB/s, GB/s, TB/s, Gb/s or Tb/s"},
          {"extends: h100_sxm\nhbm:\n  peak_rate: fast\n",
           {},
           "mine.yaml:3:14: error: hbm.peak_rate: found 'fast'; expected a rate in B/s, KB/s, "
           "MB/s, "
           "GB/s, TB/s, Gb/s or Tb/s"},
          {"extends: h100_sxm\nhbm:\n  peak_rate: -3 TB/s\n",
           {},
           "mine.yaml:3:14: error: hbm.peak_rate: found '-3 TB/s'; expected a rate in [1 MB/s, "
           "10000 "
           "TB/s]"},
          {"extends: h100_sxm\nsm:\n  registers: 0.5 B\n",
           {},
           "mine.yaml:3:14: error: sm.registers: found '0.5 B'; expected a size in [1.024 KB, "
           "16.7772 MB]"},
          {"extends: h100_sxm\nsm:\n  registers: 65536.5 B\n",
           {},
           "mine.yaml:3:14: error: sm.registers: found '65536.5 B'; expected a whole number of B"},
          {"extends: h100_sxm\nclock:\n  boost: 1980 mhz\n",
           {},
           "mine.yaml:3:10: error: clock.boost: found '1980 mhz', whose unit 'mhz' is not "
           "accepted; "
           "expected a frequency in Hz, kHz, MHz or GHz"},
          {"extends: h100_sxm\nl2:\n  near_latency: 258\n",
           {},
           "mine.yaml:3:17: error: l2.near_latency: found '258', which has no unit; expected a "
           "number "
           "of cycles in cycles"},
          {"extends: h100_sxm\npower:\n  fp32_energy: 3.3 nJ/FLOP\n",
           {},
           "mine.yaml:3:16: error: power.fp32_energy: found '3.3 nJ/FLOP', whose unit 'nJ/FLOP' is "
           "not accepted; expected a quantity in pJ/FLOP"},
          {"extends: h100_sxm\ndie:\n  area: 1e400 mm2\n",
           {},
           "mine.yaml:3:9: error: die.area: found '1e400 mm2'; expected a quantity in mm2"},
      },
      read);
}

TEST_CASE("unknown, missing and duplicate keys are reported", "[config][device]") {
  check_rows(
      {
          {"extends: h100_sxm\nsm:\n  warp_limit: 64\n",
           {},
           "mine.yaml:3:3: error: sm.warp_limit: found an unknown key; known are count, gpc_sizes, "
           "registers, shared_memory, shared_memory_per_cta, tensor_memory, max_warps, max_ctas, "
           "fp32_lanes, sfu_lanes, conversion_lanes, shared_memory_rate or tensor_flops"},
          {"extends: h100_sxm\nsm:\n  max_wraps: 64\n",
           {},
           "mine.yaml:3:3: error: sm.max_wraps: found an unknown key (did you mean 'max_warps'?)"},
          {"extends: h100_sxm\nsm:\n  count: 132\n  count: 78\n",
           {},
           "mine.yaml:4:3: error: sm.count: found a duplicate key; the first is on line 3"},
          {"extends: h100_sxm\nsm:\n  tensor_flops:\n    bf61: 4096 FLOP/cycle\n",
           {},
           "mine.yaml:4:11: error: sm.tensor_flops.bf61: found 'bf61'; expected one of fp32, tf32, "
           "bf16, fp16, fp8, fp8_token, fp8_block, mxfp8, mxfp4, nvfp4, int8, int8_wo, int4_wo, "
           "w4a16_mxfp4 or w4a8_mxfp4_mxfp8 (did you mean 'bf16'?)"},
          {"extends: h100_sxm\nhbm:\n  size: ~\n",
           {},
           "mine.yaml:2:1: error: hbm.size: missing; expected a size in B, KB, MB, GB, TB, KiB, "
           "MiB, "
           "GiB or TiB"},
          {"extends: h100_sxm\nhbm: 80 GB\n",
           {},
           "mine.yaml:2:6: error: hbm: found '80 GB'; expected a map"},
          {"extends: h100_sxm\nnvlink: ~\n",
           {},
           "mine.yaml:1:1: error: nvlink: missing; expected a map"},
          {"[1, 2]\n", {}, "mine.yaml:1:1: error: found a list; expected a map of keys"},
          {"", {}, "mine.yaml:1:1: error: found nothing; expected a map of keys"},
      },
      read);
}

TEST_CASE("values that contradict each other are reported with both places", "[config][device]") {
  check_rows(
      {
          {"extends: h100_sxm\nsm:\n  count: 130\n",
           {},
           "hw_configs/devices/h100_sxm.yaml:7:3: error: sm.gpc_sizes: found sizes that sum to "
           "132; "
           "expected the number of SMs, 130 (sm.count: mine.yaml:3:10)"},
          {"extends: h100_sxm\nclock:\n  minimum: 2 GHz\n",
           {},
           "mine.yaml:3:12: error: clock.minimum: found a clock above the boost clock "
           "(clock.boost: "
           "hw_configs/devices/h100_sxm.yaml:31:10)"},
          {"extends: h100_sxm\nsm:\n  tensor_flops:\n    nvfp4: 8192 FLOP/cycle\n",
           {},
           "hw_configs/devices/h100_sxm.yaml:59:3: error: power.tensor_energy: found no energy for "
           "nvfp4, which has a tensor rate (sm.tensor_flops.nvfp4: mine.yaml:4:12)"},
          {"extends: h100_sxm\npower:\n  idle: 800 W\n",
           {},
           "mine.yaml:3:9: error: power.idle: found more than the limit (power.limit: "
           "hw_configs/devices/h100_sxm.yaml:56:10)"},
      },
      read);
}

TEST_CASE("all mistakes of a file come at once, in the order of the text", "[config][device]") {
  check_rows(
      {{"extends: h100_sxm\nsm:\n  max_ctas: many\n  cuont: red\nhbm:\n  reachable: 2\n",
        {"clock.boost=1980"},
        "--set:1:13: error: clock.boost: found '1980', which has no unit; expected a "
        "frequency in Hz, kHz, MHz or GHz\n"
        "mine.yaml:3:13: error: sm.max_ctas: found 'many'; expected an integer in [1, 1024]\n"
        "mine.yaml:4:3: error: sm.cuont: found an unknown key (did you mean 'count'?)\n"
        "mine.yaml:6:14: error: hbm.reachable: found '2'; expected a number in [0.01, 1]"}},
      read);
}

TEST_CASE("an override is checked like a file and reported by its number", "[config][set]") {
  const std::string base = "extends: h100_sxm\n";
  check_rows(
      {
          {base, {"sm.count=132"}, ""},
          {base, {"sm.gpc_sizes.7=18"}, ""},
          {base,
           {"hbm.size=96 GB", "sm.count=many"},
           "--set:2:10: error: sm.count: found 'many'; expected an integer in [1, 1024]"},
          {base,
           {"sm.cuont=3"},
           "--set:1:1: error: sm.cuont: found an unknown key (did you mean 'count'?)"},
          {base,
           {"sm.count.x=3"},
           "--set:1:1: error: sm.count.x: found a path into '132', which has no keys"},
          {base,
           {"sm.gpc_sizes.8=18"},
           "--set:1:1: error: sm.gpc_sizes.8: found '8' as an index into a list of 8"},
          {base,
           {"sm.gpc_sizes.-1=18"},
           "--set:1:1: error: sm.gpc_sizes.-1: found '-1' as an index into a list of 8"},
          {base, {"sm.count"}, "--set:1:1: error: found 'sm.count'; expected path=value"},
          {base, {"=132"}, "--set:1:1: error: found '=132'; expected path=value"},
          {base, {"sm..count=1"}, "--set:1:1: error: found 'sm..count=1'; expected path=value"},
          {base,
           {"hbm.size="},
           "--set:1:1: error: hbm.size: found nothing; expected a size in B, KB, MB, GB, TB, KiB, "
           "MiB, GiB or TiB"},
          {base,
           {"sm.count=[132"},
           "--set:1:10: error: found text that is not YAML (end of sequence flow not found)"},
      },
      read);
}

}  // namespace
}  // namespace tessera::config_test
