#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("show --resolved gives every value with its origin", "[show]") {
  const Outcome shown = run_tessera("show device h20_sxm --resolved");
  CHECK(shown.exit_code == 0);
  CHECK(shown.errors.empty());
  CHECK_THAT(shown.output, ContainsSubstring("  count: 78  "));
  CHECK_THAT(shown.output, ContainsSubstring("# hw_configs/devices/h20_sxm.yaml:6:10\n"));
  CHECK_THAT(shown.output,
             ContainsSubstring("# hw_configs/devices/h100_sxm.yaml:12:14, inherited\n"));
}

TEST_CASE("a cluster is shown with its node and device, and overrides reach them", "[show]") {
  const auto json =
      printed_json("show cluster h20_2048_multiplane --set node.device.hbm.size=141GB");
  CHECK(json["cluster"]["values"]["fabric"]["planes"]["value"] == 4);
  CHECK(json["node"]["values"]["nic"]["gpus_per_nic"]["value"] == 2);
  const auto size = json["device"]["values"]["hbm"]["size"];
  CHECK(size["value"] == "141GB");
  CHECK(size["origin"] == "--set:1:22");
}

TEST_CASE("a scenario is shown with its cluster and architecture", "[show]") {
  const std::string shown =
      printed("show scenario deepseek_v3_pretrain_h800 --set cluster.node.device.sm.max_warps=32");
  CHECK_THAT(shown, ContainsSubstring("# scenario deepseek_v3_pretrain_h800: "));
  CHECK_THAT(shown, ContainsSubstring("# cluster h800_2048_multiplane: "));
  CHECK_THAT(shown, ContainsSubstring("# device h800_sxm: "));
  CHECK_THAT(shown, ContainsSubstring("# architecture deepseek_v3: "));
  CHECK_THAT(shown, ContainsSubstring("# --set:1:34, override\n"));
}

TEST_CASE("an architecture is shown with what it counts", "[show]") {
  const std::string shown = printed("show architecture llama3.1_405b");
  CHECK_THAT(shown, ContainsSubstring("hidden: 16384  # HF hidden_size\n"));
  CHECK_THAT(shown, ContainsSubstring("# parameters: 405.85 B in all"));
  const auto counts = printed_json("show architecture gpt_oss_20b")["counts"];
  CHECK(counts["cache_bytes_per_token_bf16"]["in_windows"] == 12 * 2 * 8 * 64 * 2);
}

TEST_CASE("without --resolved a description is printed as it was written", "[show]") {
  CHECK_THAT(printed("show device a800_sxm"), ContainsSubstring("extends: a100_sxm\n"));
}

TEST_CASE("a cluster is shown with its tiers, paths and bisection", "[show]") {
  const std::string shown = printed("show cluster h100_sxm_512_rail");
  CHECK_THAT(shown, ContainsSubstring("\ndomains: 64  # the name\n"));
  CHECK_THAT(shown,
             ContainsSubstring("# 512 GPUs in 64 x 8; network: 16 leaves, 8 spines; adaptive"));
  CHECK_THAT(shown, ContainsSubstring("# leaf - spine             16    1520 GB/s"));
  CHECK_THAT(shown, ContainsSubstring("11904 GB/s per direction, 100.0 % of what the NICs"));
  CHECK_THAT(mistake_in("show cluster h100_sxm_512_rail --set 'links={down: [nic9x]}'"),
             ContainsSubstring("nic9x"));
}

TEST_CASE("a wrong name or value ends with code 2 and a message, and prints nothing else",
          "[show]") {
  CHECK_THAT(
      mistake_in("show device h10_sxm"),
      ContainsSubstring("found 'h10_sxm'") && ContainsSubstring("(did you mean 'h100_sxm'?)"));
  CHECK_THAT(mistake_in("show device h100_sxm --set hbm.size=80"),
             ContainsSubstring("--set:1:10: error: hbm.size: found '80', which has no unit"));
}

TEST_CASE("list names what there is", "[list]") {
  CHECK(printed_json("list devices").size() == 16);
  CHECK_THAT(printed("list clusters"), ContainsSubstring("h800_2048_multiplane  "));
  CHECK_THAT(printed("list types"), ContainsSubstring("fp8_block\n"));
  CHECK_THAT(mistake_in("list colours"), ContainsSubstring("'colours'"));
}

TEST_CASE("doctor reads everything and finds nothing wrong", "[doctor]") {
  CHECK_THAT(printed("doctor"), ContainsSubstring("16, all read without a mistake"));
}

TEST_CASE("a data folder that is none is reported", "[doctor]") {
  const Outcome told = run_tessera("list devices", "TESSERA_DATA=/nowhere");
  CHECK(told.exit_code == 2);
  CHECK(told.errors ==
        "TESSERA_DATA: error: found '/nowhere'; expected a folder that holds hw_configs\n");
}

TEST_CASE("a schedule is drawn without a model", "[show]") {
  CHECK(printed("show schedule 1f1b --stages 2 --micro-batches 2") ==
        "1f1b over 2 ranks, 2 micro-batches; F 1, Bi 1, W 1\n"
        "rank 0 F0  F1  ........B0      ....B1      \n"
        "rank 1 ....F0  B0      F1  B1      ........\n"
        "F forward, B backward, . idle (33.3 %)\n"
        "2 stages, 9 units long; at most 2 chunks in flight until their input gradient, 2 until "
        "their weight gradient\n");
  CHECK_THAT(printed("show schedule zb_h2_4x8 --format svg"),
             ContainsSubstring("<svg ") && ContainsSubstring("zb_h2_4x8 over 4 ranks"));
  CHECK_THAT(refusal_of("show schedule dualpipe --stages 3"),
             ContainsSubstring("even number of pipeline ranks, not 3"));
  CHECK_THAT(mistake_in("show schedule zb_x"), ContainsSubstring("zb_h1"));
}

}  // namespace
}  // namespace tessera::end_to_end
