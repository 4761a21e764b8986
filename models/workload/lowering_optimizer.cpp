#include <cmath>
#include <utility>

#include "models/workload/lowering.hpp"
#include "models/workload/parameters.hpp"

/// What a step does once, outside of its micro-batches: norm, update, and weights made ready.
namespace tessera::workload {
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

std::vector<Work> gradient_norm_work(const OptimizerShare& share, const PrecisionRecipe& precision,
                                     const KernelChoice& kernels) {
  const double elements = share.low_precision + share.high_precision;
  std::vector<Work> list{optimizer_stream("gradient_clip", StreamKind::gradient_clip, elements,
                                          precision.gradients, precision.gradients)};
  // Scaled whether or not the norm is too large, so that the host need not know it
  // (torch/distributed/fsdp/fully_sharded_data_parallel.py, clip_grad_norm_).
  if (kernels.eager)
    list.push_back(optimizer_stream("gradient scale", StreamKind::copy, elements,
                                    precision.gradients, precision.gradients));
  return list;
}

namespace {

/// Copies of a low-precision weight: products that read either way need one, others two.
int weight_copies(const PrecisionRecipe& precision) {
  if (precision.linear == DataType::bf16) return 1;
  return precision.linear == DataType::fp8 && !precision.transposed_copies ? 1 : 2;
}

/// AdamW operation by operation (composer/optim/decoupled_weight_decay.py, DecoupledAdamW.adamw):
/// gradients and moments have the weights' type, as PyTorch wants them, and no weight is cast.
std::vector<Work> eager_update(double elements, DataType type) {
  std::vector<Work> list;
  const auto pass = [&](const char* name, StreamKind kind) {
    list.push_back(optimizer_stream(std::string("adamw ") + name, kind, elements, type, type));
  };
  pass("decay", StreamKind::copy);
  pass("mean decay", StreamKind::copy);
  pass("mean", StreamKind::add);
  pass("square decay", StreamKind::copy);
  pass("square", StreamKind::add);
  pass("root", StreamKind::copy);
  pass("root correction", StreamKind::copy);
  pass("epsilon", StreamKind::copy);
  // Weights, mean and root are read as three summands are, and rows have no index of their own.
  constexpr std::int64_t kColumns = 1024;
  pass("quotient", StreamKind::unpermute);
  auto& quotient = std::get<Stream>(list.back().op);
  quotient.rows = (quotient.rows + kColumns - 1) / kColumns;
  quotient.columns = kColumns;
  quotient.fan = 3;
  return list;
}

/// Whether a weight's scale has to be found before it is cast.
bool reads_maximum(const PrecisionRecipe& precision) {
  return precision.linear == DataType::nvfp4 ||
         (precision.linear == DataType::fp8 && precision.scaling == TensorScaling::current);
}

}  // namespace

std::vector<Work> update_work(const OptimizerShare& share, const PrecisionRecipe& precision,
                              bool gathered_low, const KernelChoice& kernels) {
  if (kernels.eager)
    return eager_update(share.low_precision + share.high_precision, precision.master_weights);
  std::vector<Work> list;
  if (share.low_precision > 0) {
    list.push_back(
        optimizer_stream("adamw", StreamKind::adamw, share.low_precision, precision.gradients,
                         gathered_low ? precision.linear : DataType::bf16, precision.moments));
    if (gathered_low && reads_maximum(precision))  // the cast then reads the master weights again
      list.push_back(optimizer_stream("weight amax", StreamKind::compute_scale, share.low_precision,
                                      precision.master_weights, precision.linear));
  }
  if (share.high_precision > 0) {
    list.push_back(optimizer_stream("adamw", StreamKind::adamw, share.high_precision,
                                    precision.gradients, DataType::bf16, precision.moments));
  }
  return list;
}

std::vector<Work> after_gather_work(const OptimizerShare& share, const PrecisionRecipe& precision,
                                    bool gathered_low) {
  if (precision.linear == DataType::bf16 || share.held <= 0) return {};
  const bool both = weight_copies(precision) == 2;
  const DataType type = precision.linear;
  if (gathered_low) {
    if (!both) return {};
    return {optimizer_stream("weight transpose", StreamKind::transpose, share.held, type, type)};
  }
  std::vector<Work> list;
  if (reads_maximum(precision))
    list.push_back(optimizer_stream("weight amax", StreamKind::compute_scale, share.held,
                                    DataType::bf16, type));
  list.push_back(optimizer_stream("weight cast",
                                  both ? StreamKind::quantize_transpose : StreamKind::quantize,
                                  share.held, DataType::bf16, type));
  return list;
}

double low_precision_weight_bytes(const PrecisionRecipe& precision) {
  return weight_copies(precision) * weight_bytes(precision.linear);
}

double resident_weight_bytes(const PrecisionRecipe& precision, bool gathered_low) {
  const double bf16 = weight_bytes(DataType::bf16);
  const double low = low_precision_weight_bytes(precision);
  if (precision.linear == DataType::bf16) return low;
  // An MXFP8 copy is cast from BF16 weights that were gathered into the gradients' buffer
  // (Megatron-Core, --reuse-grad-buf-for-mxfp8-param-ag).
  const bool keeps_bf16 = !gathered_low && precision.linear != DataType::mxfp8;
  return low + (keeps_bf16 ? bf16 : 0);
}

}  // namespace tessera::workload
