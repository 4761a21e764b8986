#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

/// An empty folder whose files are named as commands take them.
class Folder {
 public:
  [[nodiscard]] std::string file(const std::string& name) const {
    return folder_.at(name).string();
  }
  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
    folder_.write(name, text);
    return file(name);
  }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }

 private:
  testing::TemporaryFolder folder_;
};

const std::string kRun =
    "# Collective test starting: all_reduce_perf\n# Using devices\n"
    "#  Rank  0 Group  0 Pid 1 on n device  0 [0000:1b:00] NVIDIA H100 80GB HBM3\n"
    "#  Rank  1 Group  0 Pid 1 on n device  1 [0000:2b:00] NVIDIA H100 80GB HBM3\n"
    "#       size    count   type  redop  root   time  algbw  busbw #wrong   time  algbw  busbw "
    "#wrong\n"
    "     1048576   524288   half    sum    -1  21.50  48.77  48.77      0  21.25  49.34  49.34    "
    "  0\n"
    "# Avg bus bandwidth    : 49.0\n";

const std::string kConfig =
    "{\"model_type\": \"llama\", \"hidden_size\": 4096, \"num_hidden_layers\": 32, \"vocab_size\": "
    "128256,\n\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"intermediate_size\": "
    "14336, "
    "\"rope_theta\": 500000.0}\n";

TEST_CASE("a Hugging Face configuration becomes an architecture that can be shown", "[import]") {
  const Folder folder;
  const std::string config = folder.write("config.json", kConfig);
  const Outcome printed = run_tessera("import hf " + config);
  CHECK(printed.exit_code == 0);
  CHECK_THAT(printed.output, ContainsSubstring("kv_heads: 8  # HF num_key_value_heads\n") &&
                                 ContainsSubstring("#   rope_theta: a factor in a kernel"));
  const std::string out = folder.file("mine.yaml");
  const Outcome written = run_tessera("import hf " + config + " --out " + out);
  CHECK(written.exit_code == 0);
  CHECK(testing::bytes_of(out) == printed.output);
  const Outcome shown = run_tessera("show architecture " + out);
  CHECK(shown.exit_code == 0);
  CHECK_THAT(shown.output, ContainsSubstring("# parameters: 8.03 B in all"));
}

TEST_CASE("configurations that cannot be described end with their codes", "[import]") {
  const Folder folder;
  const Outcome refused =
      run_tessera("import hf " + folder.write("a.json", "{\"model_type\": \"kimi_k3\"}"));
  CHECK(refused.exit_code == 1);
  CHECK_THAT(refused.errors, ContainsSubstring("kimi_k3 is not modelled: it has delta attention"));
  const Outcome unknown =
      run_tessera("import hf " + folder.write("b.json", "{\"alpha\": 2, " + kConfig.substr(1)) +
                  " --out " + folder.file("b.yaml"));
  CHECK(unknown.exit_code == 2);
  CHECK(unknown.output.empty());
  CHECK_THAT(unknown.errors,
             ContainsSubstring("b.json:1:11: error: alpha: a field that the import of llama does "
                               "not understand; it may change what is computed"));
  CHECK_FALSE(fs::exists(folder.file("b.yaml")));
}

TEST_CASE("nccl-tests output is imported and its rows are predicted", "[import]") {
  const Folder folder;
  const std::string out = folder.file("comm_nccl.csv");
  const Outcome told =
      run_tessera("import nccl-tests " + folder.write("run.txt", kRun) + " --out " + out);
  REQUIRE(told.exit_code == 0);
  CHECK_THAT(told.output, ContainsSubstring("nccl               1         1     100.0 %"));
  CHECK_THAT(testing::bytes_of(out),
             ContainsSubstring(",all_reduce,2,1048576,21.500,calib,sum,21.25,"));
  const std::string predicted = folder.file("predicted.csv");
  REQUIRE(run_tessera("kernel --batch " + out + " --out " + predicted).exit_code == 0);
  CHECK_THAT(testing::bytes_of(predicted), ContainsSubstring("predicted_us"));
}

TEST_CASE("an import that fails ends with code 2, says where, and writes nothing", "[import]") {
  const Folder folder;
  const std::string cut = folder.write("cut.txt", kRun.substr(0, kRun.find("# Avg")));
  const std::string out = folder.file("rows.csv");
  const Outcome truncated = run_tessera("import nccl-tests " + cut + " --out " + out);
  CHECK(truncated.exit_code == 2);
  CHECK(truncated.output.empty());
  CHECK_THAT(truncated.errors, ContainsSubstring("cut.txt:5:1: error: the table that starts here"));
  const std::string packed = folder.write("t.json.gz", "\x1f\x8b\x08 x");
  const Outcome gzip = run_tessera("import nccl-tests " + packed + " --out " + out);
  CHECK(gzip.exit_code == 2);
  CHECK_THAT(gzip.errors, ContainsSubstring("found gzip, which Tessera does not unpack"));
  CHECK(run_tessera("import nccl-tests " + folder.file("none") + " --out " + out).exit_code == 2);
  CHECK(run_tessera("import nccl-tests " + cut + " --gpu h10 --out " + out).exit_code == 2);
  CHECK(folder.files() == 2);
  const std::string whole = folder.write("run.txt", kRun);
  CHECK(run_tessera("import nccl-tests " + whole + " --out " + folder.file("")).exit_code == 2);
}

const std::string kTrace = R"({"deviceProperties": [{"id": 0, "name": "NVIDIA H100 80GB HBM3"}],
"traceEvents": [
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 7, "tid": 7, "ts": 10, "dur": 50, "args":
 {"External id": 3, "Input Dims": [[4096, 4096], [4096, 4096]],
  "Input type": ["c10::BFloat16", "c10::BFloat16"], "Concrete Inputs": ["", ""]}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 7, "tid": 7, "ts": 20,
 "dur": 5, "args": {"External id": 3, "correlation": 9}},
{"ph": "X", "cat": "kernel", "name": "nvjet_hsh_128x256_64x4_TNN", "pid": 0, "tid": 7, "ts": 40,
 "dur": 190.5, "args": {"External id": 3, "correlation": 9, "device": 0}},
{"ph": "X", "cat": "kernel", "name": "vectorized_elementwise_kernel", "pid": 0, "tid": 7, "ts": 90,
 "dur": 4, "args": {"correlation": 10, "device": 0}}
]})";

TEST_CASE("a profiler trace is imported and its GEMM is predicted", "[import]") {
  const Folder folder;
  const std::string in = folder.write("trace.json", kTrace);
  const std::string out = folder.file("gemm.csv");
  const Outcome all = run_tessera("import kineto " + in + " --out " + out);
  REQUIRE(all.exit_code == 0);
  CHECK_THAT(all.output, ContainsSubstring("gemm               1         1     100.0 %") &&
                             ContainsSubstring("other              1         1       0.0 %"));
  REQUIRE(run_tessera("import kineto - --only gemm --out " + out + " <" + in).exit_code == 0);
  CHECK_THAT(testing::bytes_of(out),
             ContainsSubstring("h100_sxm,pytorch,unknown,gemm,bfloat16,nvjet_hsh_128x256"
                               "_64x4_TNN,4096,4096,4096,190.500,calib,1,"));
  const std::string predicted = folder.file("predicted.csv");
  const Outcome batch =
      run_tessera("kernel --batch " + out + " --out " + predicted + " --fidelity analytical");
  REQUIRE(batch.exit_code == 0);
  CHECK_THAT(batch.errors, !ContainsSubstring("not modelled"));
  const std::string cut = folder.write("cut.json", kTrace.substr(0, kTrace.size() / 2));
  const Outcome truncated = run_tessera("import kineto " + cut + " --out " + folder.file("no.csv"));
  CHECK(truncated.exit_code == 2);
  CHECK_THAT(truncated.errors,
             ContainsSubstring("cut.json:6:74: error: ") && ContainsSubstring("byte 403: "));
  CHECK_FALSE(fs::exists(folder.file("no.csv")));
}

const std::string kExport =
    "\"ID\",\"Process ID\",\"Kernel Name\",\"Block Size\",\"Grid Size\",\"Metric Name\",\"Metric "
    "Unit\",\"Metric Value\"\n"
    "\"0\",\"1\",\"nvjet_hsh\",\"(384, 1, 1)\",\"(132, 1, 1)\",\"sm__cycles_elapsed.max\","
    "\"cycle\",\"100,000\"\n";

TEST_CASE("predicted counters are set against an export of Nsight Compute", "[import]") {
  const Folder folder;
  const std::string in = folder.write("ncu.csv", kExport);
  const std::string kernel =
      "kernel gemm --device h100_sxm M=2048 N=2048 K=2048 dtype=bf16 --fidelity analytical ";
  const Outcome table = run_tessera(kernel + "--compare " + in);
  REQUIRE(table.exit_code == 0);
  CHECK_THAT(table.output,
             ContainsSubstring("against 1 launch of nvjet_hsh, grid (132, 1, 1)") &&
                 ContainsSubstring("predicted, but not in the export\n  dram__bytes_read.sum"));
  const Outcome json = run_tessera(kernel + "--format json --compare " + in);
  CHECK_THAT(json.output, ContainsSubstring("\"relative_difference\": "));
  CHECK(run_tessera(kernel + "--compare " + folder.file("none")).exit_code == 2);
  CHECK(run_tessera(kernel + "--compare-kernel nvjet").exit_code == 2);
  CHECK(run_tessera("import ncu " + in + " --out " + folder.file("o.csv")).exit_code == 0);
}

}  // namespace
}  // namespace tessera::end_to_end
