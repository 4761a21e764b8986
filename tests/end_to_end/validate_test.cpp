#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

/// A measurement folder with three GEMMs, one of a type that Tessera does not model.
struct Measurements : testing::TemporaryFolder {
  Measurements() {
    fs::create_directories(at("rows"));
    write("rows/gemm.csv",
          "gpu,framework,version,op,dtype,kernel,M,N,K,latency_us,split\n"
          "h100_sxm,trtllm,1,gemm,bfloat16,k,4096,4096,4096,200.5,calib\n"
          "h100_sxm,trtllm,1,gemm,bfloat16,k,128,4096,4096,14.5,calib\n"
          "h100_sxm,trtllm,1,gemm,made_up,k,128,4096,4096,14.5,calib\n");
  }
};

}  // namespace

TEST_CASE("validate without measurements prints what ships with the fits", "[validate]") {
  const Outcome outcome = run_tessera("validate kernels");
  CHECK(outcome.exit_code == 0);
  for (const char* part : {"worst first", "h200_sxm", "gemm trtllm bfloat16", "stamp "})
    CHECK_THAT(outcome.output, ContainsSubstring(part));
  CHECK(run_tessera("validate").output == outcome.output);
}

TEST_CASE("a place that cannot hold results is refused before the work", "[validate]") {
  const Measurements m;
  const std::string rows = m.at("rows").string();
  const std::string nowhere = m.at("missing/results").string();
  for (const std::string& command :
       {"validate kernels --measurements " + rows + " --out " + nowhere,
        "validate training --out " + nowhere,
        "kernel --batch " + rows + "/gemm.csv --out " + nowhere,
        "calibrate " + rows + " --device h100_sxm --out " + rows + "/gemm.csv"}) {
    const Outcome outcome = run_tessera(command);
    CAPTURE(command, outcome.errors);
    CHECK(outcome.exit_code == 2);
    CHECK_THAT(outcome.errors, ContainsSubstring("--out"));
    CHECK(outcome.output.empty());
  }
  CHECK_FALSE(fs::exists(m.at("missing")));
}

TEST_CASE("validate scores measured rows and writes them with their predictions", "[validate]") {
  const Measurements m;
  const std::string command =
      "validate --measurements " + (m.at("rows")).string() + " --fidelity both";
  const Outcome outcome = run_tessera(command + " --out " + (m.at("out")).string());
  CHECK(outcome.exit_code == 0);
  for (const char* part : {"gemm h100_sxm trtllm bfloat16", "M=4096 N=4096 K=4096",
                           "Fidelities side by side", "Not modelled, rows by reason", "made_up"})
    CHECK_THAT(outcome.output, ContainsSubstring(part));
  CHECK(run_tessera(command + " --jobs 1").output == outcome.output);
  std::ifstream rows(m.at("out") / "gemm.csv");
  std::string header;
  std::getline(rows, header);
  CHECK_THAT(header, ContainsSubstring("predicted_us,lower_us,upper_us,binding,analytical_us"));
  CHECK_THAT(testing::bytes_of(m.at("out") / "report.html"),
             ContainsSubstring("data-family=\"gemm\""));
}

TEST_CASE("validate says what it cannot do", "[validate]") {
  CHECK(run_tessera("validate serving").exit_code == 2);
  CHECK_THAT(run_tessera("validate serving").errors, ContainsSubstring("needs --measurements"));
  CHECK(run_tessera("validate --measurements /nowhere").exit_code == 2);
  CHECK(run_tessera("validate --out somewhere").exit_code == 2);
}

TEST_CASE("validate serving sets measured servers beside predictions", "[validate]") {
  const Measurements m;
  std::ofstream(m.at("rows") / "e2e_serving.csv")
      << "gpu,model,kind,framework,version,precision,mode,isl,osl,concurrency,gemm_quant,batch,tp,"
         "pp,attn_dp,moe_tp,moe_ep,ttft_ms,tpot_ms,n_gpus\n"
         "h100_sxm,meta-llama/"
         "Llama-3.1-8B-Instruct,dense_gqa,trtllm,made-up,bf16,agg,1024,512,8,,8,"
         "2,1,1,2,1,100,5,2\n"
         "h100_sxm,Qwen/"
         "Qwen3.5-397B-A17B,moe_gqa,sglang,0,fp8,agg,1024,512,8,,8,2,1,1,2,1,100,5,2\n"
         "h100_sxm,meta-llama/"
         "Llama-3.1-8B-Instruct,dense_gqa,trtllm,1,bf16,agg,1024,512,64,,64,2,1,"
         "1,2,1,100,5,2\n";
  const std::string command =
      "validate serving --fidelity analytical --measurements " + (m.at("rows")).string();
  const Outcome outcome = run_tessera(command + " --out " + (m.at("out")).string());
  CHECK(outcome.exit_code == 0);
  // The third row's batch is too large to be covered.
  for (const char* part : {"1 of 2 covered rows are predicted", "Gated DeltaNet", "trtllm made-up",
                           "h100_sxm meta-llama/Llama-3.1-8B-Instruct"})
    CHECK_THAT(outcome.output, ContainsSubstring(part));
  CHECK(run_tessera(command + " --jobs 1").output == outcome.output);
  std::ifstream rows(m.at("out") / "e2e_serving.csv");
  std::string header, first, second;
  std::getline(rows, header);
  std::getline(rows, first);
  std::getline(rows, second);
  CHECK_THAT(header, ContainsSubstring("predicted_ttft_ms,lower_ttft_ms,upper_ttft_ms,"
                                       "predicted_tpot_ms,lower_tpot_ms,upper_tpot_ms"));
  CHECK(second.ends_with(",,,,,,"));
  CHECK_FALSE(first.ends_with(","));
}

TEST_CASE("validate training sets published runs beside predictions", "[validate]") {
  const Measurements m;
  const std::string command = "validate training --id c0001 --fidelity analytical";
  const Outcome outcome = run_tessera(command + " --out " + (m.at("out")).string());
  CHECK(outcome.exit_code == 0);
  for (const char* part : {"Every row, worst first", "c0001", "h800_sxm", "Not modelled\nnone"})
    CHECK_THAT(outcome.output, ContainsSubstring(part));
  CHECK(run_tessera(command + " --jobs 1").output == outcome.output);
  std::ifstream rows(m.at("out") / "training_results.csv");
  std::string header;
  std::getline(rows, header);
  CHECK_THAT(header, ContainsSubstring("predicted_tokens_per_s_per_gpu,lower,upper,error"));
  CHECK(fs::exists(m.at("out") / "report.html"));
}

TEST_CASE("validate refuses options of the other table", "[validate]") {
  const Outcome training = run_tessera("validate training --half test");
  CHECK(training.exit_code == 2);
  CHECK_THAT(training.errors, ContainsSubstring("--half does not go with training"));
  const Outcome kernels = run_tessera("validate kernels --id c0001");
  CHECK(kernels.exit_code == 2);
  CHECK_THAT(kernels.errors, ContainsSubstring("--id does not go with kernels"));
  CHECK(run_tessera("validate training --fidelity both").exit_code == 2);
  CHECK_THAT(run_tessera("validate serving --id c0001").errors,
             ContainsSubstring("--id does not go with serving"));
}

}  // namespace tessera::end_to_end
