#include "models/workload/lowering.hpp"

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using std::int64_t;

double sum(const std::vector<SavedTensor>& tensors) {
  return std::accumulate(tensors.begin(), tensors.end(), 0.0,
                         [](double s, const SavedTensor& t) { return s + t.bytes; });
}

void append(std::vector<Work>& to, std::vector<Work> from) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

}  // namespace

double activation_bytes(DataType type) {
  return core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type);
}
double weight_bytes(DataType type) {
  return core::weight_bits(type) / 8.0 + core::weight_scale_bytes(type);
}
double PartWork::saved_bytes() const { return sum(saved); }
double PartWork::deferred_bytes() const { return sum(deferred); }

/// Writes the kernels of one part into its lists.
class PartBuilder {
 public:
  PartBuilder(const Lowering& job, std::string name)
      : a_(job.architecture_),
        latent_(std::get<LatentAttention>(job.architecture_.attention)),
        p_(job.precision_),
        recompute_(job.recompute_),
        sequences_(job.sequences_),
        length_(job.sequence_length_),
        tokens_(job.tokens_),
        rows_(job.expert_rows_),
        fp8_(job.precision_.linear == DataType::fp8_block) {
    part_.name = std::move(name);
    routed_ = std::accumulate(rows_.begin(), rows_.end(), int64_t{0});
  }

  PartWork take() { return std::move(part_); }

  void attention();
  void dense_mlp();
  void expert_mlp();
  void embedding();
  void head();
  void mtp_entry();
  /// The projection's gradients, which end what attention's began.
  void mtp_exit();

 private:
  using List = std::vector<Work>;

  void stream(List& list, Pass pass, std::string name, StreamKind kind, int64_t rows,
              int64_t columns, DataType input, DataType output, int fan = 1) {
    list.push_back({std::move(name),
                    Stream{.kind = kind,
                           .rows = rows,
                           .columns = columns,
                           .input = input,
                           .output = output,
                           .fan = fan},
                    pass});
  }
  void multiply(List& list, Pass pass, const std::string& name, int64_t n, int64_t k,
                DataType type) {
    list.push_back({name, Gemm{.m = tokens_, .n = n, .k = k, .type = type}, pass});
  }
  /// Causal, every head with keys of its own: expanded MLA.
  void attend(List& list, Pass pass, const std::string& name) {
    const LatentAttention& m = latent_;
    list.push_back({name,
                    Attention{.batch = sequences_,
                              .q_length = length_,
                              .kv_length = length_,
                              .heads = m.heads,
                              .kv_heads = m.heads,
                              .qk_dim = m.qk_dim(),
                              .v_dim = m.value_dim,
                              .type = p_.attention,
                              .cache_type = p_.attention,
                              .backward = pass == Pass::input_gradient},
                    pass});
  }
  /// dW[n,k] += dy^T[n,tokens] x[tokens,k]
  void weight_gradient(List& list, const std::string& name, int64_t n, int64_t k, DataType type) {
    list.push_back({name + " weight_gradient",
                    Gemm{.m = n,
                         .n = k,
                         .k = tokens_,
                         .type = type,
                         .output = p_.gradients,
                         .accumulate = true,
                         .both_operands_row_scaled = type == DataType::fp8_block},
                    Pass::weight_gradient});
  }
  void grouped(List& list, Pass pass, const std::string& name, int64_t n, int64_t k) {
    list.push_back(
        {name, GroupedGemm{.sizes = rows_, .n = n, .fixed = k, .type = p_.linear}, pass});
  }
  void grouped_weight_gradient(List& list, const std::string& name, int64_t n, int64_t k) {
    list.push_back({name + " weight_gradient",
                    GroupedGemm{.varying = GroupedGemm::Varying::depth,
                                .sizes = rows_,
                                .n = k,
                                .fixed = n,
                                .type = p_.linear,
                                .output = p_.gradients,
                                .accumulate = true,
                                .both_operands_row_scaled = fp8_},
                    Pass::weight_gradient});
  }
  /// Casts an output gradient along both of its dimensions, once for each gradient product.
  void cast_gradient(List& list, const std::string& name, int64_t rows, int64_t columns) {
    if (!fp8_) return;
    stream(list, Pass::input_gradient, name + " cast", StreamKind::quantize_transpose, rows,
           columns, DataType::bf16, p_.linear);
  }
  /// Transposes a kept FP8 input and scales it anew along the tokens.
  void transpose_input(List& list, const std::string& name, int64_t rows, int64_t columns) {
    if (!fp8_) return;
    stream(list, Pass::weight_gradient, name + " transpose", StreamKind::transpose, rows, columns,
           p_.linear, p_.linear);
  }
  void save(const std::string& name, int64_t rows, int64_t columns, double bytes_per_element) {
    part_.saved.push_back(
        {name, static_cast<double>(rows) * static_cast<double>(columns) * bytes_per_element});
  }
  void save(const std::string& name, int64_t rows, int64_t columns, DataType type) {
    save(name, rows, columns, activation_bytes(type));
  }
  void defer(const std::string& name, int64_t rows, int64_t columns) {
    part_.deferred.push_back({name, static_cast<double>(rows) * static_cast<double>(columns) *
                                        activation_bytes(p_.linear)});
  }
  void norm(List& list, Pass pass, const std::string& name, int64_t columns, DataType output) {
    stream(list, pass, name, StreamKind::rms_norm, tokens_, columns, DataType::bf16, output);
  }
  void norm_gradient(List& list, const std::string& name, int64_t columns) {
    stream(list, Pass::input_gradient, name + " gradient", StreamKind::rms_norm_backward, tokens_,
           columns, DataType::bf16, DataType::bf16);
  }
  void add(List& list, Pass pass, const std::string& name) {
    stream(list, pass, name, StreamKind::add, tokens_, a_.hidden, DataType::bf16, DataType::bf16);
  }
  /// Queries, keys and values from their latents; also what recomputation runs again.
  void up_projections(List& list, Pass pass, const std::string& suffix);
  void latent_norms(List& list, Pass pass, const std::string& suffix);
  void attention_forward();
  void attention_gradient();
  void attention_weight_gradient();
  void attention_saved();
  void gated_forward(List& list, const std::string& name, int64_t intermediate);
  void gated_gradient(List& list, const std::string& name, int64_t intermediate);
  void gated_weight_gradient(List& list, const std::string& name, int64_t intermediate);
  void routed_forward();
  void routed_gradient();
  void routed_weight_gradient();
  void gate();

  const Architecture& a_;
  const LatentAttention& latent_;
  const PrecisionRecipe& p_;
  const RecomputeChoice& recompute_;
  int64_t sequences_, length_, tokens_;
  const std::vector<int64_t>& rows_;
  int64_t routed_ = 0;  ///< Rows of all experts on this GPU.
  bool fp8_;
  PartWork part_;
};

void PartBuilder::latent_norms(List& list, Pass pass, const std::string& suffix) {
  norm(list, pass, "q_norm" + suffix, latent_.query_rank, p_.linear);
  norm(list, pass, "kv_norm" + suffix, latent_.key_value_rank, p_.linear);
}

void PartBuilder::up_projections(List& list, Pass pass, const std::string& suffix) {
  const LatentAttention& m = latent_;
  multiply(list, pass, "q_up" + suffix, m.heads * m.qk_dim(), m.query_rank, p_.linear);
  multiply(list, pass, "kv_up" + suffix, m.heads * (m.nope_dim + m.value_dim), m.key_value_rank,
           p_.linear);
  stream(list, pass, "rotary" + suffix, StreamKind::rotary, tokens_, (m.heads + 1) * m.rope_dim,
         DataType::bf16, DataType::bf16);
  // Every head's keys end in the one rotary key of the token.
  stream(list, pass, "key assembly" + suffix, StreamKind::copy, tokens_, m.heads * m.qk_dim(),
         DataType::bf16, DataType::bf16);
}

void PartBuilder::attention_forward() {
  const LatentAttention& m = latent_;
  List& list = part_.before_dispatch;
  norm(list, Pass::forward, "attention_norm", a_.hidden, p_.linear);
  multiply(list, Pass::forward, "qkv_down", m.query_rank + m.key_value_rank + m.rope_dim, a_.hidden,
           p_.linear);
  latent_norms(list, Pass::forward, "");
  up_projections(list, Pass::forward, "");
  attend(list, Pass::forward, "attention");
  if (fp8_) {
    stream(list, Pass::forward, "attention_output cast", StreamKind::quantize, tokens_,
           m.heads * m.value_dim, DataType::bf16, p_.linear);
  }
  multiply(list, Pass::forward, "o", a_.hidden, m.heads * m.value_dim, p_.linear);
  add(list, Pass::forward, "attention_residual");
}

void PartBuilder::attention_gradient() {
  const LatentAttention& m = latent_;
  const int64_t queries = m.heads * m.qk_dim();
  const int64_t key_values = m.heads * (m.nope_dim + m.value_dim);
  const int64_t down = m.query_rank + m.key_value_rank + m.rope_dim;
  constexpr Pass kPass = Pass::input_gradient;
  List& list = part_.finish_gradient;
  cast_gradient(list, "o gradient", tokens_, a_.hidden);
  multiply(list, kPass, "o input_gradient", m.heads * m.value_dim, a_.hidden, p_.linear);
  if (recompute_.rms_norm) latent_norms(list, kPass, " recompute");
  if (recompute_.mla_up_projection) up_projections(list, kPass, " recompute");
  attend(list, kPass, "attention gradient");
  stream(list, kPass, "rotary key gradient", StreamKind::unpermute, tokens_, m.rope_dim,
         DataType::bf16, DataType::bf16, static_cast<int>(m.heads));
  stream(list, kPass, "rotary gradient", StreamKind::rotary, tokens_, (m.heads + 1) * m.rope_dim,
         DataType::bf16, DataType::bf16);
  if (!fp8_)  // a cast would gather dK and dV on its way
    stream(list, kPass, "kv_up gradient assembly", StreamKind::copy, tokens_, key_values,
           DataType::bf16, DataType::bf16);
  cast_gradient(list, "q_up gradient", tokens_, queries);
  cast_gradient(list, "kv_up gradient", tokens_, key_values);
  multiply(list, kPass, "q_up input_gradient", m.query_rank, queries, p_.linear);
  multiply(list, kPass, "kv_up input_gradient", m.key_value_rank, key_values, p_.linear);
  norm_gradient(list, "q_norm", m.query_rank);
  norm_gradient(list, "kv_norm", m.key_value_rank);
  cast_gradient(list, "qkv_down gradient", tokens_, down);
  multiply(list, kPass, "qkv_down input_gradient", a_.hidden, down, p_.linear);
  norm_gradient(list, "attention_norm", a_.hidden);
  add(list, kPass, "attention_residual gradient");
}

void PartBuilder::attention_weight_gradient() {
  const LatentAttention& m = latent_;
  const int64_t output = m.heads * m.value_dim;
  List& list = part_.finish_weight_gradient;
  transpose_input(list, "attention_output", tokens_, output);
  weight_gradient(list, "o", a_.hidden, output, p_.linear);
  transpose_input(list, "latents", tokens_, m.query_rank + m.key_value_rank);
  weight_gradient(list, "q_up", m.heads * m.qk_dim(), m.query_rank, p_.linear);
  weight_gradient(list, "kv_up", m.heads * (m.nope_dim + m.value_dim), m.key_value_rank, p_.linear);
  if (recompute_.rms_norm) {
    norm(list, Pass::weight_gradient, "attention_norm recompute", a_.hidden, p_.linear);
  }
  transpose_input(list, "attention_norm", tokens_, a_.hidden);
  weight_gradient(list, "qkv_down", m.query_rank + m.key_value_rank + m.rope_dim, a_.hidden,
                  p_.linear);
  defer("o gradient", tokens_, a_.hidden);
  defer("q_up gradient", tokens_, m.heads * m.qk_dim());
  defer("kv_up gradient", tokens_, m.heads * (m.nope_dim + m.value_dim));
  defer("qkv_down gradient", tokens_, m.query_rank + m.key_value_rank + m.rope_dim);
  defer("attention output", tokens_, output);
  defer("latents", tokens_, m.query_rank + m.key_value_rank);
  defer("layer input", tokens_, a_.hidden);
}

void PartBuilder::attention_saved() {
  const LatentAttention& m = latent_;
  // One copy serves the attention gradient and o's weight gradient, in E5M6 when the recipe is FP8
  // (arXiv 2412.19437, section 3.3.3): 12 bits and a 1x128 scale.
  const double output_bytes =
      fp8_ ? 1.5 + core::activation_scale_bytes(p_.linear) : activation_bytes(DataType::bf16);
  save("layer input", tokens_, a_.hidden, DataType::bf16);
  save("latents", tokens_, m.query_rank + m.key_value_rank + m.rope_dim, DataType::bf16);
  save("attention output", tokens_, m.heads * m.value_dim, output_bytes);
  save("attention log-sum-exp", tokens_, m.heads, DataType::fp32);
  save("attention residual", tokens_, a_.hidden, DataType::bf16);
  if (!recompute_.mla_up_projection) {
    save("queries, keys, values", tokens_, m.heads * (2 * m.qk_dim() + m.value_dim),
         DataType::bf16);
  }
  if (!recompute_.rms_norm) {
    save("attention norm", tokens_, a_.hidden, p_.linear);
    save("latent norms", tokens_, m.query_rank + m.key_value_rank, p_.linear);
    save("mlp norm", tokens_, a_.hidden, p_.linear);
  }
}

void PartBuilder::attention() {
  attention_forward();
  attention_gradient();
  attention_weight_gradient();
  attention_saved();
}

void PartBuilder::gated_forward(List& list, const std::string& name, int64_t intermediate) {
  multiply(list, Pass::forward, name + "_gate_up", 2 * intermediate, a_.hidden, p_.linear);
  stream(list, Pass::forward, name + "_swiglu", StreamKind::swiglu, tokens_, intermediate,
         DataType::bf16, p_.linear);
  multiply(list, Pass::forward, name + "_down", a_.hidden, intermediate, p_.linear);
  save(name + " swiglu input", tokens_, 2 * intermediate, p_.linear);
  if (!recompute_.swiglu) save(name + " swiglu output", tokens_, intermediate, p_.linear);
}

void PartBuilder::gated_gradient(List& list, const std::string& name, int64_t intermediate) {
  constexpr Pass kPass = Pass::input_gradient;
  multiply(list, kPass, name + "_down input_gradient", intermediate, a_.hidden, p_.linear);
  stream(list, kPass, name + "_swiglu gradient", StreamKind::swiglu_backward, tokens_, intermediate,
         DataType::bf16, DataType::bf16);
  cast_gradient(list, name + "_gate_up gradient", tokens_, 2 * intermediate);
  multiply(list, kPass, name + "_gate_up input_gradient", a_.hidden, 2 * intermediate, p_.linear);
}

void PartBuilder::gated_weight_gradient(List& list, const std::string& name, int64_t intermediate) {
  if (recompute_.swiglu) {
    stream(list, Pass::weight_gradient, name + "_swiglu recompute", StreamKind::swiglu, tokens_,
           intermediate, p_.linear, p_.linear);
  }
  transpose_input(list, name + "_swiglu", tokens_, intermediate);
  weight_gradient(list, name + "_down", a_.hidden, intermediate, p_.linear);
  weight_gradient(list, name + "_gate_up", 2 * intermediate, a_.hidden, p_.linear);
  defer(name + " gradient", tokens_, a_.hidden);
  defer(name + "_gate_up gradient", tokens_, 2 * intermediate);
  defer(name + " swiglu", tokens_, intermediate);
  defer(name + " input", tokens_, a_.hidden);
}

void PartBuilder::dense_mlp() {
  norm(part_.experts, Pass::forward, "mlp_norm", a_.hidden, p_.linear);
  gated_forward(part_.experts, "mlp", a_.dense.intermediate);
  add(part_.after_combine, Pass::forward, "mlp_residual");

  cast_gradient(part_.start_gradient, "mlp gradient", tokens_, a_.hidden);
  gated_gradient(part_.experts_gradient, "mlp", a_.dense.intermediate);
  norm_gradient(part_.experts_gradient, "mlp_norm", a_.hidden);
  add(part_.experts_gradient, Pass::input_gradient, "mlp_residual gradient");

  List& weights = part_.experts_weight_gradient;
  if (recompute_.rms_norm) {
    norm(weights, Pass::weight_gradient, "mlp_norm recompute", a_.hidden, p_.linear);
  }
  transpose_input(weights, "mlp_norm", tokens_, a_.hidden);
  gated_weight_gradient(weights, "mlp", a_.dense.intermediate);
}

void PartBuilder::gate() {
  const MixtureOfExperts& e = a_.moe;
  multiply(part_.before_dispatch, Pass::forward, "gate", e.experts, a_.hidden, DataType::bf16);
  stream(part_.before_dispatch, Pass::forward, "gate_top_k", StreamKind::gate_top_k, tokens_,
         e.experts, DataType::bf16, DataType::bf16, static_cast<int>(e.top_k));
  save("gate scores", tokens_, e.experts, DataType::bf16);
  save("gate choice", tokens_, 2 * e.top_k, DataType::fp32);  // ids and weights
}

void PartBuilder::routed_forward() {
  const MixtureOfExperts& e = a_.moe;
  List& list = part_.experts;
  stream(list, Pass::forward, "permute", StreamKind::permute, routed_, a_.hidden, p_.dispatch,
         p_.dispatch);
  if (fp8_ && p_.dispatch != p_.linear) {
    stream(list, Pass::forward, "expert_input cast", StreamKind::quantize, routed_, a_.hidden,
           p_.dispatch, p_.linear);
  }
  grouped(list, Pass::forward, "expert_gate_up", 2 * e.intermediate, a_.hidden);
  stream(list, Pass::forward, "expert_swiglu", StreamKind::swiglu, routed_, e.intermediate,
         DataType::bf16, p_.linear);
  grouped(list, Pass::forward, "expert_down", a_.hidden, e.intermediate);
  stream(list, Pass::forward, "unpermute", StreamKind::unpermute, routed_, a_.hidden,
         DataType::bf16, DataType::bf16);
  save("expert input", routed_, a_.hidden, p_.linear);
  save("expert swiglu input", routed_, 2 * e.intermediate, p_.linear);
  if (!recompute_.swiglu) save("expert swiglu output", routed_, e.intermediate, p_.linear);
}

void PartBuilder::routed_gradient() {
  const MixtureOfExperts& e = a_.moe;
  constexpr Pass kPass = Pass::input_gradient;
  List& list = part_.experts_gradient;
  stream(list, kPass, "permute gradient", StreamKind::permute, routed_, a_.hidden, p_.dispatch,
         p_.dispatch);
  if (fp8_ && p_.dispatch != p_.linear) {
    stream(list, kPass, "expert_output gradient cast", StreamKind::quantize, routed_, a_.hidden,
           p_.dispatch, p_.linear);
  }
  grouped(list, kPass, "expert_down input_gradient", e.intermediate, a_.hidden);
  stream(list, kPass, "expert_swiglu gradient", StreamKind::swiglu_backward, routed_,
         e.intermediate, DataType::bf16, DataType::bf16);
  cast_gradient(list, "expert_gate_up gradient", routed_, 2 * e.intermediate);
  grouped(list, kPass, "expert_gate_up input_gradient", a_.hidden, 2 * e.intermediate);
  stream(list, kPass, "unpermute gradient", StreamKind::unpermute, routed_, a_.hidden,
         DataType::bf16, DataType::bf16);
}

void PartBuilder::routed_weight_gradient() {
  const MixtureOfExperts& e = a_.moe;
  List& list = part_.experts_weight_gradient;
  if (recompute_.swiglu) {
    stream(list, Pass::weight_gradient, "expert_swiglu recompute", StreamKind::swiglu, routed_,
           e.intermediate, p_.linear, p_.linear);
  }
  transpose_input(list, "expert_swiglu", routed_, e.intermediate);
  transpose_input(list, "expert_output gradient", routed_, a_.hidden);
  grouped_weight_gradient(list, "expert_down", a_.hidden, e.intermediate);
  transpose_input(list, "expert_input", routed_, a_.hidden);
  grouped_weight_gradient(list, "expert_gate_up", 2 * e.intermediate, a_.hidden);
  defer("expert gradient", routed_, a_.hidden);
  defer("expert_gate_up gradient", routed_, 2 * e.intermediate);
  defer("expert swiglu", routed_, e.intermediate);
  defer("expert input", routed_, a_.hidden);
}

void PartBuilder::expert_mlp() {
  const MixtureOfExperts& e = a_.moe;
  const int64_t shared = e.shared_experts * e.intermediate;
  part_.exchanges = true;
  norm(part_.before_dispatch, Pass::forward, "mlp_norm", a_.hidden, p_.linear);
  gate();
  if (shared > 0) gated_forward(part_.experts, "shared", shared);
  routed_forward();
  add(part_.after_combine, Pass::forward, "mlp_residual");

  cast_gradient(part_.start_gradient, "mlp gradient", tokens_, a_.hidden);
  if (shared > 0) gated_gradient(part_.experts_gradient, "shared", shared);
  routed_gradient();
  // What the exchange brings back meets the shared expert's, the gate's and the residual's.
  List attention = std::exchange(part_.finish_gradient, {});
  List& finish = part_.finish_gradient;
  multiply(finish, Pass::input_gradient, "gate input_gradient", a_.hidden, e.experts,
           DataType::bf16);
  add(finish, Pass::input_gradient, "mlp_input gradient");
  norm_gradient(finish, "mlp_norm", a_.hidden);
  add(finish, Pass::input_gradient, "mlp_residual gradient");
  append(finish, std::move(attention));

  routed_weight_gradient();
  List& weights = part_.experts_weight_gradient;
  if (recompute_.rms_norm) {
    norm(weights, Pass::weight_gradient, "mlp_norm recompute", a_.hidden, p_.linear);
  }
  if (shared > 0) {
    transpose_input(weights, "mlp_norm", tokens_, a_.hidden);
    gated_weight_gradient(weights, "shared", shared);
  }
  weight_gradient(part_.finish_weight_gradient, "gate", e.experts, a_.hidden, DataType::bf16);
}

void PartBuilder::embedding() {
  stream(part_.before_dispatch, Pass::forward, "embedding", StreamKind::embedding, tokens_,
         a_.hidden, DataType::bf16, DataType::bf16);
  stream(part_.finish_weight_gradient, Pass::weight_gradient, "embedding gradient",
         StreamKind::embedding_backward, tokens_, a_.hidden, DataType::bf16, p_.gradients);
  defer("embedding gradient", tokens_, a_.hidden);
}

void PartBuilder::head() {
  List& forward = part_.after_combine;
  norm(forward, Pass::forward, "final_norm", a_.hidden, DataType::bf16);
  multiply(forward, Pass::forward, "head", a_.vocabulary, a_.hidden, DataType::bf16);
  stream(forward, Pass::forward, "loss", StreamKind::softmax_cross_entropy, tokens_, a_.vocabulary,
         DataType::bf16, DataType::bf16);
  save("head input", tokens_, a_.hidden, DataType::bf16);
  save("logits' gradient", tokens_, a_.vocabulary, DataType::bf16);
  if (!recompute_.rms_norm) save("head norm", tokens_, a_.hidden, DataType::bf16);

  List gradient;
  multiply(gradient, Pass::input_gradient, "head input_gradient", a_.hidden, a_.vocabulary,
           DataType::bf16);
  norm_gradient(gradient, "final_norm", a_.hidden);
  append(gradient, std::exchange(part_.start_gradient, {}));
  part_.start_gradient = std::move(gradient);

  List weights;
  if (recompute_.rms_norm) {
    norm(weights, Pass::weight_gradient, "final_norm recompute", a_.hidden, DataType::bf16);
  }
  weight_gradient(weights, "head", a_.vocabulary, a_.hidden, DataType::bf16);
  append(weights, std::exchange(part_.experts_weight_gradient, {}));
  part_.experts_weight_gradient = std::move(weights);
}

void PartBuilder::mtp_entry() {
  List& forward = part_.before_dispatch;
  stream(forward, Pass::forward, "mtp_embedding", StreamKind::embedding, tokens_, a_.hidden,
         DataType::bf16, DataType::bf16);
  norm(forward, Pass::forward, "mtp_hidden_norm", a_.hidden, p_.linear);
  norm(forward, Pass::forward, "mtp_embedding_norm", a_.hidden, p_.linear);
  multiply(forward, Pass::forward, "mtp_projection", a_.hidden, 2 * a_.hidden, p_.linear);
  save("mtp input", tokens_, 2 * a_.hidden, DataType::bf16);
  if (!recompute_.rms_norm) save("mtp norms", tokens_, 2 * a_.hidden, p_.linear);
}

void PartBuilder::mtp_exit() {
  List& gradient = part_.finish_gradient;
  cast_gradient(gradient, "mtp_projection gradient", tokens_, a_.hidden);
  multiply(gradient, Pass::input_gradient, "mtp_projection input_gradient", 2 * a_.hidden,
           a_.hidden, p_.linear);
  norm_gradient(gradient, "mtp_hidden_norm", a_.hidden);
  norm_gradient(gradient, "mtp_embedding_norm", a_.hidden);
  List& weights = part_.finish_weight_gradient;
  if (recompute_.rms_norm) {
    norm(weights, Pass::weight_gradient, "mtp_hidden_norm recompute", a_.hidden, p_.linear);
    norm(weights, Pass::weight_gradient, "mtp_embedding_norm recompute", a_.hidden, p_.linear);
  }
  transpose_input(weights, "mtp_input", tokens_, 2 * a_.hidden);
  weight_gradient(weights, "mtp_projection", a_.hidden, 2 * a_.hidden, p_.linear);
  stream(weights, Pass::weight_gradient, "mtp_embedding gradient", StreamKind::embedding_backward,
         tokens_, a_.hidden, DataType::bf16, p_.gradients);
  defer("mtp gradient", tokens_, a_.hidden);
  defer("mtp input", tokens_, 2 * a_.hidden);
}

namespace {

/// Throws core::Refusal for layers whose kernels are not written down here.
void refuse_unmodelled(const Architecture& a) {
  const auto refuse = [&](const char* what) {
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("training {} is not modelled: {}", a.name, what));
  };
  if (a.grouped_query()) refuse("its attention is not multi-head latent attention");
  if (std::get<LatentAttention>(a.attention).sparse) refuse("its attention is sparse");
  if (a.norm != NormKind::rms) refuse("its norms are not RMS norms");
  if (!a.dense.gated || a.dense.activation != Activation::silu) refuse("its MLPs are not SwiGLU");
  if (a.tied_embeddings) refuse("embedding and head share their table");
  if (a.vision) refuse("it has a vision encoder");
}

}  // namespace

Lowering::Lowering(const Architecture& architecture, const PrecisionRecipe& precision,
                   const RecomputeChoice& recompute, std::int64_t sequences,
                   std::int64_t sequence_length, std::vector<std::int64_t> expert_rows)
    : architecture_(architecture),
      precision_(precision),
      recompute_(recompute),
      sequences_(sequences),
      sequence_length_(sequence_length),
      tokens_(sequences * sequence_length),
      expert_rows_(std::move(expert_rows)) {
  const auto refuse = [](const std::string& reason) {
    throw core::Refusal(core::RefusalKind::outside_model, reason);
  };
  const auto known = [](DataType type) {
    return type == DataType::bf16 || type == DataType::fp8_block;
  };
  refuse_unmodelled(architecture);
  if (!known(precision.linear)) {
    refuse(fmt::format("training in {} is not modelled; recipes are bf16 and fp8_block",
                       core::to_string(precision.linear)));
  }
  if (precision.attention != DataType::bf16) {
    refuse(fmt::format("training attention in {} is not modelled; bf16 is",
                       core::to_string(precision.attention)));
  }
  if (!known(precision.dispatch) || precision.combine != DataType::bf16) {
    refuse("expert exchanges are modelled with bf16 or fp8_block dispatch and bf16 combine");
  }
  if (precision.dispatch == DataType::fp8_block && precision.linear == DataType::bf16) {
    refuse("fp8_block dispatch into bf16 experts is not modelled");
  }
}

PartWork Lowering::layer(std::int64_t number) const {
  PartBuilder builder(*this, fmt::format("layer {}", number));
  builder.attention();
  if (architecture_.kind(number) == LayerKind::dense) {
    builder.dense_mlp();
  } else {
    builder.expert_mlp();
  }
  return builder.take();
}

PartWork Lowering::embedding() const {
  PartBuilder builder(*this, "embedding");
  builder.embedding();
  return builder.take();
}

PartWork Lowering::head() const {
  PartBuilder builder(*this, "head");
  builder.head();
  return builder.take();
}

PartWork Lowering::mtp(std::int64_t number) const {
  PartBuilder builder(*this, fmt::format("mtp {}", number));
  builder.mtp_entry();
  builder.attention();
  builder.expert_mlp();
  builder.head();
  builder.mtp_exit();
  return builder.take();
}

namespace {

Work optimizer_stream(std::string name, StreamKind kind, double elements, DataType input,
                      DataType output, DataType state = DataType::fp32) {
  return {std::move(name),
          Stream{.kind = kind,
                 .rows = std::llround(elements),
                 .columns = 1,
                 .input = input,
                 .output = output,
                 .state = state},
          Pass::optimizer};
}

}  // namespace

std::vector<Work> gradient_norm_work(const OptimizerShare& share,
                                     const PrecisionRecipe& precision) {
  return {optimizer_stream("gradient_clip", StreamKind::gradient_clip,
                           share.low_precision + share.high_precision, precision.gradients,
                           precision.gradients)};
}

std::vector<Work> update_work(const OptimizerShare& share, const PrecisionRecipe& precision) {
  std::vector<Work> list;
  if (share.low_precision > 0) {
    list.push_back(optimizer_stream("adamw", StreamKind::adamw, share.low_precision,
                                    precision.gradients, precision.linear, precision.moments));
  }
  if (share.high_precision > 0) {
    list.push_back(optimizer_stream("adamw", StreamKind::adamw, share.high_precision,
                                    precision.gradients, DataType::bf16, precision.moments));
  }
  return list;
}

std::vector<Work> after_gather_work(const OptimizerShare& share, const PrecisionRecipe& precision) {
  if (precision.linear == DataType::bf16 || share.held <= 0) return {};
  return {optimizer_stream("weight transpose", StreamKind::transpose, share.held, precision.linear,
                           precision.linear)};
}

}  // namespace tessera::workload
