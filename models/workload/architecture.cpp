#include "models/workload/architecture.hpp"

namespace tessera::workload {
namespace {

double product(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) * static_cast<double>(b);
}

/// Gate, up and down projections of one gated MLP.
double gated_mlp(const Architecture& a, std::int64_t intermediate) {
  return 3 * product(a.hidden, intermediate);
}

}  // namespace

ParameterCount& ParameterCount::operator+=(const ParameterCount& other) {
  low_precision += other.low_precision;
  routed += other.routed;
  high_precision += other.high_precision;
  return *this;
}

ParameterCount attention_parameters(const Architecture& a) {
  const LatentAttention& m = a.attention;
  const std::int64_t down = m.query_rank + m.key_value_rank + m.rope_dim;
  return {.low_precision = product(a.hidden, down) + product(m.query_rank, m.heads * m.qk_dim()) +
                           product(m.key_value_rank, m.heads * (m.nope_dim + m.value_dim)) +
                           product(m.heads * m.value_dim, a.hidden),
          .routed = 0,
          .high_precision = static_cast<double>(m.query_rank + m.key_value_rank)};
}

ParameterCount layer_parameters(const Architecture& a, LayerKind kind) {
  ParameterCount count = attention_parameters(a);
  count.high_precision += 2 * static_cast<double>(a.hidden);
  if (kind == LayerKind::dense) {
    count.low_precision += gated_mlp(a, a.dense_intermediate);
    return count;
  }
  const double expert = gated_mlp(a, a.moe.intermediate);
  count.low_precision += expert * static_cast<double>(a.moe.shared_experts);
  count.routed += expert * static_cast<double>(a.moe.experts);
  // Gate: a weight row and a balancing bias an expert.
  count.high_precision += product(a.hidden, a.moe.experts) + static_cast<double>(a.moe.experts);
  return count;
}

ParameterCount embedding_parameters(const Architecture& a) {
  return {.low_precision = 0, .routed = 0, .high_precision = product(a.vocabulary, a.hidden)};
}

ParameterCount head_parameters(const Architecture& a) {
  ParameterCount count = embedding_parameters(a);
  count.high_precision += static_cast<double>(a.hidden);  // final norm
  return count;
}

ParameterCount mtp_parameters(const Architecture& a) {
  ParameterCount count = layer_parameters(a, LayerKind::moe);
  count.low_precision += product(2 * a.hidden, a.hidden);
  count.high_precision +=
      3 * static_cast<double>(a.hidden);  // two input norms, one before the head
  return count;
}

ParameterCount main_parameters(const Architecture& a) {
  ParameterCount count = embedding_parameters(a);
  count += head_parameters(a);
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    count += layer_parameters(a, a.kind(layer));
  }
  return count;
}

double active_matrix_parameters(const Architecture& a) {
  double count = product(a.vocabulary, a.hidden);
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    count += attention_parameters(a).low_precision;
    if (a.kind(layer) == LayerKind::dense) {
      count += gated_mlp(a, a.dense_intermediate);
    } else {
      count += gated_mlp(a, a.moe.intermediate * (a.moe.shared_experts + a.moe.top_k)) +
               product(a.hidden, a.moe.experts);
    }
  }
  return count;
}

double training_flops_per_token(const Architecture& a, std::int64_t sequence_length, bool causal) {
  constexpr double kPasses = 3;  // forward, input gradient, weight gradient
  const LatentAttention& m = a.attention;
  const double keys = static_cast<double>(sequence_length) * (causal ? 0.5 : 1.0);
  const double scores =
      2 * static_cast<double>(a.layers) * product(m.heads, m.qk_dim() + m.value_dim) * keys;
  return kPasses * (2 * active_matrix_parameters(a) + scores);
}

}  // namespace tessera::workload
