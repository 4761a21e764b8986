#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "models/workload/inference_lowering.hpp"

namespace tessera::workload {

/// Writes the steps of one part of a forward pass.
class ForwardBuilder {
 public:
  ForwardBuilder(const InferenceLowering::Job& job, std::string name);

  void attention(const AttentionKind& kind);
  void feed_forward(const FeedForwardKind& kind);
  void embedding();
  void head(std::int64_t rows);
  /// Norms of the embedding and of the hidden state, and their projection.
  void mtp_entry();
  [[nodiscard]] ForwardPart take() { return std::move(part_); }

 private:
  static void kernel(Steps& list, std::string name, Operator op) {
    list.push_back({Work{std::move(name), std::move(op), Pass::forward}});
  }
  static void stream(Steps& list, std::string name, StreamKind kind, std::int64_t rows,
                     std::int64_t columns, DataType input = DataType::bf16,
                     DataType output = DataType::bf16, int fan = 1);
  /// Nothing when the group has one rank.
  void transfer(Steps& list, std::string name, Transfer::Kind kind, Transfer::Group group,
                double bytes) const;
  /// A residual added and the sum's norm, by one kernel; none where it came with the sum over
  /// tensor ranks. `next`: what reads it multiplies in this type.
  void add_norm(Steps& list, std::string name, std::int64_t rows, bool summed,
                DataType next = DataType::bf16) const;
  static void norm(Steps& list, std::string name, std::int64_t rows, std::int64_t columns) {
    stream(list, std::move(name), StreamKind::rms_norm, rows, columns);
  }
  /// y[rows,n] = x[rows,k] W^T, in `type`; the cast of x before it unless `cast` is done.
  void linear(Steps& list, const std::string& name, std::int64_t rows, std::int64_t n,
              std::int64_t k, DataType type, bool cast = true) const;
  /// Whether a sum over tensor ranks, if there is one before, normalises.
  [[nodiscard]] bool normalised(bool summed) const;
  /// Whether something has to cast what a norm, or an MLP's activation, wrote.
  [[nodiscard]] bool casts_normed(DataType type, bool summed) const;
  [[nodiscard]] bool casts_activated(DataType type) const;
  static void cast(Steps& list, const std::string& name, std::int64_t rows, std::int64_t columns,
                   DataType type);
  /// A product a head: [heads, tokens, k] x [heads, k, n].
  void per_head(Steps& list, std::string name, std::int64_t heads, std::int64_t n,
                std::int64_t k) const;

  void grouped_query(const GroupedQueryAttention& attention);
  void qk_norms(const GroupedQueryAttention& attention, std::int64_t heads, std::int64_t keys);
  /// What an engine runs from rotation to the attention core.
  void engine_core(Steps kernels, std::int64_t heads, std::int64_t rotated);
  void latent(const LatentAttention& attention);
  void absorbed_core(const LatentAttention& attention, std::int64_t heads);
  void expanded_core(const LatentAttention& attention, std::int64_t heads);
  void sparse_index(const LatentAttention& attention);
  /// Output projection and the sum over tensor ranks.
  void output(std::int64_t columns);
  [[nodiscard]] Attention core(std::int64_t heads, std::int64_t kv_heads, std::int64_t qk_dim,
                               std::int64_t v_dim, std::int64_t window, bool chunked) const;

  void mlp(Steps& list, const std::string& name, std::int64_t rows, std::int64_t intermediate,
           bool gated, bool cast);
  void gate(const MixtureOfExperts& moe, bool chooses);
  void experts(const MixtureOfExperts& moe);
  void sorted_experts(const MixtureOfExperts& moe);
  void replicated_experts(const MixtureOfExperts& moe);
  void usual_experts(const MixtureOfExperts& moe, std::int64_t tokens);
  void engine_experts(const MixtureOfExperts& moe, std::int64_t tokens);
  void expert_products(const MixtureOfExperts& moe, bool masked);
  void around_low_latency(const MixtureOfExperts& moe);

  /// Whether tensor ranks send different tokens to experts, and meet again before attention.
  [[nodiscard]] bool scatters() const {
    return job_.split.tensor > 1 && exchanging_ && job_.split.path != ExpertPath::replicated &&
           job_.split.gpus() > 1;
  }
  /// Whether the sum before a layer, or before the head, is one over all tensor ranks.
  [[nodiscard]] bool layers_end_summed() const {
    const bool replicated =
        !a_.has_experts() || (job_.split.path == ExpertPath::replicated || job_.split.gpus() == 1);
    return job_.split.tensor > 1 && replicated && job_.split.attention_ranks() == 1;
  }
  /// What rows are kept in between kernels of the experts.
  [[nodiscard]] DataType stored() const {
    return needs_cast(p_.experts) ? p_.experts : DataType::bf16;
  }
  [[nodiscard]] std::int64_t shard_rows() const {
    return scatters() ? (tokens_ + job_.split.tensor - 1) / job_.split.tensor : tokens_;
  }

  const InferenceLowering::Job& job_;
  const Architecture& a_;
  const InferencePrecision& p_;
  const EngineKernels* engine_;  ///< Null: the usual kernels.
  std::int64_t tokens_;
  std::int64_t routed_ = 0;  ///< Rows of all experts on this GPU.
  bool exchanging_ = false;  ///< The part has routed experts.
  ForwardPart part_;
};

}  // namespace tessera::workload
