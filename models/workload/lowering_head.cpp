#include "models/workload/part_builder.hpp"

/// Embedding, head and multi-token prediction, and their gradients.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

namespace {

/// Rows of a table that one tensor rank holds; the table is padded to fill them.
int64_t vocabulary_share(const Architecture& a, int64_t tensor) {
  return (a.vocabulary + tensor - 1) / tensor;
}

}  // namespace

/// Rows of words that other ranks hold come out as zeros: ranks are summed (arXiv 1909.08053,
/// section 3).
void PartBuilder::table_transfer(Steps& list, Pass pass, const std::string& name) {
  transfer(list, pass, name, gathers() ? Kind::reduce_scatter : Kind::all_reduce, Group::tensor,
           static_cast<double>(tokens_ * a_.hidden) * activation_bytes(DataType::bf16));
}

void PartBuilder::embedding() {
  Steps& list = part_.before_dispatch;
  stream(list, Pass::forward, "embedding", StreamKind::embedding, tokens_, a_.hidden,
         DataType::bf16, DataType::bf16);
  table_transfer(list, Pass::forward, "embedding sum");
  if (a_.positions == Positions::learned)
    stream(list, Pass::forward, "position add", StreamKind::add, shard_rows(), a_.hidden,
           DataType::bf16, DataType::bf16);
  const Gradients g = finish();
  if (gathers())
    g.weights.push_back({Transfer{
        .name = "embedding gradient gather",
        .kind = Kind::all_gather,
        .group = Group::tensor,
        .bytes = static_cast<double>(tokens_ * a_.hidden) * activation_bytes(DataType::bf16),
        .pass = Pass::weight_gradient}});
  weight_stream(g, "embedding gradient", StreamKind::embedding_backward, tokens_, a_.hidden,
                DataType::bf16, p_.gradients);
  if (a_.positions == Positions::learned)
    weight_stream(g, "position gradient", StreamKind::embedding_backward, shard_rows(), a_.hidden,
                  DataType::bf16, p_.gradients);
  defer("embedding gradient", tokens_, a_.hidden, linear_);
}

/// Logits of this rank's words for all tokens; the loss needs each token's maximum, its sum of
/// exponentials and the logit of the right word from all ranks (arXiv 1909.08053, section 3).
void PartBuilder::head_forward() {
  Steps& list = part_.after_combine;
  const int64_t words = vocabulary_share(a_, split_.tensor);
  const Linear head{.name = "head",
                    .input = "final_norm",
                    .n = words,
                    .k = a_.hidden,
                    .cut = Linear::Cut::columns,
                    .defers = false};
  norm(list, Pass::forward, "final_norm", shard_rows(), a_.hidden, DataType::bf16);
  multiply(list, Pass::forward, head);
  stream(list, Pass::forward, "loss", StreamKind::softmax_cross_entropy, tokens_, words,
         DataType::bf16, DataType::bf16);
  for (const char* what : {"loss maximum", "loss sum", "loss logit"})
    transfer(list, Pass::forward, what, Kind::all_reduce, Group::tensor,
             static_cast<double>(tokens_) * activation_bytes(DataType::fp32));
  save("head input", shard_rows(), a_.hidden, DataType::bf16);
  save("logits' gradient", tokens_, words, DataType::bf16);
  if (!recompute_.rms_norm) save("head norm", shard_rows(), a_.hidden, DataType::bf16);
}

void PartBuilder::head_gradient() {
  const Linear head{.name = "head",
                    .input = "final_norm",
                    .n = vocabulary_share(a_, split_.tensor),
                    .k = a_.hidden,
                    .cut = Linear::Cut::columns,
                    .defers = false};
  const Gradients g = start();
  if (recompute_.rms_norm)
    weight_norm(g, "final_norm recompute", shard_rows(), a_.hidden, DataType::bf16);
  multiply_gradients(g, head, Producer::norm);
  norm_gradient(g.inputs, "final_norm", shard_rows(), a_.hidden);
  train_metrics(g.inputs, head.n);
}

/// Timed where the head's gradients are: when in the chunk they run changes nothing.
void PartBuilder::train_metrics(Steps& list, int64_t words) {
  const auto read = [&](const std::string& name, StreamKind kind, DataType input) {
    stream(list, Pass::input_gradient, name, kind, tokens_, words, input, DataType::fp32);
    std::get<Work>(list.back().what).after_backward = true;
  };
  for (int64_t metric = 0; metric < job_.kernels.train_metrics; ++metric) {
    read("metric logits cast", StreamKind::copy, DataType::bf16);
    read("metric log_softmax", StreamKind::softmax, DataType::fp32);
  }
}

/// The projection is whole on every tensor rank, which multiplies its own tokens.
void PartBuilder::mtp_entry() {
  Steps& list = part_.before_dispatch;
  const Linear projection{.name = "mtp_projection",
                          .input = "mtp_input",
                          .n = a_.hidden,
                          .k = 2 * a_.hidden,
                          .type = linear_};
  save("mtp input", shard_rows(), 2 * a_.hidden, DataType::bf16);
  stream(list, Pass::forward, "mtp_embedding", StreamKind::embedding, tokens_, a_.hidden,
         DataType::bf16, DataType::bf16);
  table_transfer(list, Pass::forward, "mtp_embedding sum");
  norm(list, Pass::forward, "mtp_hidden_norm", shard_rows(), a_.hidden, norm_output());
  norm(list, Pass::forward, "mtp_embedding_norm", shard_rows(), a_.hidden, norm_output());
  cast_input(list, Pass::forward, projection, Producer::norm);
  multiply(list, Pass::forward, projection);
  if (!recompute_.rms_norm) save_input(projection);
}

void PartBuilder::mtp_exit() {
  const Linear projection{.name = "mtp_projection",
                          .input = "mtp_input",
                          .n = a_.hidden,
                          .k = 2 * a_.hidden,
                          .type = linear_};
  const Gradients g = finish();
  enter_gradient(g.inputs, projection, "mtp_projection gradient");
  if (recompute_.rms_norm) {
    weight_norm(g, "mtp_hidden_norm recompute", shard_rows(), a_.hidden, norm_output());
    weight_norm(g, "mtp_embedding_norm recompute", shard_rows(), a_.hidden, norm_output());
  }
  multiply_gradients(g, projection, Producer::norm);
  norm_gradient(g.inputs, "mtp_hidden_norm", shard_rows(), a_.hidden);
  norm_gradient(g.inputs, "mtp_embedding_norm", shard_rows(), a_.hidden);
  weight_stream(g, "mtp_embedding gradient", StreamKind::embedding_backward, tokens_, a_.hidden,
                DataType::bf16, p_.gradients);
}

}  // namespace tessera::workload
