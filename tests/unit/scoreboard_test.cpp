#include "calibrate/scoreboard.hpp"

#include <fmt/format.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "calibrate/fitted_roofline.hpp"
#include "calibrate/neighbours.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;

const std::string kHeader =
    "gpu,framework,op,dtype,kernel,kv_dtype,M,N,K,latency_us,predicted_us,lower_us,upper_us\n";

CsvTable rows(const std::string& text) { return CsvTable::parse(kHeader + text, "gemm.csv"); }

ScoredFile scored(const CsvTable& table) {
  return score_file("gemm", table, floors_of(table), ImplementationUses{});
}

}  // namespace

TEST_CASE("a row is far off alone or with those of nearly its shape", "[scoreboard]") {
  const ScoredFile file =
      scored(rows("h100_sxm,trtllm,gemm,bfloat16,k,,64,256,512,10,15,,\n"     // +50 %
                  "h100_sxm,trtllm,gemm,bfloat16,k,,128,256,512,10,14,,\n"    // +40 %
                  "h100_sxm,trtllm,gemm,bfloat16,k,,64,512,512,10,13,,\n"     // +30 %
                  "h100_sxm,trtllm,gemm,bfloat16,k,,64,256,1024,10,14.5,,\n"  // +45 %
                  "h100_sxm,trtllm,gemm,bfloat16,k,,64,128,512,10,6,,\n"      // -40 %
                  "h100_sxm,trtllm,gemm,bfloat16,other,,64,256,512,10,30,,\n"
                  "h100_sxm,trtllm,gemm,bfloat16,k,,8192,256,512,10,30,,\n"));
  CHECK(error_of_neighbours(file, file.numbers[0]).value() == Approx(0.35));
  CHECK(company(file, file.numbers[0]) == "with others (+35 %)");
  CHECK(company(file, file.numbers[4]) == "alone (+42 %)");
  CHECK(company(file, file.numbers[6]) == "-");  // more than a factor of 4 from all
}

TEST_CASE("a group's errors, interval and coverage", "[scoreboard]") {
  const ScoredFile file =
      scored(rows("h100_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,11,9,12\n"   // +10 %, inside
                  "h100_sxm,trtllm,gemm,bfloat16,k,,2,1,1,20,16,15,18\n"  // -20 %, outside
                  "h100_sxm,trtllm,gemm,bfloat16,k,,3,1,1,30,39,29,40\n"  // +30 %, inside
                  "h100_sxm,trtllm,gemm,bfloat16,k,,4,1,1,40,,,\n"        // declined
                  "h100_sxm,sglang,gemm,bfloat16,k,,1,1,1,50,50,,\n"));   // another group
  const auto groups = score_groups(file, {});
  REQUIRE(groups.size() == 2);
  const GroupScore& s = groups.at("gemm h100_sxm trtllm bfloat16");
  CHECK(s.rows == 4);
  CHECK(s.cover() == 0.75);
  CHECK(s.median == Approx(0.2));
  CHECK(s.p90 == Approx(0.28));  // linear between 0.2 and 0.3
  CHECK(s.max == Approx(0.3));
  CHECK(s.bias == Approx(0.1));
  CHECK(s.in90() == Approx(2.0 / 3));
  CHECK(std::isnan(groups.at("gemm h100_sxm sglang bfloat16").in90()));
}

TEST_CASE("rows near the floor can be left out", "[scoreboard]") {
  const ScoredFile file =
      scored(rows("h100_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,10,,\n"
                  "h100_sxm,trtllm,gemm,bfloat16,k,,2,1,1,20,20,,\n"
                  "h100_sxm,trtllm,gemm,bfloat16,k,,3,1,1,19,19,,\n"
                  "h200_sxm,trtllm,gemm,bfloat16,k,,3,1,1,19,19,,\n"));
  CHECK(score_groups(file, {.by = {"gpu"}, .above_floor = 2}).size() == 1);
  CHECK(score_groups(file, {.by = {"gpu"}, .above_floor = 2}).at("h100_sxm").rows == 1);
}

TEST_CASE("a part of a file keeps the floors of the whole", "[scoreboard]") {
  const CsvTable whole = rows(
      "h100_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,10,,\n"
      "h100_sxm,trtllm,gemm,bfloat16,k,,2,1,1,20,20,,\n");
  const ScoredFile part =
      score_file("gemm", whole.only({1}), floors_of(whole), ImplementationUses{});
  REQUIRE(part.numbers.size() == 1);
  CHECK(part.numbers[0].over_floor == 2);
}

TEST_CASE("watts are numbers of their own", "[scoreboard]") {
  const CsvTable table = CsvTable::parse(
      "gpu,framework,dtype,latency_us,power_w,predicted_us,predicted_power_w\n"
      "h200_sxm,vllm,bfloat16,10,500,11,400\n",
      "power_gemm.csv");
  const auto groups = score_groups(
      score_file("power_gemm", table, floors_of(table), ImplementationUses{}), {.by = {"gpu"}});
  CHECK(groups.at("h200_sxm").bias == Approx(0.1));
  CHECK(groups.at("h200_sxm power").bias == Approx(-0.2));
}

TEST_CASE("implementations say which rows bars apply to", "[scoreboard]") {
  const auto folder = std::filesystem::temp_directory_path() / "tessera_scoreboard_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "implementations.csv") << "file,framework,kernel,dtype,kv_dtype,gpu,use\n"
                                                   "gemm,trtllm,k,bfloat16,,h100_sxm,library\n"
                                                   "gemm,trtllm,k,bfloat16,,a100_sxm,distrust\n";
  const auto uses = ImplementationUses::load(folder.string());
  const CsvTable table = rows(
      "h100_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,,,\n"
      "a100_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,,,\n"
      "b200_sxm,trtllm,gemm,bfloat16,k,,1,1,1,10,,,\n"
      "b200_sxm,trtllm,gemm,bfloat16,another,,1,1,1,10,,,\n");
  CHECK(uses.of("gemm", table, 0) == Use::library);
  CHECK(uses.of("gemm", table, 1) == Use::distrust);
  CHECK(uses.of("gemm", table, 2) == Use::library);  // as the first that names no such GPU
  CHECK(uses.of("gemm", table, 3) == Use::score);
  std::ofstream(folder / "implementations.csv") << "file,use\ngemm,perhaps\n";
  CHECK_THROWS_AS(ImplementationUses::load(folder.string()), core::ConfigError);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a roofline fitted to a roofline finds it", "[scoreboard]") {
  // 3 us, 600 FLOP/ns, 2 TB/s.
  const FittedRoofline truth{.flops_per_us = 6e8, .bytes_per_us = 2e6, .constant_us = 3};
  std::string text = "gpu,framework,op,dtype,M,N,K,latency_us\n";
  for (const double m : {16.0, 64.0, 256.0, 1024.0, 4096.0})
    for (const double n : {512.0, 1024.0, 4096.0, 8192.0})
      for (const double k : {256.0, 1024.0, 4096.0, 8192.0, 16384.0})
        text += fmt::format("h100_sxm,trtllm,gemm,bfloat16,{},{},{},{:.4f}\n", m, n, k,
                            truth.microseconds(2 * m * n * k, 2 * (m * k + n * k + m * n)));
  const auto scores = fitted_rooflines(CsvTable::parse(text, "gemm.csv"));
  REQUIRE(scores.size() == 1);
  const RooflineScore& score = scores.at("h100_sxm trtllm bfloat16");
  CHECK(score.median < 0.01);
  CHECK(score.fitted.flops_per_us == Approx(6e8).epsilon(0.02));
  CHECK(score.fitted.bytes_per_us == Approx(2e6).epsilon(0.02));
  CHECK(score.fitted.constant_us == Approx(3).epsilon(0.05));
}

}  // namespace tessera::calibrate
