#include "models/workload/part_builder.hpp"

#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

double activation_bytes(DataType type) {
  return core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type);
}
double weight_bytes(DataType type) {
  return core::weight_bits(type) / 8.0 + core::weight_scale_bytes(type);
}

namespace {

double elements(int64_t rows, int64_t columns) {
  return static_cast<double>(rows) * static_cast<double>(columns);
}

/// Types whose products want scales in the order of the tensor core's reads: 128 x 4 blocks.
/// Source: cuBLAS, "1D block scaling factors layout".
bool has_swizzled_scales(DataType type) {
  return type == DataType::mxfp8 || type == DataType::nvfp4;
}
int64_t scale_block(DataType type) { return type == DataType::nvfp4 ? 16 : 32; }

}  // namespace

PartBuilder::PartBuilder(const LoweringJob& job, std::string name, DataType linear)
    : job_(job),
      a_(job.architecture),
      p_(job.precision),
      recompute_(job.recompute),
      split_(job.split),
      linear_(linear),
      tokens_(job.sequences * job.sequence_length / job.split.context) {
  part_.name = std::move(name);
  routed_ = std::accumulate(job.expert_rows.begin(), job.expert_rows.end(), int64_t{0});
}

DataType PartBuilder::norm_output() const {
  const bool known_scale = linear_ == DataType::fp8 && p_.scaling == TensorScaling::delayed;
  return block() || known_scale ? linear_ : DataType::bf16;
}

int64_t PartBuilder::ranks(Group group) const {
  switch (group) {
    case Group::tensor:
      return split_.tensor;
    case Group::context:
      return split_.context;
    case Group::expert_tensor:
      return split_.expert_tensor;
    case Group::expert:
      return split_.expert;
  }
  return 1;
}

void PartBuilder::transfer(Steps& list, Pass pass, std::string name, Kind kind, Group group,
                           double bytes, int behind) {
  if (ranks(group) == 1) return;
  list.push_back({Transfer{.name = std::move(name),
                           .kind = kind,
                           .group = group,
                           .bytes = bytes,
                           .pass = pass,
                           .behind = behind}});
}

void PartBuilder::norm(Steps& list, Pass pass, const std::string& name, int64_t rows,
                       int64_t columns, DataType output) {
  stream(list, pass, name, StreamKind::rms_norm, rows, columns, DataType::bf16, output);
}
void PartBuilder::norm_gradient(Steps& list, const std::string& name, int64_t rows,
                                int64_t columns) {
  stream(list, Pass::input_gradient, name + " gradient", StreamKind::rms_norm_backward, rows,
         columns, DataType::bf16, DataType::bf16);
  if (job_.kernels.eager)  // sums dy and dy x over rows
    stream(list, Pass::input_gradient, name + " weight gradient", StreamKind::column_sum, rows,
           2 * columns, DataType::bf16, DataType::bf16);
}
void PartBuilder::weight_norm(Gradients g, const std::string& name, int64_t rows, int64_t columns,
                              DataType output) {
  weight_stream(g, name, StreamKind::rms_norm, rows, columns, DataType::bf16, output);
}
void PartBuilder::add(Steps& list, Pass pass, const std::string& name) {
  stream(list, pass, name, StreamKind::add, shard_rows(), a_.hidden, DataType::bf16,
         DataType::bf16);
}
void PartBuilder::save(const std::string& name, int64_t rows, int64_t columns,
                       double bytes_per_element, std::string format) {
  part_.saved.push_back({name, elements(rows, columns) * bytes_per_element, std::move(format)});
}
void PartBuilder::save(const std::string& name, int64_t rows, int64_t columns, DataType type) {
  save(name, rows, columns, activation_bytes(type), std::string{core::to_string(type)});
}
void PartBuilder::defer(const std::string& name, int64_t rows, int64_t columns, DataType type) {
  part_.deferred.push_back(
      {name, elements(rows, columns) * activation_bytes(type), std::string{core::to_string(type)}});
}
void PartBuilder::save_input(const Linear& l) { save(l.input, input_rows(l), l.k, l.type); }

void PartBuilder::assemble_gradients(double elements) {
  if (!job_.kernels.eager) return;
  weight_stream(finish(), "weight gradients assembly", StreamKind::copy, std::llround(elements), 1,
                DataType::bf16, DataType::bf16);
}

void PartBuilder::recompute_all() {
  part_.recomputes_forward = true;
  part_.recomputed.assign(part_.saved.begin() + 1, part_.saved.end());
  part_.saved.resize(1);
}

/// Scales of both operands of a product, from the order in which casts write them.
void PartBuilder::swizzle_scales(Steps& list, Pass pass, const std::string& name, int64_t rows,
                                 int64_t k, int ready) {
  if (!has_swizzled_scales(linear_)) return;
  list.push_back({Work{name + " scales swizzle",
                       Stream{.kind = StreamKind::copy,
                              .rows = rows,
                              .columns = (k + scale_block(linear_) - 1) / scale_block(linear_),
                              .input = DataType::fp8,  // a scale is one byte
                              .output = DataType::fp8},
                       pass},
                  ready});
}

/// The maximum of a tensor that is gathered is that of all its parts (Transformer Engine,
/// module/linear.py, _customize_quantizers_float8_current_scaling: with_amax_reduction under
/// sequence parallelism, of what column-cut layers read and of gradients of row-cut ones).
void PartBuilder::find_maximum(Steps& list, Pass pass, const std::string& name, int64_t rows,
                               int64_t columns, bool gathered) {
  stream(list, pass, name + " amax", StreamKind::compute_scale, rows, columns, DataType::bf16,
         linear_);
  launch(list, 2);  // after its result is set to zero
  if (gathered)
    transfer(list, pass, name + " amax maximum", Kind::all_reduce, Group::tensor,
             activation_bytes(DataType::fp32));
  if (linear_ == DataType::fp8)  // recipe/current_scaling.cu, compute_scale_from_amax
    stream(list, pass, name + " scale", StreamKind::copy, 1, 1, DataType::fp32, DataType::fp32);
}

void PartBuilder::cast_input(Steps& list, Pass pass, const std::string& name, int64_t rows,
                             int64_t columns, Producer producer, bool gathered) {
  const auto cast = [&](StreamKind kind) {
    stream(list, pass, name + " cast", kind, rows, columns, DataType::bf16, linear_);
  };
  switch (linear_) {
    case DataType::fp8_block:
      if (producer == Producer::attention) cast(StreamKind::quantize);
      return;
    case DataType::fp8:
      if (producer == Producer::norm && norm_output() == linear_) return;
      if (p_.scaling == TensorScaling::current)
        find_maximum(list, pass, name, rows, columns, gathered);
      // What is gathered is transposed afterwards: rows of other ranks belong to it.
      cast(p_.transposed_copies && !gathered ? StreamKind::quantize_transpose
                                             : StreamKind::quantize);
      return;
    case DataType::nvfp4:  // for the FP32 scale of the whole tensor
      find_maximum(list, pass, name, rows, columns, gathered);
      cast(StreamKind::quantize_transpose);
      return;
    case DataType::mxfp8:
      cast(StreamKind::quantize_transpose);
      return;
    default:
      return;
  }
}

void PartBuilder::cast_gradient(Steps& list, const std::string& name, int64_t rows, int64_t columns,
                                bool gathered) {
  constexpr Pass kPass = Pass::input_gradient;
  const bool current = linear_ == DataType::fp8 && p_.scaling == TensorScaling::current;
  if (current || linear_ == DataType::nvfp4)
    find_maximum(list, kPass, name, rows, columns, gathered);
  const bool later = gathered && (linear_ == DataType::fp8 || block());
  const bool both = linear_ != DataType::fp8 || p_.transposed_copies;
  if (linear_ != DataType::bf16)
    stream(list, kPass, name + " cast",
           both && !later ? StreamKind::quantize_transpose : StreamKind::quantize, rows, columns,
           DataType::bf16, linear_);
}

void PartBuilder::transpose_input(Gradients g, const std::string& name, int64_t rows,
                                  int64_t columns, Producer producer, bool gathered) {
  const bool fused = producer == Producer::norm && norm_output() == linear_;
  const bool fp8 = linear_ == DataType::fp8 && p_.transposed_copies && (gathered || fused);
  if (block() || fp8)
    weight_stream(g, name + " transpose", StreamKind::transpose, rows, columns, linear_, linear_);
}

void PartBuilder::multiply(Steps& list, Pass pass, const Linear& l, const std::string& suffix) {
  const int64_t rows = product_rows(l);
  if (split_.tensor_overlap && gathers() && l.cut != Linear::Cut::none)
    return overlapped_multiply(list, pass, l, suffix);
  if (l.cut == Linear::Cut::columns && gathers())
    transfer(list, pass, l.input + suffix + " gather", Kind::all_gather, Group::tensor,
             elements(rows, l.k) * activation_bytes(l.type));
  if (l.type == linear_) swizzle_scales(list, pass, l.name + suffix, rows + l.n, l.k);
  kernel(list, pass, l.name + suffix, Gemm{.m = rows, .n = l.n, .k = l.k, .type = l.type});
  enter_module(list);
  if (l.cut == Linear::Cut::rows)
    transfer(list, pass, l.name + suffix + " sum",
             gathers() ? Kind::reduce_scatter : Kind::all_reduce, Group::tensor,
             elements(rows, l.n) * activation_bytes(DataType::bf16));
}

/// As many products as ranks, each beside the message that brings the next one's rows or takes the
/// last one's sums away.
void PartBuilder::overlapped_multiply(Steps& list, Pass pass, const Linear& l,
                                      const std::string& suffix) {
  const bool columns = l.cut == Linear::Cut::columns;
  const int64_t rows = product_rows(l) / split_.tensor;
  const double bytes = columns ? elements(rows, l.k) * activation_bytes(l.type)
                               : elements(rows, l.n) * activation_bytes(DataType::bf16);
  const auto send = [&] {
    transfer(list, pass, (columns ? l.input : l.name) + suffix + (columns ? " gather" : " sum"),
             Kind::send, Group::tensor, bytes, 1);
    std::get<Transfer>(list.back().what).copy_engines = true;
  };
  if (l.type == linear_) swizzle_scales(list, pass, l.name + suffix, product_rows(l) + l.n, l.k);
  for (int64_t piece = 0; piece < split_.tensor; ++piece) {
    if (columns && piece + 1 < split_.tensor) send();
    kernel(list, pass, l.name + suffix, Gemm{.m = rows, .n = l.n, .k = l.k, .type = l.type});
    if (piece == 0) enter_module(list);
    if (!columns && piece + 1 < split_.tensor) send();
  }
  // Every rank's sums of this one's rows have come; they are added at the end (Transformer Engine,
  // comm_gemm_overlap.cpp, CommOverlapP2PBase::split_overlap_rs: reduce_bf16).
  if (!columns)
    stream(list, pass, l.name + suffix + " sum reduction", StreamKind::unpermute, rows, l.n,
           DataType::bf16, DataType::bf16, static_cast<int>(split_.tensor));
}

/// As many products as ranks, each beside the message that brings the next one's rows (Megatron's
/// proj_dgrad and fc2_dgrad by ring exchange). Block-scaled types bring the copy that weight
/// gradients read apart.
void PartBuilder::ring_input_gradient(Gradients g, const Linear& l) {
  const int64_t rows = product_rows(l) / split_.tensor;
  const double bytes = elements(rows, l.n) * activation_bytes(l.type);
  for (int64_t piece = 0; piece < split_.tensor; ++piece) {
    if (piece + 1 < split_.tensor) {
      transfer(g.inputs, Pass::input_gradient, l.name + " gradient gather", Kind::send,
               Group::tensor, bytes, 1);
      std::get<Transfer>(g.inputs.back().what).copy_engines = true;
    }
    kernel(g.inputs, Pass::input_gradient, l.name + " input_gradient",
           Gemm{.m = rows, .n = l.k, .k = l.n, .type = l.type});
    promote(g.inputs);
    if (piece == 0) enter_module(g.inputs);
  }
  if (!has_swizzled_scales(l.type)) return;
  g.weights.push_back({Transfer{.name = l.name + " gradient gather again",
                                .kind = Kind::all_gather,
                                .group = Group::tensor,
                                .bytes = elements(tokens_, l.n) * activation_bytes(l.type),
                                .pass = Pass::weight_gradient},
                       g.ready() - static_cast<int>(2 * split_.tensor - 1)});
}

void PartBuilder::enter_gradient(Steps& list, const Linear& l, const std::string& name) {
  const bool gathered = gathers() && l.cut == Linear::Cut::rows;
  const int64_t rows = gathered ? shard_rows() : product_rows(l);
  if (l.type != DataType::bf16) cast_gradient(list, name, rows, l.n, gathered);
  if (!gathered || rings_gradient(l)) return;
  // Block-scaled types bring both copies; one scale a tensor serves either orientation.
  const double copies = has_swizzled_scales(l.type) ? 2 : 1;
  transfer(list, Pass::input_gradient, name + " gather", Kind::all_gather, Group::tensor,
           elements(tokens_, l.n) * copies * activation_bytes(l.type));
}

void PartBuilder::multiply_gradients(Gradients g, const Linear& l, Producer producer) {
  const int64_t rows = product_rows(l);
  const bool columns = l.cut == Linear::Cut::columns;
  if (columns && gathers() && ranks(Group::tensor) > 1) {  // beside the input gradient's product
    g.weights.push_back({Transfer{.name = l.input + " gather again",
                                  .kind = Kind::all_gather,
                                  .group = Group::tensor,
                                  .bytes = elements(rows, l.k) * activation_bytes(l.type),
                                  .pass = Pass::weight_gradient},
                         g.ready()});
  }
  if (l.type == linear_)
    swizzle_scales(g.inputs, Pass::input_gradient, l.name + " input_gradient", rows + l.k, l.n);
  if (rings_gradient(l)) {
    ring_input_gradient(g, l);
  } else {
    kernel(g.inputs, Pass::input_gradient, l.name + " input_gradient",
           Gemm{.m = rows, .n = l.k, .k = l.n, .type = l.type});
    promote(g.inputs);
    enter_module(g.inputs);
  }
  if (columns) {  // beside the weight gradient's product
    transfer(g.inputs, Pass::input_gradient, l.name + " input_gradient sum",
             gathers() ? Kind::reduce_scatter : Kind::all_reduce, Group::tensor,
             elements(rows, l.k) * activation_bytes(DataType::bf16));
  }
  weight_gradient(g, l, producer);
}

/// The last product written, if it is one of the recipe's.
void PartBuilder::promote(Steps& list) const {
  Work& work = std::get<Work>(list.back().what);
  const auto* gemm = std::get_if<Gemm>(&work.op);
  work.promoted = gemm && gemm->type == DataType::fp8 && p_.promoted_gradients;
}

/// dW[n,k] += dy^T[n,rows] x[rows,k]
void PartBuilder::weight_gradient(Gradients g, const Linear& l, Producer producer) {
  const int64_t rows = product_rows(l);
  if (l.type != DataType::bf16) {
    transpose_input(g, l.input, rows, l.k, producer, gathers() && l.cut == Linear::Cut::columns);
    const bool transposes = block() || (linear_ == DataType::fp8 && p_.transposed_copies);
    if (transposes && gathers() && l.cut == Linear::Cut::rows)
      weight_stream(g, l.name + " gradient transpose", StreamKind::transpose, rows, l.n, linear_,
                    linear_);
    swizzle_scales(g.weights, Pass::weight_gradient, l.name + " weight_gradient", l.n + l.k, rows,
                   g.ready());
  }
  weight_kernel(g, l.name + " weight_gradient",
                Gemm{.m = l.n,
                     .n = l.k,
                     .k = rows,
                     .type = l.type,
                     .output = job_.kernels.eager ? DataType::bf16 : p_.gradients,
                     .accumulate = !job_.kernels.eager,
                     .both_operands_row_scaled = l.type == DataType::fp8_block});
  promote(g.weights);
  // A cast sums the columns on its way.
  if (l.bias && l.type == DataType::bf16)
    weight_stream(g, l.name + " bias_gradient", StreamKind::column_sum, rows, l.n, DataType::bf16,
                  DataType::bf16);
  if (!l.defers) return;
  defer(l.name + " gradient", rows, l.n, l.type);
  defer(l.input, input_rows(l), l.k, l.type);
}

}  // namespace tessera::workload
