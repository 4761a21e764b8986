/// Absorbed multi-head latent attention of one token a sequence in BF16, by a split-KV kernel of
/// the probe's own: one known kernel on every GPU.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/attention_operands.cuh"
#include "calibrate/probes/attention_reference.hpp"
#include "calibrate/probes/mla_decode_kernel.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

struct Operands {
  Operands(const MlaDecodeShape& shape, const MlaSplits& splits, const AttentionSeeds& seeds)
      : q(attention_operand(seeds.q, shape.batch * shape.heads * kMlaKey, kQueryFactor)),
        cache(attention_operand(seeds.k, shape.batch * shape.kv_length * kMlaKey, 1)),
        parts(shape.batch * splits.count * shape.heads * kMlaValue),
        sums(shape.batch * splits.count * shape.heads),
        out(shape.batch * shape.heads * kMlaValue) {
    out.poison();
  }
  DeviceBuffer<std::uint16_t> q, cache;
  DeviceBuffer<float> parts, sums;
  DeviceBuffer<std::uint16_t> out;
};

std::int64_t set_bytes(const MlaDecodeShape& shape, const MlaSplits& splits) {
  return 2 * shape.batch * (shape.heads * (kMlaKey + kMlaValue) + shape.kv_length * kMlaKey) +
         4 * shape.batch * splits.count * shape.heads * (kMlaValue + 1);
}

void enqueue(const MlaDecodeShape& shape, const MlaSplits& splits, const Operands& operands,
             cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(splits.count),
                  static_cast<unsigned>((shape.heads + kMlaHeads - 1) / kMlaHeads),
                  static_cast<unsigned>(shape.batch));
  mla_decode<<<grid, kAttentionThreads, mla_decode_shared_bytes(), stream>>>(
      {.q = operands.q.data(),
       .cache = operands.cache.data(),
       .parts = operands.parts.data(),
       .sums_log2 = operands.sums.data(),
       .heads = static_cast<int>(shape.heads),
       .kv_length = static_cast<int>(shape.kv_length),
       .split_tokens = splits.tokens,
       .scale_log2 = static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(192.0))});
  check_launch();
  mla_combine<<<dim3(static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch)),
                kAttentionThreads, 0, stream>>>(operands.parts.data(), operands.sums.data(),
                                                splits.count, static_cast<int>(shape.heads),
                                                operands.out.data());
  check_launch();
}

double error_of(const MlaDecodeShape& shape, const Operands& operands) {
  constexpr int kRows = 3;
  RelativeError error;
  for (int i = 0; i < kRows; ++i) {
    const std::int64_t head = (shape.heads - 1) * i / (kRows - 1);
    const std::int64_t batch = (shape.batch - 1) * i / (kRows - 1);
    const auto expected = mla_decode_row(shape, attention_seeds(0), batch, head);
    const std::int64_t at = (batch * shape.heads + head) * kMlaValue;
    for (std::int64_t column = 0; column < kMlaValue; column += 7)
      error.add(decode(bf16_format(), operands.out.read(at + column)),
                expected[static_cast<std::size_t>(column)]);
  }
  return error.value();
}

std::string label(const MlaDecodeShape& shape) {
  return "mla_gen batch=" + std::to_string(shape.batch) +
         " kv_len=" + std::to_string(shape.kv_length) + " heads=" + std::to_string(shape.heads);
}

void measure_shape(ProbeSession& session, MeasurementFile& file, const MlaDecodeShape& shape) {
  const MlaSplits splits =
      mla_splits(shape, session.device().multiProcessorCount, kMlaHeads, kMlaTokens);
  const int sets = session.sets(set_bytes(shape, splits));
  std::vector<Operands> operands;
  for (int set = 0; set < sets; ++set) operands.emplace_back(shape, splits, attention_seeds(set));
  check(cudaDeviceSynchronize());
  const TimedRun run =
      session.timer().time(session.options().replay, sets, [&](int set, cudaStream_t stream) {
        enqueue(shape, splits, operands[static_cast<std::size_t>(set)], stream);
      });
  session.record(file, {.op = "mla_gen",
                        .dtype = "bfloat16",
                        .kernel = "probe_mla_mma_sync",
                        .columns = {{"batch", number_text(shape.batch)},
                                    {"kv_len", number_text(shape.kv_length)},
                                    {"num_heads", number_text(shape.heads)},
                                    {"kv_dtype", "bfloat16"}},
                        .timing = run,
                        .error = error_of(shape, operands[0]),
                        .allowed_error = 1e-2});
}

void list(const SizeLimits& limits) {
  for (const MlaDecodeShape& shape : mla_decode_shapes(limits))
    std::printf("%s\n", label(shape).c_str());
}

void measure(ProbeSession& session) {
  check(cudaFuncSetAttribute(mla_decode, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             mla_decode_shared_bytes()));
  MeasurementFile file = session.open(
      {.file = "mla_generation", .shape = {"batch", "kv_len", "num_heads", "kv_dtype"}});
  for (const MlaDecodeShape& shape : mla_decode_shapes(session.limits()))
    session.attempt(label(shape), [&] { measure_shape(session, file, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_mla_decode", "Absorbed latent attention of one token a sequence", list, measure},
      count, arguments);
}
