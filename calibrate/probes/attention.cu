/// Prefill and bidirectional attention in BF16, by a FlashAttention-2 of the probe's own: one known
/// kernel on every GPU.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/attention_kernel.cuh"
#include "calibrate/probes/attention_operands.cuh"
#include "calibrate/probes/attention_reference.hpp"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

struct Operands {
  Operands(const AttentionShape& shape, const AttentionSeeds& seeds)
      : q(attention_operand(seeds.q, shape.batch * shape.q_length * shape.heads * shape.head_dim,
                            kQueryFactor)),
        k(attention_operand(seeds.k,
                            shape.batch * shape.kv_length * shape.kv_heads * shape.head_dim, 1)),
        v(attention_operand(seeds.v,
                            shape.batch * shape.kv_length * shape.kv_heads * shape.head_dim, 1)),
        out(q.size()) {
    out.poison();
  }
  DeviceBuffer<std::uint16_t> q, k, v, out;
};

AttentionArguments arguments_of(const AttentionShape& shape, const Operands& operands) {
  return {.q = operands.q.data(),
          .k = operands.k.data(),
          .v = operands.v.data(),
          .out = operands.out.data(),
          .heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .q_length = static_cast<int>(shape.q_length),
          .kv_length = static_cast<int>(shape.kv_length),
          .window = static_cast<int>(shape.window),
          .causal = shape.causal,
          .scale_log2 = static_cast<float>(std::log2(std::exp(1.0)) /
                                           std::sqrt(static_cast<double>(shape.head_dim)))};
}

template <int dim>
TimedRun timed(ProbeSession& session, const AttentionShape& shape,
               const std::vector<Operands>& operands) {
  constexpr int kShared = attention_shared_bytes(dim);
  check(cudaFuncSetAttribute(attend<dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  const dim3 grid(static_cast<unsigned>((shape.q_length + kAttentionRows - 1) / kAttentionRows),
                  static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch));
  return session.timer().time(session.options().replay, static_cast<int>(operands.size()),
                              [&](int set, cudaStream_t stream) {
                                attend<dim><<<grid, kAttentionThreads, kShared, stream>>>(
                                    arguments_of(shape, operands[static_cast<std::size_t>(set)]));
                                check_launch();
                              });
}

double error_of(const AttentionShape& shape, const Operands& operands) {
  constexpr int kRows = 6;
  RelativeError error;
  for (const Place& place : sampled_places(shape.q_length, shape.heads, kRows, 11)) {
    const std::int64_t batch = place.row % shape.batch;
    const auto expected = attention_row(shape, attention_seeds(0), batch, place.column, place.row);
    const std::int64_t at =
        ((batch * shape.q_length + place.row) * shape.heads + place.column) * shape.head_dim;
    for (std::int64_t i = 0; i < shape.head_dim; i += 7)
      error.add(decode(bf16_format(), operands.out.read(at + i)),
                expected[static_cast<std::size_t>(i)]);
  }
  return error.value();
}

std::string label(const AttentionShape& shape) {
  return std::string{shape.causal ? "attn_ctx" : "attn_enc"} +
         " batch=" + std::to_string(shape.batch) + " isl=" + std::to_string(shape.q_length) +
         " heads=" + std::to_string(shape.heads) + " kv_heads=" + std::to_string(shape.kv_heads) +
         " head_dim=" + std::to_string(shape.head_dim) + " win=" + std::to_string(shape.window);
}

void measure_shape(ProbeSession& session, MeasurementFile& context, MeasurementFile& encoder,
                   const AttentionShape& shape) {
  const int sets = session.sets(attention_bytes(shape));
  std::vector<Operands> operands;
  for (int set = 0; set < sets; ++set) operands.emplace_back(shape, attention_seeds(set));
  check(cudaDeviceSynchronize());
  const TimedRun run = shape.head_dim == 64 ? timed<64>(session, shape, operands)
                                            : timed<128>(session, shape, operands);
  Measurement row{.op = shape.causal ? "attn_ctx" : "attn_enc",
                  .dtype = "bfloat16",
                  .kernel = "probe_flash_mma_sync",
                  .columns = {{"batch", number_text(shape.batch)},
                              {"isl", number_text(shape.q_length)},
                              {"num_heads", number_text(shape.heads)},
                              {"head_dim", number_text(shape.head_dim)}},
                  .timing = run,
                  .error = error_of(shape, operands[0]),
                  .allowed_error = 1e-2};
  if (!shape.causal) return session.record(encoder, row);
  row.columns["num_kv_heads"] = number_text(shape.kv_heads);
  row.columns["win"] = number_text(shape.window);
  row.columns["kv_dtype"] = "bfloat16";
  session.record(context, row);
}

void list(const SizeLimits& limits) {
  for (const AttentionShape& shape : attention_shapes(limits))
    std::printf("%s\n", label(shape).c_str());
}

void measure(ProbeSession& session) {
  MeasurementFile context = session.open(
      {.file = "attention_context",
       .shape = {"batch", "isl", "num_heads", "num_kv_heads", "head_dim", "win", "kv_dtype"}});
  MeasurementFile encoder = session.open(
      {.file = "encoder_attention", .shape = {"batch", "isl", "num_heads", "head_dim"}});
  for (const AttentionShape& shape : attention_shapes(session.limits()))
    session.attempt(label(shape), [&] { measure_shape(session, context, encoder, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_attention", "Prefill and bidirectional attention in BF16", list, measure}, count,
      arguments);
}
