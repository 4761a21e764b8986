#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/parallel_split.hpp"
#include "models/workload/part_work.hpp"
#include "models/workload/precision.hpp"

namespace tessera::workload {

/// What every part of one job is lowered with.
struct LoweringJob {
  Architecture architecture;
  PrecisionRecipe precision;
  RecomputeChoice recompute;
  ParallelSplit split;
  KernelChoice kernels;
  std::int64_t sequences = 1;             ///< Of a micro-batch.
  std::int64_t sequence_length = 0;       ///< Tokens of a whole sequence.
  std::vector<std::int64_t> expert_rows;  ///< Of each expert on this GPU.
};

/// A linear layer as one GPU holds it: y[rows, n] = x[rows, k] W^T.
struct Linear {
  enum class Cut {
    none,     ///< Whole on every tensor rank, which multiplies its own tokens.
    columns,  ///< n is this rank's share; all tokens enter.
    rows,     ///< k is this rank's share; products are summed over the tensor ranks.
  };
  std::string name;   ///< "o"
  std::string input;  ///< What enters: "attention_output".
  std::int64_t n = 0, k = 0;
  Cut cut = Cut::none;
  bool bias = false;
  DataType type = DataType::bf16;
  /// Its operands are kept for a later weight gradient; otherwise they are saved for other readers.
  bool defers = true;
};

/// SavedTensor::format of what dropout left out.
inline constexpr const char* kMask = "mask";

/// What made the input of a linear layer: it decides whether its cast is a kernel of its own.
enum class Producer { norm, activation, attention };

/// Heads of attention as one tensor rank holds them.
struct Heads {
  std::int64_t queries = 1, keys = 1;
  std::int64_t qk_dim = 128, v_dim = 128;
  std::int64_t window = 0;
  bool chunked = false;

  [[nodiscard]] std::int64_t query_columns() const { return queries * qk_dim; }
  [[nodiscard]] std::int64_t key_value_columns() const { return keys * (qk_dim + v_dim); }
  [[nodiscard]] std::int64_t output_columns() const { return queries * v_dim; }
};

/// Writes the steps of one part into its lists. Forward steps are written in order of execution;
/// so are gradients: what comes last forward writes its gradients first.
class PartBuilder {
 public:
  /// `linear`: the type of this part's linear layers.
  PartBuilder(const LoweringJob& job, std::string name, DataType linear);

  void attention_forward(const AttentionKind& attention);
  void attention_gradient(const AttentionKind& attention);
  void feed_forward(const FeedForwardKind& feed_forward);
  void feed_forward_gradient(const FeedForwardKind& feed_forward);
  void embedding();
  void head_forward();
  void head_gradient();
  void mtp_entry();
  /// Gradients of `elements` weights, copied into one tensor.
  void assemble_gradients(double elements);
  /// The projection's gradients, which end what attention's began.
  void mtp_exit();
  /// Keeps nothing but the first saved tensor: the rest is computed again.
  void recompute_all();

  PartWork take() { return std::move(part_); }

 private:
  /// Lists that gradients of inputs and of weights go to.
  struct Gradients {
    Steps& inputs;
    Steps& weights;
    std::size_t before = 0;  ///< Steps of the list that runs ahead of `inputs`.

    [[nodiscard]] int ready() const { return static_cast<int>(before + inputs.size()); }
  };
  /// Of the part's end: the head's, and a dense MLP's cast.
  Gradients start() { return {part_.start_gradient, part_.experts_weight_gradient}; }
  Gradients experts() {
    return {part_.experts_gradient, part_.experts_weight_gradient, part_.start_gradient.size()};
  }
  Gradients finish() { return {part_.finish_gradient, part_.finish_weight_gradient}; }

  // Sizes.
  [[nodiscard]] bool gathers() const { return split_.tensor > 1 && split_.sequence_parallel; }
  /// Tokens of this context rank's share of the micro-batch.
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  /// Tokens whose norms and residuals this tensor rank computes.
  [[nodiscard]] std::int64_t shard_rows() const {
    return split_.sequence_parallel ? tokens_ / split_.tensor : tokens_;
  }
  [[nodiscard]] std::int64_t input_rows(const Linear& l) const {
    return l.cut == Linear::Cut::rows ? tokens_ : shard_rows();
  }
  [[nodiscard]] std::int64_t product_rows(const Linear& l) const {
    return l.cut == Linear::Cut::none ? shard_rows() : tokens_;
  }
  [[nodiscard]] bool block() const { return linear_ == DataType::fp8_block; }
  /// Whether casts are kernels of Transformer Engine, apart from what makes the tensor; fp8_block
  /// follows DeepSeek-V3, whose norms and activations write quantised copies themselves.
  [[nodiscard]] bool casts_apart() const { return linear_ != DataType::bf16 && !block(); }
  /// What a norm that enters a linear layer writes.
  [[nodiscard]] DataType norm_output() const;
  /// What an activation function that enters a linear layer writes.
  [[nodiscard]] DataType activation_output() const { return block() ? linear_ : DataType::bf16; }

  // Steps.
  static void kernel(Steps& list, Pass pass, std::string name, Operator op) {
    list.push_back({Work{std::move(name), std::move(op), pass}});
  }
  static void stream(Steps& list, Pass pass, std::string name, StreamKind kind, std::int64_t rows,
                     std::int64_t columns, DataType input, DataType output, int fan = 1) {
    kernel(list, pass, std::move(name),
           Stream{.kind = kind,
                  .rows = rows,
                  .columns = columns,
                  .input = input,
                  .output = output,
                  .fan = fan});
  }
  /// The last kernel written is the first of a module's pass.
  static void enter_module(Steps& list) { std::get<Work>(list.back().what).module = true; }
  /// The last kernel written stands for so many that the host launches.
  static void launch(Steps& list, std::int64_t kernels) {
    std::get<Work>(list.back().what).launches = static_cast<int>(kernels);
  }
  /// Nothing when the group has one rank.
  void transfer(Steps& list, Pass pass, std::string name, Transfer::Kind kind,
                Transfer::Group group, double bytes, int behind = 0);
  [[nodiscard]] std::int64_t ranks(Transfer::Group group) const;
  /// A step of a weight gradient, which may run as soon as what is in g.inputs now has.
  static void weight_kernel(Gradients g, std::string name, Operator op) {
    g.weights.push_back({Work{std::move(name), std::move(op), Pass::weight_gradient}, g.ready()});
  }
  static void weight_stream(Gradients g, std::string name, StreamKind kind, std::int64_t rows,
                            std::int64_t columns, DataType input, DataType output) {
    weight_kernel(
        g, std::move(name),
        Stream{.kind = kind, .rows = rows, .columns = columns, .input = input, .output = output});
  }
  void norm(Steps& list, Pass pass, const std::string& name, std::int64_t rows,
            std::int64_t columns, DataType output);
  void norm_gradient(Steps& list, const std::string& name, std::int64_t rows, std::int64_t columns);
  void weight_norm(Gradients g, const std::string& name, std::int64_t rows, std::int64_t columns,
                   DataType output);
  /// Of the residual stream.
  void add(Steps& list, Pass pass, const std::string& name);
  void save(const std::string& name, std::int64_t rows, std::int64_t columns,
            double bytes_per_element, std::string format);
  void save(const std::string& name, std::int64_t rows, std::int64_t columns, DataType type);
  void defer(const std::string& name, std::int64_t rows, std::int64_t columns, DataType type);

  // Linear layers.
  void find_maximum(Steps& list, Pass pass, const std::string& name, std::int64_t rows,
                    std::int64_t columns, bool gathered);
  /// Casts the input where its producer has not; `rows` of `columns`.
  void cast_input(Steps& list, Pass pass, const std::string& name, std::int64_t rows,
                  std::int64_t columns, Producer producer, bool gathered);
  void cast_input(Steps& list, Pass pass, const Linear& l, Producer producer) {
    if (l.type != DataType::bf16)
      cast_input(list, pass, l.input, input_rows(l), l.k, producer,
                 gathers() && l.cut == Linear::Cut::columns);
  }
  void multiply(Steps& list, Pass pass, const Linear& l, const std::string& suffix = "");
  void overlapped_multiply(Steps& list, Pass pass, const Linear& l, const std::string& suffix);
  /// Quantises y's gradient and brings all its rows together.
  void enter_gradient(Steps& list, const Linear& l, const std::string& name);
  void cast_gradient(Steps& list, const std::string& name, std::int64_t rows, std::int64_t columns,
                     bool gathered);
  /// Both products of a linear layer's backward pass.
  void multiply_gradients(Gradients g, const Linear& l, Producer producer);
  void promote(Steps& list) const;
  void weight_gradient(Gradients g, const Linear& l, Producer producer);
  void transpose_input(Gradients g, const std::string& name, std::int64_t rows,
                       std::int64_t columns, Producer producer, bool gathered);
  /// Whether the gradient of this layer's output is gathered piece by piece beside its products.
  [[nodiscard]] bool rings_gradient(const Linear& l) const {
    return split_.tensor_overlap && gathers() && l.cut == Linear::Cut::rows && !block();
  }
  void ring_input_gradient(Gradients g, const Linear& l);
  void swizzle_scales(Steps& list, Pass pass, const std::string& name, std::int64_t rows,
                      std::int64_t k, int ready = 0);
  void save_input(const Linear& l);

  // Attention.
  [[nodiscard]] Heads heads_of(const AttentionKind& attention) const;
  void rotary(Steps& list, Pass pass, const std::string& name, std::int64_t columns);
  void grouped_query_forward(const GroupedQueryAttention& attention);
  void grouped_query_gradient(const GroupedQueryAttention& attention);
  void latent_forward(const LatentAttention& attention);
  void latent_gradient(const LatentAttention& attention);
  /// Queries, keys and values from their latents; also what recomputation runs again.
  void up_projections(Steps& list, Pass pass, const LatentAttention& attention,
                      const std::string& suffix);
  void latent_norms(Steps& list, Pass pass, const LatentAttention& attention,
                    const std::string& suffix);
  void qk_norms(Steps& list, Pass pass, const GroupedQueryAttention& attention, bool gradient);
  void output_forward(const Linear& o);
  void output_gradient(Gradients g, const Linear& o);
  /// softmax(Q K^T) V, with the transfers of context parallelism.
  void core_forward(Steps& list, Pass pass, const Heads& heads, const std::string& suffix);
  void core_gradient(Steps& list, const Heads& heads);
  void core_saved(const Heads& heads);
  [[nodiscard]] Attention core(Pass pass, const Heads& heads, std::int64_t queries,
                               std::int64_t keys) const;
  void whole_core(Steps& list, Pass pass, const std::string& name, const Heads& heads);
  void exchanged_core(Steps& list, Pass pass, const std::string& name, const Heads& heads);
  void ring_core(Steps& list, Pass pass, const std::string& name, const Heads& heads);
  void ring_corrections(Steps& list, Pass pass, const std::string& name, const Heads& heads,
                        const Attention& step);
  void unfused_core(Steps& list, Pass pass, const std::string& suffix, const Heads& heads);
  void unfused_core_gradient(Steps& list, const Heads& heads);
  [[nodiscard]] Linear qkv(const GroupedQueryAttention& attention) const;
  [[nodiscard]] Linear output(const AttentionKind& attention) const;

  // MLPs.
  struct Mlp {
    std::string name;  ///< "mlp", "shared"
    std::string input;
    std::int64_t intermediate = 0;  ///< Of one tensor rank.
    bool gated = true;
    bool bias = false;

    [[nodiscard]] std::int64_t up_columns() const { return (gated ? 2 : 1) * intermediate; }
  };
  [[nodiscard]] Mlp mlp_of(const DenseFeedForward& dense) const;
  [[nodiscard]] Mlp shared_of(const MixtureOfExperts& moe) const;
  [[nodiscard]] Linear up(const Mlp& mlp) const;
  [[nodiscard]] Linear down(const Mlp& mlp) const;
  void activate(Steps& list, Pass pass, const std::string& name, std::int64_t rows, bool gated,
                std::int64_t intermediate, DataType input, DataType output);
  void activate_gradient(Steps& list, const std::string& name, std::int64_t rows, bool gated,
                         std::int64_t intermediate);
  void mlp_forward(Steps& list, Pass pass, const Mlp& mlp, Producer producer);
  void mlp_saved(const Mlp& mlp);
  void mlp_gradient(Gradients g, const Mlp& mlp, Producer producer);
  void dense_forward(const DenseFeedForward& dense);
  void dense_gradient(const DenseFeedForward& dense);
  void moe_forward(const MixtureOfExperts& moe);
  void moe_gradient(const MixtureOfExperts& moe);
  void gate(const MixtureOfExperts& moe);
  void sort_tokens(Steps& list, Pass pass, const std::string& name, const MixtureOfExperts& moe,
                   bool before);
  void routed_forward(const MixtureOfExperts& moe);
  void routed_gradient(const MixtureOfExperts& moe);
  void routed_weight_gradient(const MixtureOfExperts& moe);
  /// Rows that are cast by one kernel: those of every expert with any, or all.
  [[nodiscard]] std::vector<std::int64_t> cast_rows() const;
  [[nodiscard]] std::int64_t products() const;  ///< Kernels that multiply all experts.
  void cast_experts(Steps& list, const std::string& name, std::int64_t columns);
  void cast_expert_gradients(Steps& list, const std::string& name, std::int64_t columns);
  void pad_experts(Steps& list, Pass pass, const std::string& name);
  void add_expert_bias(const MixtureOfExperts& moe);
  /// Whether PyTorch holds what enters the activation between bounds, outside of its kernel.
  [[nodiscard]] bool clamps_apart(const MixtureOfExperts& moe) const {
    return moe.clamped && moe.gated && job_.kernels.experts == ExpertLaunches::each;
  }
  void clamp_experts(Steps& list, Pass pass, const std::string& suffix, std::int64_t intermediate);
  void clamp_gradient(std::int64_t intermediate);
  void expert_bias_gradient(Gradients g, const MixtureOfExperts& moe, std::int64_t columns);
  void grouped(Steps& list, Pass pass, const std::string& name, std::int64_t n, std::int64_t k);
  void grouped_weight_gradient(const std::string& name, std::int64_t n, std::int64_t k);
  void expert_transfer(Steps& list, Pass pass, const std::string& name, Transfer::Kind kind,
                       DataType type);

  void table_transfer(Steps& list, Pass pass, const std::string& name);
  void train_metrics(Steps& list, std::int64_t words);

  const LoweringJob& job_;
  const Architecture& a_;
  const PrecisionRecipe& p_;
  const RecomputeChoice& recompute_;
  const ParallelSplit& split_;
  DataType linear_;
  std::int64_t tokens_;
  std::int64_t routed_ = 0;  ///< Rows of all experts on this GPU.
  PartWork part_;
};

/// Bytes of one element with its scales.
[[nodiscard]] double activation_bytes(DataType type);
[[nodiscard]] double weight_bytes(DataType type);

}  // namespace tessera::workload
