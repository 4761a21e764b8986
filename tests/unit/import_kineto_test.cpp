#include "calibrate/import_kineto.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <sstream>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

const ImportRules& rules() {
  static const ImportRules kRules = ImportRules::load();
  return kRules;
}

Import read(const std::string& text) {
  std::istringstream stream(text);
  return import_kineto(stream, "trace.json", rules());
}

std::string mistake(const std::string& text) {
  try {
    (void)read(text);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

// Events as the profiler writes them; times and extents are made up.
std::string operation(int external, double begin, const std::string& name, const std::string& dims,
                      const std::string& types, const std::string& concretes) {
  return fmt::format(
      R"({{"ph": "X", "cat": "cpu_op", "name": "{}", "pid": 7, "tid": 7, "ts": {}, "dur": 50.5,
"args": {{"External id": {}, "Record function id": 0, "Concrete Inputs": {}, "Input type": {},
"Input Strides": [[1, 2], [], [3, 4]], "Input Dims": {}, "Ev Idx": 3}}}},
)",
      name, begin, external, concretes, types, dims);
}

std::string launch(int external, int correlation, double begin,
                   const std::string& call = "cudaLaunchKernelExC") {
  return fmt::format(
      R"({{"ph": "X", "cat": "cuda_runtime", "name": "{}", "pid": 7, "tid": 7, "ts": {}, "dur": 4,
"args": {{"External id": {}, "cbid": 430, "correlation": {}}}}},
{{"ph": "s", "id": {}, "pid": 7, "tid": 7, "ts": {}, "cat": "ac2g", "name": "ac2g"}},
)",
      call, begin, external, correlation, correlation, begin);
}

std::string kernel(int external, int correlation, const std::string& name, double duration,
                   const std::string& more = "") {
  return fmt::format(
      R"({{"ph": "X", "cat": "kernel", "name": "{}", "pid": 0, "tid": 7, "ts": 5759666805111.928,
"dur": {}, "args": {{"External id": {}, "queued": 0, "device": 0, "context": 1, "stream": 7,
"correlation": {}, "registers per thread": 168, "grid": [132, 1, 1], "block": [384, 1, 1]{}}}}},
)",
      name, duration, external, correlation, more);
}

std::string trace(const std::string& events) {
  return R"({"schemaVersion": 1, "deviceProperties": [
{"id": 0, "name": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 84929347584, "maxThreadsPerBlock": 1024}],
"record_shapes": 1, "distributedInfo": {"backend": "nccl", "rank": 0, "world_size": 8,
"pg_config": [{"ranks": [0, 1]}], "nccl_version": "2.27.5"},
"traceEvents": [
{"ph": "M", "name": "process_name", "pid": 7, "tid": 0, "args": {"name": "python"}},
)" + events +
         R"({"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "ts": 9, "dur": 3, "args": {}}
], "traceName": "t.json"})";
}

const std::string kBf16 = R"(["c10::BFloat16", "c10::BFloat16", "", "", "", "", "", "", "Scalar"])";
const std::string kNvjet = "nvjet_hsh_128x256_64x4_2x1_v_bz_TNN";

std::string mm(int external, double begin) {
  return operation(external, begin, "aten::mm", "[[4096, 7168], [7168, 2112]]", kBf16,
                   R"(["", ""])");
}

TEST_CASE("a kernel takes the shape of the operator that launched it", "[import]") {
  const Import import =
      read(trace(mm(11, 100) + launch(11, 501, 120) + mm(12, 300) + launch(12, 502, 310) +
                 mm(13, 400) + launch(13, 503, 410) + kernel(11, 501, kNvjet, 200) +
                 kernel(12, 502, kNvjet, 220) + kernel(13, 503, kNvjet, 300)));
  REQUIRE(import.rows.size() == 1);
  CHECK(to_csv(import) ==
        "gpu,framework,version,op,dtype,kernel,M,N,K,latency_us,split,calls,min_us,max_us,kernels,"
        "operator\n"
        "h100_sxm,pytorch,unknown,gemm,bfloat16," +
            kNvjet + ",4096,2112,7168,220.000,calib,3,200.000,300.000,1,aten::mm\n");
  CHECK(import.rows[0].file == "gemm");
  CHECK(import.skipped.begin()->second == 1);  // the copy
}

TEST_CASE("kernels of one call are one sample, named for the longest", "[import]") {
  const Import import =
      read(trace(mm(11, 100) + launch(11, 501, 120) + launch(11, 502, 125) +
                 kernel(11, 501, "sm90_xmma_gemm_bf16", 30) +
                 kernel(11, 502, "void cublasLt::splitKreduce_kernel<32>()", 4.5)));
  REQUIRE(import.rows.size() == 1);
  CHECK(import.rows[0].latency_us == Approx(34.5));
  CHECK(import.rows[0].kernel == "sm90_xmma_gemm_bf16");
  CHECK(import.rows[0].more[3] == std::pair<std::string, std::string>{"kernels", "2"});
}

TEST_CASE("no shape is taken from an operator that did not launch the kernel", "[import]") {
  const auto why = [](const std::string& events) {
    const Import import = read(trace(events));
    REQUIRE(import.rows.size() == 1);
    CHECK(import.rows[0].file.empty());
    CHECK(import.rows[0].shape == Fields{{"M", "unknown"}, {"N", "unknown"}, {"K", "unknown"}});
    return import.rows[0].why_unknown;
  };
  const std::string run = kernel(11, 501, kNvjet, 200);
  CHECK_THAT(why(mm(11, 100) + launch(11, 501, 120, "cudaGraphLaunch") + run),
             ContainsSubstring("CUDA graph"));
  CHECK_THAT(why(mm(11, 100) + launch(11, 501, 160) + run),
             ContainsSubstring("operator was not running"));
  CHECK_THAT(why(mm(11, 100) + run), ContainsSubstring("launch is not in the trace"));
  CHECK_THAT(why(mm(12, 100) + launch(11, 501, 120) + run),
             ContainsSubstring("no recorded operator"));
  CHECK(why(operation(11, 100, "aten::convolution", "[[1, 3, 8, 8]]", kBf16, "[]") +
            launch(11, 501, 120) + run) ==
        "kernels of aten::convolution, whose inputs give no shape");
  CHECK_THAT(why(operation(11, 100, "aten::mm", "[]", "[]", "[]") + launch(11, 501, 120) + run),
             ContainsSubstring("operands that are no matrices"));
}

/// The row of one kernel that one operator launched.
ImportedRow row_of(const std::string& name, const std::string& dims, const std::string& types,
                   const std::string& concretes) {
  const Import import = read(trace(operation(11, 100, name, dims, types, concretes) +
                                   launch(11, 501, 120) + kernel(11, 501, "k", 10)));
  REQUIRE(import.rows.size() == 1);
  return import.rows[0];
}

TEST_CASE("products: biases, leading extents, batches, scales", "[import]") {
  const std::string fp8 =
      R"(["c10::Float8_e4m3fn", "c10::Float8_e4m3fn", "float", "float", "", "", "Scalar"])";
  CHECK(row_of("aten::addmm", "[[64], [8, 32], [32, 64]]", R"(["float", "c10::Half", "c10::Half"])",
               "[]")
            .dtype == "float16");
  const ImportedRow linear = row_of("aten::linear", "[[2, 8, 32], [64, 32], [64]]", kBf16, "[]");
  CHECK(linear.shape == Fields{{"M", "16"}, {"N", "64"}, {"K", "32"}});
  const ImportedRow batch = row_of("aten::bmm", "[[16, 8, 32], [16, 32, 64]]", kBf16, "[]");
  CHECK(batch.op == "bmm");
  CHECK(batch.file.empty());
  CHECK(batch.shape[0] == std::pair<std::string, std::string>{"batch", "16"});
  const auto scaled = [&](const std::string& scales) {
    return row_of("aten::_scaled_mm", "[[512, 256], [256, 1024], " + scales + "]", fp8, "[]").dtype;
  };
  CHECK(scaled("[], []") == "fp8");
  CHECK(scaled("[512, 1], [1, 1024]") == "fp8_token");
  CHECK(scaled("[512, 2], [2, 8]") == "fp8_block");
  CHECK(scaled("[512, 16], [16, 1024]") == "unknown");
  CHECK(row_of("aten::mm", "[[8, 32], [31, 64]]", kBf16, "[]").why_unknown ==
        "operands that do not fit each other");
}

TEST_CASE("attention: prefill, decode, encoders; packed lengths stay unknown", "[import]") {
  const auto attention = [](const std::string& dims, const std::string& causal,
                            const std::string& window = "") {
    return row_of("aten::_flash_attention_forward", dims, kBf16,
                  R"(["", "", "", "", "", "512", "512", "0.", ")" + causal +
                      R"(", "False", "", ")" + window + R"(", ""])");
  };
  const std::string prefill = "[[2, 512, 32, 128], [2, 512, 8, 128], [2, 512, 8, 128], [], []]";
  const ImportedRow context = attention(prefill, "True");
  CHECK(context.file == "attention_context");
  CHECK(context.shape == Fields{{"batch", "2"},
                                {"isl", "512"},
                                {"num_heads", "32"},
                                {"num_kv_heads", "8"},
                                {"head_dim", "128"},
                                {"win", "0"},
                                {"kv_dtype", "bfloat16"}});
  const ImportedRow decode =
      attention("[[2, 1, 32, 128], [2, 900, 8, 128], [2, 900, 8, 128], [], []]", "False");
  CHECK(decode.op == "attn_gen");
  CHECK(decode.shape[1] == std::pair<std::string, std::string>{"kv_len", "900"});
  CHECK(attention("[[2, 512, 8, 64], [2, 512, 8, 64], [2, 512, 8, 64], [], []]", "False").file ==
        "encoder_attention");
  for (const ImportedRow& row :
       {attention(prefill, ""), attention(prefill, "True", "127"),
        attention("[[2, 512, 32, 128], [2, 512, 8, 128], [2, 512, 8, 128], [3], [3]]", "True"),
        attention("[[1024, 32, 128], [1024, 8, 128], [1024, 8, 128], [3], [3]]", "True"),
        attention("[[2, 64, 32, 128], [2, 512, 8, 128], [2, 512, 8, 128], [], []]", "True")}) {
    CHECK(row.file.empty());
    CHECK_FALSE(row.why_unknown.empty());
    CHECK(row.shape[0].second == "unknown");
  }
}

TEST_CASE("casts and fused experts say what they can", "[import]") {
  const ImportedRow cast = row_of("aten::copy_", "[[4, 16, 64], [4, 16, 64], []]",
                                  R"(["c10::BFloat16", "float", "Scalar"])", "[]");
  CHECK(cast.family == KernelFamily::cast);
  CHECK(cast.shape == Fields{{"M", "64"}, {"K", "64"}});
  CHECK(row_of("aten::copy_", "[[64], [64]]", kBf16, "[]").family == KernelFamily::other);
  CHECK(row_of("_C::static_scaled_fp8_quant", "[[64, 32], [64, 32], [1]]",
               R"(["c10::Float8_e4m3fn", "c10::BFloat16", "float"])", "[]")
            .file == "quantize");
  const ImportedRow moe =
      row_of("vllm::inplace_fused_experts",
             "[[128, 7168], [32, 4096, 7168], [32, 7168, 2048], [128, 8], [128, 8]]", kBf16, "[]");
  CHECK(moe.family == KernelFamily::moe);
  CHECK(moe.shape[1] == std::pair<std::string, std::string>{"hidden", "7168"});
  CHECK(moe.shape[3] == std::pair<std::string, std::string>{"topk", "8"});
  CHECK(moe.shape[0].second == "unknown");
  CHECK_FALSE(moe.why_unknown.empty());
}

TEST_CASE("NCCL's kernels carry their sizes", "[import]") {
  const auto collective = [](const std::string& name, const std::string& splits) {
    return read(trace(kernel(11, 501, "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgs)", 90,
                             R"(, "Collective name": ")" + name +
                                 R"(", "In msg nelems": 1024, "Out msg nelems": 8192,
"Group size": 8, "dtype": "BFloat16", "In split size": )" +
                                 splits + R"(, "Process Group Ranks": [0, 1, 2])")))
        .rows.at(0);
  };
  const ImportedRow gather = collective("_allgather_base", R"("[]")");
  CHECK(gather.file == "comm_nccl");
  CHECK(gather.version == "2.27.5");
  CHECK(gather.dtype == "bfloat16");
  CHECK(gather.shape == Fields{{"collective", "all_gather"}, {"ranks", "8"}, {"bytes", "16384"}});
  CHECK(collective("all_to_allv", "[1000, 24]").why_unknown == "collectives that split unevenly");
  CHECK(collective("all_to_allv", R"("[1000, 24]")").file.empty());
  CHECK(collective("allreduce_coalesced", "[]").file.empty());
  const Import old = read(trace(kernel(11, 501, "ncclKernel_AllReduce_RING_LL_Sum_float", 90)));
  CHECK_THAT(old.rows.at(0).why_unknown, ContainsSubstring("since PyTorch 2.2"));
}

TEST_CASE("a bare list of events is a trace; rows of one file can be kept alone", "[import]") {
  Import import = read("[" + mm(11, 100) + launch(11, 501, 120) + kernel(11, 501, kNvjet, 200) +
                       kernel(11, 777, "vectorized_elementwise_kernel", 5) + "{}]");
  REQUIRE(import.rows.size() == 2);
  CHECK(import.rows[0].gpu == "unknown");
  keep_only(import, "gemm");
  CHECK(import.rows.size() == 1);
  CHECK(import.skipped.size() == 1);
}

TEST_CASE("malformed and truncated traces are reported at line, column and byte", "[import]") {
  const std::string whole = trace(mm(11, 100) + launch(11, 501, 120) + kernel(11, 501, kNvjet, 2));
  CHECK(mistake("{}") ==
        "trace.json: error: found no list of events; expected a trace of PyTorch's profiler "
        "(\"traceEvents\": [...])");
  CHECK_THAT(mistake("{\"traceEvents\":\n [{]}"),
             ContainsSubstring("trace.json:2:4: error: byte 20: syntax error"));
  CHECK_THAT(mistake(whole.substr(0, whole.size() / 2)), ContainsSubstring("error: byte "));
  for (std::size_t size = 0; size < whole.size(); size += 97)
    CHECK_FALSE(mistake(whole.substr(0, size)).empty());
  CHECK_FALSE(mistake(std::string(100'000, '[')).empty());
  CHECK_FALSE(mistake("{\"traceEvents\": [{\"name\": \"\xff\"}]}").empty());
}

/// A trace of any size that is never in memory: one block of events again and again.
class EndlessTrace : public std::streambuf {
 public:
  EndlessTrace(std::string head, std::size_t bytes) : text_(std::move(head)), bytes_(bytes) {
    setg(text_.data(), text_.data(), text_.data() + text_.size());
  }

 private:
  int_type underflow() override {
    if (given_ >= bytes_) return finish();
    text_.clear();
    for (int i = 0; i < 200; ++i, ++call_)
      text_ += mm(call_, 100.0 * call_) + launch(call_, call_, 100.0 * call_ + 20) +
               kernel(call_, call_, kNvjet, 100 + call_ % 7);
    given_ += text_.size();
    setg(text_.data(), text_.data(), text_.data() + text_.size());
    return traits_type::to_int_type(text_.front());
  }
  int_type finish() {
    if (finished_) return traits_type::eof();
    finished_ = true;
    text_ = "{}]}";
    setg(text_.data(), text_.data(), text_.data() + text_.size());
    return traits_type::to_int_type(text_.front());
  }

  std::string text_;
  std::size_t bytes_, given_ = 0;
  int call_ = 1;
  bool finished_ = false;
};

TEST_CASE("a trace of 200 MB needs a fraction of its size", "[import][slow]") {
  constexpr std::size_t kTrace = 200'000'000;
  constexpr long kAllowed = 64 * 1024;  // KiB
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const long before = peak();
  EndlessTrace endless{"{\"traceEvents\": [", kTrace};
  std::istream stream(&endless);
  const Import import = import_kineto(stream, "endless.json", rules());
  REQUIRE(import.rows.size() == 1);
  CHECK(import.rows[0].calls > 150'000);
  CHECK(peak() - before < kAllowed);
}

}  // namespace
}  // namespace tessera::calibrate
