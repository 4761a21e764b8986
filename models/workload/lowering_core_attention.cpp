#include <algorithm>

#include "models/workload/part_builder.hpp"

/// softmax(Q K^T) V of one GPU under context parallelism, with FlashAttention or without.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

namespace {

double bf16_bytes(int64_t rows, int64_t columns) {
  return static_cast<double>(rows) * static_cast<double>(columns) *
         activation_bytes(DataType::bf16);
}

}  // namespace

void PartBuilder::core_forward(Steps& list, Pass pass, const Heads& heads,
                               const std::string& suffix) {
  if (!job_.kernels.flash_attention) return unfused_core(list, pass, suffix, heads);
  const std::string name = "attention" + suffix;
  if (split_.context == 1) return whole_core(list, pass, name, heads);
  if (split_.context_kind == ContextKind::all_to_all)
    return exchanged_core(list, pass, name, heads);
  ring_core(list, pass, name, heads);
}

void PartBuilder::core_gradient(Steps& list, const Heads& heads) {
  if (recompute_.core_attention && !recompute_.full)
    core_forward(list, Pass::forward, heads, " recompute");
  if (!job_.kernels.flash_attention) return unfused_core_gradient(list, heads);
  constexpr Pass kPass = Pass::input_gradient;
  const std::string name = "attention gradient";
  if (split_.context == 1) return whole_core(list, kPass, name, heads);
  if (split_.context_kind == ContextKind::all_to_all)
    return exchanged_core(list, kPass, name, heads);
  ring_core(list, kPass, name, heads);
}

/// What the core keeps beside queries, keys and values. Its output is read by its own gradient in
/// bf16 and by the output projection's weight gradient in the recipe's type.
void PartBuilder::core_saved(const Heads& heads) {
  // One copy serves both, in E5M6 when the recipe is DeepSeek-V3's (arXiv 2412.19437, section
  // 3.3.3): 12 bits and a 1x128 scale.
  const double output_bytes =
      block() ? 1.5 + core::activation_scale_bytes(linear_) : activation_bytes(DataType::bf16);
  save("attention output", tokens_, heads.output_columns(), output_bytes,
       block() ? "e5m6" : "bf16");
  if (casts_apart()) save("attention output cast", tokens_, heads.output_columns(), linear_);
  if (recompute_.core_attention) return;
  if (job_.kernels.flash_attention)
    return save("attention log-sum-exp", tokens_, heads.queries, DataType::fp32);
  const int64_t scores = tokens_ * heads.queries;
  save("attention probabilities", scores, job_.sequence_length, DataType::bf16);
  if (!job_.kernels.dropout) return;
  save("attention probabilities dropout mask", scores, job_.sequence_length, 1.0, kMask);
  save("attention probabilities after dropout", scores, job_.sequence_length, DataType::bf16);
}

/// Causal, without a window.
Attention PartBuilder::core(Pass pass, const Heads& heads, int64_t queries, int64_t keys) const {
  return {.batch = job_.sequences,
          .q_length = queries,
          .kv_length = keys,
          .heads = heads.queries,
          .kv_heads = heads.keys,
          .qk_dim = heads.qk_dim,
          .v_dim = heads.v_dim,
          .type = p_.attention,
          .cache_type = p_.attention,
          .backward = pass == Pass::input_gradient};
}

/// Every token of the micro-batch is here.
void PartBuilder::whole_core(Steps& list, Pass pass, const std::string& name, const Heads& heads) {
  Attention whole = core(pass, heads, job_.sequence_length, job_.sequence_length);
  whole.window = heads.window;
  if (!heads.chunked || heads.window == 0) {
    kernel(list, pass, name, whole);
    return enter_module(list);
  }
  // Chunks are sequences of their own, the last one perhaps shorter.
  const int64_t rest = job_.sequence_length % heads.window;
  Attention chunk = whole;
  chunk.window = 0;
  chunk.batch = job_.sequences * (job_.sequence_length / heads.window);
  chunk.q_length = chunk.kv_length = heads.window;
  kernel(list, pass, name, chunk);
  enter_module(list);
  if (rest == 0) return;
  chunk.batch = job_.sequences;
  chunk.q_length = chunk.kv_length = rest;
  kernel(list, pass, name + " rest", chunk);
}

/// All tokens of some heads: heads of queries, keys and values go out, heads of outputs come back;
/// keys that are fewer than the ranks are repeated first.
void PartBuilder::exchanged_core(Steps& list, Pass pass, const std::string& name,
                                 const Heads& heads) {
  Heads repeated = heads;
  repeated.keys = std::max(heads.keys, split_.context);
  const double qkv = bf16_bytes(tokens_, repeated.query_columns() + repeated.key_value_columns());
  const double output = bf16_bytes(tokens_, repeated.output_columns());
  const bool gradient = pass == Pass::input_gradient;
  const auto exchange = [&](const char* what, double bytes) {
    transfer(list, pass, name + what, Kind::all_to_all, Group::context, bytes);
  };
  if (gradient)
    exchange(" output exchange", output);
  else
    exchange(" qkv exchange", qkv);
  Heads some = repeated;
  some.queries /= split_.context;
  some.keys /= split_.context;
  whole_core(list, pass, name, some);
  if (gradient)
    exchange(" qkv exchange", qkv);
  else
    exchange(" output exchange", output);
}

/// Keys and values of one rank after another. With its own a rank attends causally; of an earlier
/// rank's it needs the first half for all its queries, of a later rank's all for the second half of
/// its queries: as many pairs either way, and no mask. Shown for the rank in the middle.
///
/// Backward, keys and values travel again, and their gradients with them; the last rank that adds
/// to a block is its owner (Transformer Engine, AttnFuncWithCPAndKVP2P).
void PartBuilder::ring_core(Steps& list, Pass pass, const std::string& name, const Heads& heads) {
  const int64_t ranks = split_.context;
  const int64_t local = job_.sequence_length / ranks;
  const bool gradient = pass == Pass::input_gradient;
  const double block = bf16_bytes(tokens_, heads.key_value_columns());
  for (int64_t step = 0; step < ranks; ++step) {
    const bool keys_travel = step + 1 < ranks;
    const bool gradients_travel = gradient && step > 0;
    // The products of this step, and the sums after it, run beside what the next step reads.
    const int kernels = step == 0 ? 1 : gradient ? 3 : 2;
    if (keys_travel || gradients_travel)
      transfer(list, pass, name + " keys and values", Kind::send, Group::context,
               block * ((keys_travel ? 1 : 0) + (gradients_travel ? 1 : 0)),
               keys_travel ? kernels : 0);
    const bool earlier = step <= (ranks - 1) / 2;
    Attention part = core(pass, heads, step == 0 || earlier ? local : local / 2,
                          step == 0 || !earlier ? local : local / 2);
    part.causal = step == 0;
    kernel(list, pass, name, part);
    if (step == 0) enter_module(list);
    if (step > 0) ring_corrections(list, pass, name, heads, part);
  }
  if (!gradient)  // the first step's output by the last log-sum-exp
                  // (flash_attn_fwd_out_correction_init)
    stream(list, pass, name + " rescale", StreamKind::copy, tokens_, heads.output_columns(),
           DataType::bf16, DataType::bf16);
}

/// Forward, outputs of a later step are rescaled by their log-sum-exp and added; backward,
/// gradients of queries and of keys and values are added.
void PartBuilder::ring_corrections(Steps& list, Pass pass, const std::string& name,
                                   const Heads& heads, const Attention& step) {
  const auto sum = [&](const char* what, int64_t rows, int64_t columns) {
    stream(list, pass, name + what, StreamKind::add, step.batch * rows, columns, DataType::bf16,
           DataType::bf16);
  };
  if (pass == Pass::forward) return sum(" correction", step.q_length, heads.output_columns());
  sum(" query sum", step.q_length, heads.query_columns());
  sum(" key and value sum", step.kv_length, heads.key_value_columns());
}

/// Scores and weighted values as batched products, the softmax between them a kernel of its own.
void PartBuilder::unfused_core(Steps& list, Pass pass, const std::string& suffix,
                               const Heads& heads) {
  const int64_t length = job_.sequence_length;
  const int64_t batch = job_.sequences * heads.queries;
  kernel(list, pass, "attention scores" + suffix,
         Gemm{.m = length, .n = length, .k = heads.qk_dim, .batch = batch});
  stream(list, pass, "attention softmax" + suffix, StreamKind::softmax, batch * length, length,
         DataType::bf16, DataType::bf16);
  if (job_.kernels.dropout)
    stream(list, pass, "attention dropout" + suffix, StreamKind::dropout, batch * length, length,
           DataType::bf16, DataType::bf16);
  kernel(list, pass, "attention values" + suffix,
         Gemm{.m = length, .n = heads.v_dim, .k = length, .batch = batch});
}

void PartBuilder::unfused_core_gradient(Steps& list, const Heads& heads) {
  const int64_t length = job_.sequence_length;
  const int64_t batch = job_.sequences * heads.queries;
  const auto product = [&](const char* name, int64_t m, int64_t n, int64_t k) {
    kernel(list, Pass::input_gradient, name, Gemm{.m = m, .n = n, .k = k, .batch = batch});
  };
  product("attention probabilities gradient", length, length, heads.v_dim);
  product("attention value gradient", length, heads.v_dim, length);
  if (job_.kernels.dropout)
    stream(list, Pass::input_gradient, "attention dropout gradient", StreamKind::dropout,
           batch * length, length, DataType::bf16, DataType::bf16);
  stream(list, Pass::input_gradient, "attention softmax gradient", StreamKind::softmax_backward,
         batch * length, length, DataType::bf16, DataType::bf16);
  product("attention query gradient", length, heads.qk_dim, length);
  product("attention key gradient", length, heads.qk_dim, length);
}

}  // namespace tessera::workload
