#include "models/workload/forward_builder.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "models/workload/part_builder.hpp"

/// MLPs, mixtures of experts, embedding and head of inference.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

namespace {

double bf16_bytes(int64_t rows, int64_t columns) {
  return static_cast<double>(rows) * static_cast<double>(columns) *
         activation_bytes(DataType::bf16);
}

bool contains(const std::vector<DataType>& types, DataType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

/// Rows as their products read them.
DataType stored_as(DataType type) { return needs_cast(type) ? type : DataType::bf16; }

}  // namespace

ForwardBuilder::ForwardBuilder(const InferenceLowering::Job& job, std::string name)
    : job_(job),
      a_(job.architecture),
      p_(job.precision),
      engine_(job.engine.get()),
      tokens_(job.pass.tokens()),
      routed_(std::accumulate(job.expert_rows.begin(), job.expert_rows.end(), int64_t{0})) {
  part_.name = std::move(name);
}

void ForwardBuilder::stream(Steps& list, std::string name, StreamKind kind, int64_t rows,
                            int64_t columns, DataType input, DataType output, int fan) {
  kernel(list, std::move(name),
         Stream{.kind = kind,
                .rows = std::max<int64_t>(1, rows),
                .columns = columns,
                .input = input,
                .output = output,
                .fan = fan});
}

void ForwardBuilder::transfer(Steps& list, std::string name, Kind kind, Group group,
                              double bytes) const {
  const int64_t ranks = group == Group::tensor          ? job_.split.tensor
                        : group == Group::expert_tensor ? job_.split.expert_tensor
                                                        : job_.split.gpus();
  if (ranks > 1) list.push_back({Transfer{std::move(name), kind, group, bytes, Pass::forward}});
}

void ForwardBuilder::add_norm(Steps& list, std::string name, int64_t rows, bool summed,
                              DataType next) const {
  if (normalised(summed)) return;
  stream(list, std::move(name), StreamKind::add_rms_norm, rows, a_.hidden, DataType::bf16,
         casts_normed(next, summed) ? DataType::bf16 : stored_as(next));
}

bool ForwardBuilder::normalised(bool summed) const {
  return engine_ && engine_->fusions().sum_normalises && summed;
}

bool ForwardBuilder::casts_normed(DataType type, bool summed) const {
  if (!needs_cast(type) || !engine_) return needs_cast(type);
  const EngineFusions& fusions = engine_->fusions();
  return !contains(normalised(summed) ? fusions.sum_casts : fusions.norm_casts, type);
}

bool ForwardBuilder::casts_activated(DataType type) const {
  return needs_cast(type) && !(engine_ && contains(engine_->fusions().activation_casts, type));
}

void ForwardBuilder::cast(Steps& list, const std::string& name, int64_t rows, int64_t columns,
                          DataType type) {
  stream(list, name + " cast", StreamKind::quantize, rows, columns, DataType::bf16, type);
}

void ForwardBuilder::linear(Steps& list, const std::string& name, int64_t rows, int64_t n,
                            int64_t k, DataType type, bool casts) const {
  if (casts && needs_cast(type)) cast(list, name, rows, k, type);
  const Gemm gemm{.m = rows, .n = n, .k = k, .type = type};
  if (engine_)
    list.push_back({engine_->product(name, gemm)});
  else
    kernel(list, name, gemm);
}

void ForwardBuilder::mlp(Steps& list, const std::string& name, int64_t rows, int64_t intermediate,
                         bool gated, bool casts) {
  linear(list, name + (gated ? "_gate_up" : "_up"), rows, (gated ? 2 : 1) * intermediate, a_.hidden,
         p_.linear, casts);
  const bool casts_down = casts_activated(p_.linear);
  stream(list, name + (gated ? "_swiglu" : "_gelu"), gated ? StreamKind::swiglu : StreamKind::gelu,
         rows, intermediate, DataType::bf16, casts_down ? DataType::bf16 : stored_as(p_.linear));
  linear(list, name + "_down", rows, a_.hidden, intermediate, p_.linear, casts_down);
}

void ForwardBuilder::feed_forward(const FeedForwardKind& kind) {
  exchanging_ = std::holds_alternative<MixtureOfExperts>(kind);
  // The attention output's partial sums; scattered where tensor ranks go on with tokens of their
  // own, and gathered before the next layer's attention.
  const double bytes = bf16_bytes(tokens_, a_.hidden);
  transfer(part_.attend, "attention sum", scatters() ? Kind::reduce_scatter : Kind::all_reduce,
           Group::tensor, bytes);
  if (const auto* dense = std::get_if<DenseFeedForward>(&kind)) {
    const bool summed = job_.split.tensor > 1;
    add_norm(part_.experts, "mlp_norm", tokens_, summed, p_.linear);
    mlp(part_.experts, "mlp", tokens_, dense->intermediate / job_.split.tensor, dense->gated,
        casts_normed(p_.linear, summed));
    transfer(part_.experts, "mlp sum", Kind::all_reduce, Group::tensor, bytes);
    return;
  }
  experts(std::get<MixtureOfExperts>(kind));
  if (scatters()) transfer(part_.finish, "token gather", Kind::all_gather, Group::tensor, bytes);
}

void ForwardBuilder::gate(const MixtureOfExperts& moe, bool chooses) {
  const int64_t rows = shard_rows();
  Steps& list = part_.attend;
  add_norm(list, "mlp_norm", rows, job_.split.tensor > 1 && !scatters());
  linear(list, "gate", rows, moe.experts, a_.hidden, DataType::bf16);
  if (!chooses) return;
  stream(list, "gate_top_k", StreamKind::gate_top_k, rows, moe.experts, DataType::bf16,
         DataType::bf16, static_cast<int>(moe.top_k));
}

void ForwardBuilder::experts(const MixtureOfExperts& moe) {
  const ExpertPath path = job_.split.path;
  const int64_t rows = shard_rows();
  part_.exchanges = path != ExpertPath::replicated && job_.split.gpus() > 1;
  gate(moe, part_.exchanges || !engine_);
  // Low-latency kernels cast what they send themselves.
  const bool cast_first =
      part_.exchanges && path != ExpertPath::low_latency && needs_cast(p_.dispatch);
  if (cast_first) cast(part_.attend, "token", rows, a_.hidden, p_.dispatch);
  // Beside an exchange shared experts are whole on every GPU, which has tokens of its own.
  const int64_t cut = part_.exchanges ? 1 : job_.split.tensor;
  if (moe.shared_experts > 0)
    mlp(part_.shared, "shared", rows, moe.shared_experts * moe.intermediate / cut, moe.gated,
        !cast_first || p_.dispatch != p_.linear);
  if (!part_.exchanges) return replicated_experts(moe);
  if (path == ExpertPath::low_latency) {
    around_low_latency(moe);
  } else {
    if (path == ExpertPath::all_to_all)
      stream(part_.attend, "token permute", StreamKind::permute, rows, a_.hidden, p_.dispatch,
             p_.dispatch, static_cast<int>(moe.top_k));
    sorted_experts(moe);
    if (path == ExpertPath::all_to_all)
      stream(part_.finish, "token unpermute", StreamKind::unpermute, rows, a_.hidden, p_.combine,
             DataType::bf16, static_cast<int>(moe.top_k));
  }
  if (moe.shared_experts > 0) stream(part_.finish, "shared add", StreamKind::add, rows, a_.hidden);
}

/// Rows that came by an exchange, put in the order of experts; a token's rows of this rank added.
void ForwardBuilder::sorted_experts(const MixtureOfExperts& moe) {
  Steps& list = part_.experts;
  if (needs_cast(p_.experts) && p_.dispatch != p_.experts)
    cast(list, "expert_input", routed_, a_.hidden, p_.experts);
  stream(list, "permute", StreamKind::permute, routed_, a_.hidden, stored(), stored());
  expert_products(moe, false);
  stream(list, "unpermute", StreamKind::unpermute, routed_, a_.hidden);
}

/// Every GPU has the tokens of all attention ranks, and sums its experts' outputs with the others.
void ForwardBuilder::replicated_experts(const MixtureOfExperts& moe) {
  const int64_t own = job_.split.attention_ranks();
  const int64_t tokens = tokens_ * own;
  const double bytes = bf16_bytes(tokens, a_.hidden);
  Steps& list = part_.experts;
  if (own > 1) transfer(list, "token gather", Kind::all_gather, Group::expert, bytes);
  if (engine_)
    engine_experts(moe, tokens);
  else
    usual_experts(moe, tokens);
  if (own > 1) {
    transfer(list, "expert sum", Kind::reduce_scatter, Group::expert, bytes);
    if (moe.shared_experts > 0)
      transfer(part_.shared, "shared sum", Kind::all_reduce, Group::tensor,
               bf16_bytes(tokens_, a_.hidden));
  }
  if (moe.shared_experts > 0)
    stream(part_.finish, "shared add", StreamKind::add, tokens_, a_.hidden);
  if (own == 1) transfer(part_.finish, "mlp sum", Kind::all_reduce, Group::expert, bytes);
}

/// What the engine runs from the choice of experts to their sum, and its shared experts beside.
void ForwardBuilder::engine_experts(const MixtureOfExperts& moe, int64_t tokens) {
  for (Step& step : engine_->routed_experts({.tokens = tokens,
                    .hidden = a_.hidden,
                    .intermediate = moe.intermediate,
                    .top_k = moe.top_k,
                    .experts = moe.experts,
                    .expert_ranks = job_.split.expert,
                    .expert_tensor = job_.split.expert_tensor,
                    .type = p_.experts,
                    .rows = job_.expert_rows}))
    part_.experts.push_back(std::move(step));
  if (tokens_ > engine_->fusions().shared_beside_tokens) return;
  for (Step& step : part_.shared)
    if (auto* work = std::get_if<Work>(&step.what)) work->beside = true;
}

void ForwardBuilder::usual_experts(const MixtureOfExperts& moe, int64_t tokens) {
  Steps& list = part_.experts;
  if (needs_cast(p_.experts)) cast(list, "expert_input", tokens, a_.hidden, p_.experts);
  stream(list, "expert sort", StreamKind::copy, tokens * moe.top_k, 1, DataType::fp32,
         DataType::fp32);
  stream(list, "permute", StreamKind::permute, routed_, a_.hidden, stored(), stored());
  expert_products(moe, false);
  // As many bytes as reading every row of this GPU and writing every token.
  if (routed_ >= tokens)
    stream(list, "unpermute", StreamKind::unpermute, tokens, a_.hidden, DataType::bf16,
           DataType::bf16, static_cast<int>((routed_ + tokens / 2) / tokens));
  else
    stream(list, "unpermute", StreamKind::unpermute, (routed_ + tokens) / 2, a_.hidden);
}

/// Both products and the activation between them, which casts its output.
void ForwardBuilder::expert_products(const MixtureOfExperts& moe, bool masked) {
  const int64_t intermediate = moe.intermediate / job_.split.expert_tensor;
  Steps& list = part_.experts;
  if (part_.exchanges)
    transfer(list, "expert_input gather", Kind::all_gather, Group::expert_tensor,
             static_cast<double>(routed_ * a_.hidden) * activation_bytes(p_.dispatch));
  GroupedGemm product{.sizes = job_.expert_rows,
                      .n = (moe.gated ? 2 : 1) * intermediate,
                      .fixed = a_.hidden,
                      .type = p_.experts,
                      .masked = masked};
  kernel(list, moe.gated ? "expert_gate_up" : "expert_up", product);
  stream(list, moe.gated ? "expert_swiglu" : "expert_gelu",
         moe.gated ? StreamKind::swiglu : StreamKind::gelu, routed_, intermediate, DataType::bf16,
         stored());
  product.n = a_.hidden;
  product.fixed = intermediate;
  kernel(list, "expert_down", product);
  if (part_.exchanges)
    transfer(list, "expert_output sum", Kind::reduce_scatter, Group::expert_tensor,
             bf16_bytes(routed_, a_.hidden));
}

/// The SMs' part of low-latency exchanges: before the dispatch each token is cast and written to a
/// send buffer once an expert, after it rows are packed by expert; before the combine rows go to
/// send buffers, after it each token adds its experts' rows (DeepEP, internode_ll.cu).
void ForwardBuilder::around_low_latency(const MixtureOfExperts& moe) {
  const int64_t rows = shard_rows();
  kernel(part_.send, "dispatch send",
         Exchange{.direction = Exchange::Direction::dispatch,
                  .tokens = rows,
                  .hidden = a_.hidden,
                  .copies = static_cast<double>(moe.top_k),
                  .type = p_.dispatch});
  stream(part_.received, "dispatch receive", StreamKind::copy, routed_, a_.hidden, p_.dispatch,
         p_.dispatch);
  if (needs_cast(p_.experts) && p_.dispatch != p_.experts)
    cast(part_.received, "expert_input", routed_, a_.hidden, p_.experts);
  expert_products(moe, true);
  stream(part_.returning, "combine send", StreamKind::copy, routed_, a_.hidden, p_.combine,
         p_.combine);
  stream(part_.returned, "combine receive", StreamKind::unpermute, rows, a_.hidden, p_.combine,
         DataType::bf16, static_cast<int>(moe.top_k));
}

void ForwardBuilder::embedding() {
  stream(part_.project, "embedding", StreamKind::embedding, tokens_, a_.hidden);
  transfer(part_.project, "embedding sum", Kind::all_reduce, Group::tensor,
           bf16_bytes(tokens_, a_.hidden));
}

void ForwardBuilder::head(int64_t rows) {
  const int64_t tensor = job_.split.tensor;
  const int64_t words = (a_.vocabulary + tensor - 1) / tensor;
  add_norm(part_.finish, "final_norm", rows, layers_end_summed());
  linear(part_.finish, "head", rows, words, a_.hidden, DataType::bf16);
  transfer(part_.finish, "logits gather", Kind::all_gather, Group::tensor,
           bf16_bytes(rows, a_.vocabulary));
  stream(part_.finish, "sampling", StreamKind::softmax, rows, a_.vocabulary);
}

void ForwardBuilder::mtp_entry() {
  Steps& list = part_.project;
  stream(list, "mtp_embedding", StreamKind::embedding, tokens_, a_.hidden);
  norm(list, "mtp_embedding_norm", tokens_, a_.hidden);
  norm(list, "mtp_hidden_norm", tokens_, a_.hidden);
  linear(list, "mtp_projection", tokens_, a_.hidden, 2 * a_.hidden, p_.linear);
}

}  // namespace tessera::workload
