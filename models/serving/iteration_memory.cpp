#include "models/serving/iteration_memory.hpp"

#include <algorithm>
#include <variant>

namespace tessera::serving {
namespace {

using std::int64_t;
using workload::GroupedQueryAttention;
using workload::LatentAttention;

constexpr double kBf16 = 2;  // bytes
constexpr double kFp32 = 4;  // bytes
/// cuBLAS's workspace on Hopper and later (cublasSetWorkspace, recommended size).
constexpr double kCublasBytes = 32 * 1024 * 1024;
/// NVLink and RDMA buffers that vLLM gives DeepEP's normal kernels, each
/// (VLLM_DEEPEP_BUFFER_SIZE_MB).
constexpr double kNormalBufferBytes = 1024.0 * 1024 * 1024;
constexpr int64_t kNvlinkPeers = 8;  // DeepEP, NUM_MAX_NVL_PEERS: more ranks need RDMA
/// Logits are kept in BF16, in FP32, and as FP32 probabilities.
constexpr double kLogitBytes = kBf16 + 2 * kFp32;

double real(int64_t value) { return static_cast<double>(value); }

double activation_bytes(core::DataType type) {
  return core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type);
}

/// Tokens of an attention rank in one iteration.
struct Iteration {
  double tokens = 0;
  double sequences = 0;  ///< Whose next token is chosen.
  double expanded = 0;   ///< Tokens whose latents MLA expands to keys and values of every head.
};

/// Elements that attention keeps at its widest: inputs and outputs of the core.
double attention_elements(const workload::AttentionKind& kind, double tensor,
                          const Iteration& iteration) {
  if (const auto* g = std::get_if<GroupedQueryAttention>(&kind)) {
    const double kv = std::max(1.0, real(g->kv_heads) / tensor);
    return iteration.tokens * (real(g->heads) / tensor + kv) * real(g->qk_dim + g->v_dim);
  }
  const auto& m = std::get<LatentAttention>(kind);
  const double latents = real(m.query_rank + m.key_value_rank + m.rope_dim);
  const double heads = real(m.heads) / tensor;
  if (iteration.expanded > 0)  // queries and outputs; keys and values
    return iteration.tokens * latents +
           (iteration.tokens + iteration.expanded) * heads * real(m.qk_dim() + m.value_dim);
  // Query, the same in the latent's space, the latent's weighted sum, and that brought back.
  const int64_t absorbed = m.qk_dim() + 2 * m.key_value_rank + m.rope_dim + m.value_dim;
  return iteration.tokens * (latents + heads * real(absorbed));
}

/// Rows of the experts on one GPU: what all of them may get where every expert has its own room,
/// otherwise their share of what is sent.
double expert_rows(const MemoryJob& job, double tokens) {
  const workload::MixtureOfExperts& moe = job.architecture.moe;
  const double all = tokens * real(job.attention_ranks());
  if (job.exchange == ExchangeBuffers::deepep_low_latency)
    return all * real(moe.experts + job.redundant_experts) / real(job.expert);
  return all * real(moe.top_k) / real(job.expert);
}

double feed_forward_bytes(const MemoryJob& job, double tokens) {
  const workload::Architecture& a = job.architecture;
  double bytes = 0;
  if (a.has_dense_layers())
    bytes = tokens * real(a.dense.up_columns() + a.dense.intermediate) / real(job.tensor) * kBf16;
  if (!a.has_experts()) return bytes;
  const double split = real(job.expert_tensor);
  const double row = real(a.hidden) * (activation_bytes(job.experts) + kBf16) +
                     real(a.moe.up_columns()) / split * kBf16 +
                     real(a.moe.intermediate) / split * activation_bytes(job.experts);
  return std::max(bytes, expert_rows(job, tokens) * row);
}

double activations(const MemoryJob& job, const Iteration& iteration, bool head) {
  const workload::Architecture& a = job.architecture;
  const double tensor = real(job.tensor);
  const double residual = 2 * iteration.tokens * real(a.hidden) * kBf16;
  const double attention = attention_elements(a.attention, tensor, iteration) * kBf16;
  const double logits = head ? iteration.sequences * real(a.vocabulary) / tensor * kLogitBytes : 0;
  return residual + std::max({attention, feed_forward_bytes(job, iteration.tokens), logits});
}

/// Partial sums of attention whose sequences are cut over SMs: a part a sequence and one an SM, in
/// FP32, with the logarithm of its weight (FlashMLA's interface); and scores of an indexer.
double decode_workspace(const MemoryJob& job, const Iteration& iteration, double context) {
  const workload::AttentionKind& kind = job.architecture.attention;
  double heads = 0, width = 0, scores = 0;
  if (const auto* g = std::get_if<GroupedQueryAttention>(&kind)) {
    heads = real(g->heads);
    width = real(g->v_dim);
  } else {
    const auto& m = std::get<LatentAttention>(kind);
    heads = real(m.heads);
    width = real(m.key_value_rank);
    if (m.sparse) scores = iteration.tokens * context * kFp32;
  }
  const double parts = iteration.tokens + real(job.sms * job.tokens_per_sequence);
  return kCublasBytes + scores + parts * heads / real(job.tensor) * (width + 1) * kFp32;
}

double exchange_buffers(const MemoryJob& job, double tokens) {
  const workload::Architecture& a = job.architecture;
  const int64_t gpus = job.stage_gpus();
  if (!a.has_experts() || gpus == 1) return 0;
  if (job.exchange == ExchangeBuffers::deepep_normal)
    return gpus > kNvlinkPeers ? 2 * kNormalBufferBytes : kNormalBufferBytes;
  if (job.exchange != ExchangeBuffers::deepep_low_latency) return 0;
  const auto sent = static_cast<int64_t>(tokens + real(job.tensor) - 1) / job.tensor;
  return low_latency_buffer_bytes(sent, a.hidden, a.moe.experts + job.redundant_experts);
}

}  // namespace

double low_latency_buffer_bytes(int64_t tokens, int64_t hidden, int64_t experts) {
  // Source: DeepEP, csrc/config.hpp, LowLatencyLayout.
  constexpr int64_t kScaled = 128;      // elements under one scale
  constexpr double kControlBytes = 16;  // before a dispatched row
  constexpr double kCount = 4;          // of rows, an expert
  constexpr double kSets = 2;           // odd and even
  const double scales = real(hidden / kScaled);
  const double dispatched =
      kControlBytes + std::max(real(hidden) * kBf16, real(hidden) + scales * kFp32);
  const double combined = scales * 2 * kBf16 + real(hidden) * kBf16;
  const double send = real(tokens) * std::max(dispatched, real(experts) * combined);
  const double receive = real(experts * tokens) * std::max(dispatched, combined);
  return kSets * (send + receive + real(experts) * kCount);
}

IterationMemory iteration_memory(const MemoryJob& job, int64_t sequences, double context,
                                 bool head) {
  const double queries = real(job.tokens_per_sequence);
  const Iteration decode{.tokens = real(sequences) * queries,
                         .sequences = real(sequences) * queries};
  IterationMemory memory{.activations = activations(job, decode, head),
                         .workspace = decode_workspace(job, decode, context)};
  double tokens = decode.tokens;
  if (job.prompt_tokens > 0) {
    const auto* latent = std::get_if<LatentAttention>(&job.architecture.attention);
    const bool expands = latent != nullptr && !latent->sparse;
    const double seen = std::max(real(std::max(job.prompt_tokens, job.prompt_seen)), context);
    const Iteration prefill{
        .tokens = real(job.prompt_tokens), .sequences = 1, .expanded = expands ? seen : 0};
    memory.activations = std::max(memory.activations, activations(job, prefill, head));
    tokens = std::max(tokens, prefill.tokens);
  }
  memory.exchange_buffers = exchange_buffers(job, tokens);
  return memory;
}

}  // namespace tessera::serving
