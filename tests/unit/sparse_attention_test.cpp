#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <map>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/index_scores.hpp"
#include "models/kernels/mla_decode.hpp"

namespace tessera {
namespace {

using core::DataType;
using gpu::Fidelity;
using kernels::IndexPart;
using kernels::IndexSchedule;
using workload::AbsorbedAttention;
using workload::IndexScores;
using workload::SelectTopK;

const kernels::ImplementationLibrary& library() {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return kLibrary;
}

gpu::KernelResult run(const workload::Operator& op, Fidelity fidelity,
                      const std::string& implementation = {},
                      const std::string& device = "h100_sxm") {
  gpu::Gpu on{device::load_device(device), {}, library(), fidelity};
  return on.run(op, {}, implementation);
}

double time_us(const workload::Operator& op, Fidelity fidelity,
               const std::string& implementation = {}, const std::string& device = "h100_sxm") {
  return core::to_microseconds(run(op, fidelity, implementation, device).time);
}

}  // namespace

TEST_CASE("pairs of the indexer, counted by hand", "[sparse]") {
  // Two queries: the first sees 99 keys, the second 100.
  CHECK(workload::index_pairs({.q_length = 2, .kv_length = 100}) == 199);
  CHECK(workload::flops(IndexScores{.q_length = 2, .kv_length = 100, .heads = 3}).value() ==
        2.0 * 3 * 128 * 199);
  // Keys of four tokens: queries with 8, 9, 10 tokens before them see two, with 12 three.
  CHECK(workload::index_pairs({.q_length = 3, .kv_length = 10, .compression = 4}) == 6);
  CHECK(workload::index_pairs({.batch = 2, .q_length = 4, .kv_length = 12, .compression = 4}) ==
        2 * (2 + 2 + 2 + 3));
  for (const std::int64_t compression : {1, 4, 128}) {
    const IndexScores scores{.q_length = 300, .kv_length = 1000, .compression = compression};
    double sum = 0;
    for (std::int64_t query = 0; query < 300; ++query)
      sum += static_cast<double>(workload::visible_keys(scores, query));
    CHECK(workload::index_pairs(scores) == sum);
  }
  CHECK(kernels::index_key_bytes({}) == 132);  // 128 of FP8, one FP32 scale
}

TEST_CASE("every block of keys is scored once for every block of queries", "[sparse]") {
  const auto* name = GENERATE("deepgemm_index_hopper", "deepgemm_paged_index_hopper");
  for (const std::int64_t batch : {1, 3})
    for (const std::int64_t queries : {1, 7, 500})
      for (const std::int64_t compression : {1, 4}) {
        const IndexScores scores{
            .batch = batch, .q_length = queries, .kv_length = 3000, .compression = compression};
        const IndexSchedule schedule = kernels::index_schedule(scores, *library().find(name), 132);
        std::map<std::int64_t, std::int64_t> next;  // block that a block of queries lacks
        for (const auto& item : schedule.items)
          for (const IndexPart& part : item) {
            CHECK(part.first == next[part.query_block]);
            CHECK(part.last > part.first);
            next[part.query_block] = part.last;
          }
        const std::int64_t own = schedule.queries_per_block;
        CHECK(static_cast<std::int64_t>(next.size()) == (batch * queries + own - 1) / own);
      }
}

TEST_CASE("the paged indexer deals out equal ranges", "[sparse]") {
  const IndexSchedule schedule = kernels::index_schedule(
      {.q_length = 100, .kv_length = 40000}, *library().find("deepgemm_paged_index_hopper"), 132);
  CHECK(schedule.items.size() == 132);
  CHECK(static_cast<double>(schedule.longest) < schedule.blocks / 132 + 1);
}

TEST_CASE("queries of short sequences scan each other's keys where they share a block",
          "[sparse]") {
  const kernels::Implementation& ragged = *library().find("deepgemm_index_hopper");
  // Two queries of 64 heads fill 128 rows: of one sequence 8 blocks of 256 keys, of two twice as
  // many.
  CHECK(kernels::index_schedule({.q_length = 2, .kv_length = 2048}, ragged, 132).blocks == 8);
  CHECK(kernels::index_schedule({.batch = 2, .kv_length = 2048}, ragged, 132).blocks == 16);
}

TEST_CASE("the indexer takes at least its products and its logits", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  const IndexScores scores{.q_length = 4096, .kv_length = 32768};
  const gpu::KernelResult result = run(scores, fidelity);
  const double time = core::to_microseconds(result.time);
  CHECK(time > result.flops / 2141e12 * 1e6);                       // FP8 at 1.98 GHz
  CHECK(time > workload::index_pairs(scores) * 4 / 3.35e12 * 1e6);  // logits to HBM
  CHECK(time < 4 * result.flops / 2141e12 * 1e6);
  CHECK(result.hbm_bytes > 0.7 * workload::index_pairs(scores) * 4);
}

TEST_CASE("sparse kernels take longer for more keys, queries and rows", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  double before = 0;
  for (const std::int64_t kv : {4096, 8192, 65536, 262144}) {
    const double time = time_us(IndexScores{.q_length = 256, .kv_length = kv}, fidelity);
    CHECK(time > before);
    before = time;
  }
  before = 0;
  for (const std::int64_t columns : {1024, 4096, 16384, 131072}) {
    const double time = time_us(SelectTopK{.rows = 512, .columns = columns}, fidelity);
    CHECK(time > before);
    before = time;
  }
  before = 0;
  for (const std::int64_t selected : {64, 512, 2048, 8192}) {
    const double time = time_us(
        AbsorbedAttention{.batch = 264, .kv_length = 8192, .heads = 64, .selected = selected},
        fidelity);
    CHECK(time > before);
    before = time;
  }
}

TEST_CASE("to select all tokens costs what dense attention costs", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  for (const std::int64_t batch : {1, 200}) {
    const AbsorbedAttention dense{.batch = batch, .kv_length = 2048, .heads = 64};
    AbsorbedAttention sparse = dense;
    sparse.selected = 4096;
    CHECK(workload::flops(sparse).value() == workload::flops(dense).value());
    CHECK(time_us(sparse, fidelity) == Catch::Approx(time_us(dense, fidelity)).epsilon(0.02));
  }
}

TEST_CASE("FlashMLA multiplies all places of a list, filled or not", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  AbsorbedAttention few{.batch = 16, .kv_length = 64, .heads = 64, .selected = 2048};
  AbsorbedAttention many = few;
  many.kv_length = 2048;
  CHECK(time_us(few, fidelity, "flashmla_sparse_hopper") >
        0.7 * time_us(many, fidelity, "flashmla_sparse_hopper"));
  CHECK(time_us(few, fidelity) < 0.5 * time_us(many, fidelity));  // dense kernels stop at the end
}

TEST_CASE("a gathered cache moves its selected tokens", "[sparse]") {
  const AbsorbedAttention bf16{.batch = 256, .kv_length = 65536, .heads = 64, .selected = 2048};
  AbsorbedAttention fp8 = bf16;
  fp8.cache_type = DataType::fp8;
  const auto bytes = [](const AbsorbedAttention& op, const char* implementation) {
    return run(op, Fidelity::analytical, implementation).hbm_bytes;
  };
  const double tokens = 256.0 * 2048;
  const double queries = 256.0 * 64 * (576 + 512) * 2;
  CHECK(bytes(bf16, "flashmla_sparse_hopper") ==
        Catch::Approx(tokens * 1152 + queries).epsilon(0.05));
  CHECK(bytes(fp8, "flashmla_sparse_fp8_hopper") ==
        Catch::Approx(tokens * 656 + queries).epsilon(0.1));
}

TEST_CASE("queries that choose from one pool larger than L2 read most tokens anew", "[sparse]") {
  // 512 queries of 2048 tokens out of 64 Ki: 1.2 GB wanted, 75 MB held.
  const AbsorbedAttention op{.q_length = 512, .kv_length = 65536, .heads = 64, .selected = 2048};
  const double wanted = 512.0 * 2048 * 1152;
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  const double read = run(op, fidelity, "flashmla_sparse_hopper").hbm_bytes;
  CHECK(read < 1.1 * wanted);
  CHECK(read > 65536.0 * 1152);
}

TEST_CASE("the selection reads a row twice, and short rows not at all", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  // 132 rows of 512 KB under way outgrow L2: both passes come from HBM.
  const double row = 131072.0 * 4;
  CHECK(run(SelectTopK{.rows = 1056, .columns = 131072}, fidelity).hbm_bytes ==
        Catch::Approx(2 * 1056 * row).epsilon(0.2));
  // 132 rows of 32 KB fit: the second pass finds them in L2.
  CHECK(run(SelectTopK{.rows = 1056, .columns = 8192}, fidelity).hbm_bytes < 1.3 * 1056 * 8192 * 4);
  CHECK(run(SelectTopK{.rows = 132, .columns = 2048}, fidelity).hbm_bytes < 132 * 2048 * 4);
  CHECK(time_us(SelectTopK{.rows = 132, .columns = 2048}, fidelity) <
        time_us(SelectTopK{.rows = 132, .columns = 2049}, fidelity));
}

TEST_CASE("logits that tie are refined in full", "[sparse]") {
  const auto fidelity = GENERATE(Fidelity::cycle, Fidelity::analytical);
  const double apart = time_us(SelectTopK{.rows = 132, .columns = 16384}, fidelity);
  const double equal = time_us(SelectTopK{.rows = 132, .columns = 16384, .contested = 1}, fidelity);
  // Four rounds of 4096 candidates on one counter, 0.7 cycles each at 1.98 GHz.
  CHECK(equal - apart == Catch::Approx(4 * 4096 * 0.7 / 1980).epsilon(0.1));
}

}  // namespace tessera
