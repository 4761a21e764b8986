#include "models/workload/operators.hpp"

#include <fmt/format.h>

#include <numeric>

namespace tessera::workload {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string_view name(DataType type) { return core::to_string(type); }

double total(const std::vector<std::int64_t>& sizes) {
  return static_cast<double>(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}));
}

/// "64x2048" when all groups are equal, else a list: two operators share a description only when
/// they are equal.
std::string describe_sizes(const std::vector<std::int64_t>& sizes) {
  bool equal = true;
  for (const std::int64_t size : sizes) equal = equal && size == sizes.front();
  if (!sizes.empty() && equal) return fmt::format("{}x{}", sizes.size(), sizes.front());
  return fmt::format("[{}]", fmt::join(sizes, ","));
}

/// Query-key pairs that attention computes, summed over one head.
double pairs(const Attention& a) {
  const auto q = static_cast<double>(a.q_length);
  const auto kv = static_cast<double>(a.kv_length);
  if (!a.causal) return q * kv;
  const double first = kv - q + 1;  // keys that the first query sees
  if (a.window > 0 && static_cast<double>(a.window) < kv) {
    const auto w = static_cast<double>(a.window);
    const double growing =
        std::max(0.0, std::min(q, w - first));  // queries whose window is not yet full
    return growing * (first + first + growing - 1) / 2 + (q - growing) * w;
  }
  return q * (first + kv) / 2;
}

/// Pairs of query and token, of one head.
double pairs(const AbsorbedAttention& a) {
  const auto q = static_cast<double>(a.q_length);
  if (a.selected > 0) return q * static_cast<double>(std::min(a.selected, a.kv_length));
  return q * (static_cast<double>(a.kv_length) - (q - 1) / 2);
}

/// Sum of floor(j / divisor) for j from 0 to `last`.
double sum_of_quotients(std::int64_t last, std::int64_t divisor) {
  if (last < 0) return 0;
  const std::int64_t most = last / divisor;
  const auto m = static_cast<double>(most);
  return static_cast<double>(divisor) * m * (m - 1) / 2 +
         m * static_cast<double>(last - divisor * most + 1);
}

}  // namespace

std::int64_t visible_keys(const IndexScores& scores, std::int64_t query) {
  return (scores.kv_length - (scores.q_length - 1 - query)) / scores.compression;
}

double index_pairs(const IndexScores& scores) {
  const std::int64_t first = scores.kv_length - scores.q_length;  // tokens before the queries
  return static_cast<double>(scores.batch) *
         (sum_of_quotients(scores.kv_length, scores.compression) -
          sum_of_quotients(first, scores.compression));
}

std::string to_string(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return "forward";
    case Pass::input_gradient:
      return "input_gradient";
    case Pass::weight_gradient:
      return "weight_gradient";
    case Pass::optimizer:
      return "optimizer";
  }
  return "forward";
}

std::string to_string(StreamKind kind) {
  switch (kind) {
    case StreamKind::rms_norm:
      return "rms_norm";
    case StreamKind::add_rms_norm:
      return "add_rms_norm";
    case StreamKind::rms_norm_backward:
      return "rms_norm_backward";
    case StreamKind::rotary:
      return "rotary";
    case StreamKind::swiglu:
      return "swiglu";
    case StreamKind::swiglu_backward:
      return "swiglu_backward";
    case StreamKind::gate_top_k:
      return "gate_top_k";
    case StreamKind::permute:
      return "permute";
    case StreamKind::unpermute:
      return "unpermute";
    case StreamKind::quantize:
      return "quantize";
    case StreamKind::quantize_transpose:
      return "quantize_transpose";
    case StreamKind::transpose:
      return "transpose";
    case StreamKind::add:
      return "add";
    case StreamKind::copy:
      return "copy";
    case StreamKind::embedding:
      return "embedding";
    case StreamKind::embedding_backward:
      return "embedding_backward";
    case StreamKind::softmax_cross_entropy:
      return "softmax_cross_entropy";
    case StreamKind::adamw:
      return "adamw";
    case StreamKind::gradient_clip:
      return "gradient_clip";
    case StreamKind::compute_scale:
      return "compute_scale";
    case StreamKind::gelu:
      return "gelu";
    case StreamKind::gelu_backward:
      return "gelu_backward";
    case StreamKind::softmax:
      return "softmax";
    case StreamKind::softmax_backward:
      return "softmax_backward";
    case StreamKind::dropout:
      return "dropout";
    case StreamKind::column_sum:
      return "column_sum";
  }
  return "copy";
}

Flops flops(const Operator& op) {
  return std::visit(
      Overloaded{[](const Gemm& g) {
                   return Flops{2.0 * static_cast<double>(g.batch) * static_cast<double>(g.m) *
                                static_cast<double>(g.n) * static_cast<double>(g.k)};
                 },
                 [](const GroupedGemm& g) {
                   return Flops{2.0 * total(g.sizes) * static_cast<double>(g.n) *
                                static_cast<double>(g.fixed)};
                 },
                 [](const Attention& a) {
                   const double forward = 2.0 * static_cast<double>(a.batch * a.heads) * pairs(a);
                   const auto qk = static_cast<double>(a.qk_dim);
                   const auto v = static_cast<double>(a.v_dim);
                   // Backward: S and dP again, then dV, dK, dQ.
                   return Flops{forward * (a.backward ? 3 * qk + 2 * v : qk + v)};
                 },
                 [](const AbsorbedAttention& a) {
                   return Flops{2.0 * static_cast<double>(a.batch * a.heads) * pairs(a) *
                                static_cast<double>(2 * a.latent + a.rotary)};
                 },
                 [](const Stream&) { return Flops{0.0}; },
                 [](const IndexScores& s) {
                   return Flops{2.0 * static_cast<double>(s.heads * s.dim) * index_pairs(s)};
                 },
                 [](const SelectTopK&) { return Flops{0.0}; },
                 [](const Exchange&) { return Flops{0.0}; }},
      op);
}

std::string describe(const Operator& op) {
  return std::visit(
      Overloaded{
          [](const Gemm& g) {
            return fmt::format("gemm {}{}x{}x{} {} -> {}{}{}",
                               g.batch == 1 ? "" : fmt::format("{}*", g.batch), g.m, g.n, g.k,
                               name(g.type), g.accumulate ? "+=" : "", name(g.output),
                               g.both_operands_row_scaled ? " row_scaled" : "");
          },
          [](const GroupedGemm& g) {
            return fmt::format(
                "grouped_gemm {} {} n{} {}{} {} -> {}{}{}{}{}",
                g.varying == GroupedGemm::Varying::rows ? "m" : "k", describe_sizes(g.sizes), g.n,
                g.varying == GroupedGemm::Varying::rows ? "k" : "m", g.fixed, name(g.type),
                g.accumulate ? "+=" : "", name(g.output),
                g.both_operands_row_scaled ? " row_scaled" : "", g.masked ? " masked" : "",
                g.planned_rows == 0 ? "" : fmt::format(" planned {}", g.planned_rows));
          },
          [](const Attention& a) {
            return fmt::format("attention{} {}x{}/{} heads {}/{} dims {}/{}{}{} {} cache {}",
                               a.backward ? "_backward" : "", a.batch, a.q_length, a.kv_length,
                               a.heads, a.kv_heads, a.qk_dim, a.v_dim, a.causal ? " causal" : "",
                               a.window > 0 ? fmt::format(" window {}", a.window) : "",
                               name(a.type), name(a.cache_type));
          },
          [](const AbsorbedAttention& a) {
            return fmt::format("absorbed_attention {}x{}/{} heads {} dims {}+{}{} {} cache {}",
                               a.batch, a.q_length, a.kv_length, a.heads, a.latent, a.rotary,
                               a.selected > 0 ? fmt::format(" selected {}", a.selected) : "",
                               name(a.type), name(a.cache_type));
          },
          [](const Stream& s) {
            return fmt::format(
                "{} {}x{} {} -> {}{}{}{}", to_string(s.kind), s.rows, s.columns, name(s.input),
                name(s.output), s.fan == 1 ? "" : fmt::format(" fan {}", s.fan),
                s.kind == StreamKind::adamw ? fmt::format(" state {}", name(s.state)) : "",
                s.padding_rows == 0 ? "" : fmt::format(" padding {}", s.padding_rows));
          },
          [](const IndexScores& s) {
            return fmt::format("index_scores {}x{}/{} heads {} dim {}{} {}", s.batch, s.q_length,
                               s.kv_length, s.heads, s.dim,
                               s.compression > 1 ? fmt::format(" of {} tokens", s.compression) : "",
                               name(s.type));
          },
          [](const SelectTopK& s) {
            return fmt::format("select_top_k {}x{} of {}{}", s.rows, s.selected, s.columns,
                               s.contested > 0 ? fmt::format(" contested {}", s.contested) : "");
          },
          [](const Exchange& e) {
            return fmt::format(
                "{} {}x{} {} copies {}",
                e.direction == Exchange::Direction::dispatch ? "dispatch" : "combine", e.tokens,
                e.hidden, name(e.type), e.copies);
          }},
      op);
}

std::string family(const Operator& op) {
  return std::visit(Overloaded{[](const Gemm&) { return "gemm"; },
                               [](const GroupedGemm&) { return "grouped_gemm"; },
                               [](const Attention&) { return "attention"; },
                               [](const AbsorbedAttention&) { return "absorbed_attention"; },
                               [](const Stream&) { return "stream"; },
                               [](const IndexScores&) { return "index_scores"; },
                               [](const SelectTopK&) { return "select_top_k"; },
                               [](const Exchange&) { return "exchange"; }},
                    op);
}

}  // namespace tessera::workload
