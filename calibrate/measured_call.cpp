#include "calibrate/measured_call.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "sim/core/config.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Distinct weights that the trtllm collection replays at most, and operand sets that the sglang
/// one does (measurements README).
constexpr double kTrtllmWeightSets = 5;
constexpr double kSglangOperandSets = 6;

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::outside_model, reason);
}

DataType data_type(std::string_view name) {
  static const std::map<std::string_view, DataType> kNames = {
      {"bfloat16", DataType::bf16}, {"bf16", DataType::bf16}, {"half", DataType::fp16},
      {"float16", DataType::fp16},  {"sq", DataType::int8},   {"fp8_e4m3", DataType::fp8}};
  if (const auto found = kNames.find(name); found != kNames.end()) return found->second;
  if (const auto type = core::parse_data_type(name)) return *type;
  refuse(fmt::format("data type '{}' is not modelled", name));
}

std::int64_t integer(const CsvTable& table, std::size_t row, std::string_view column) {
  const auto value = table.number(row, column);
  if (!value || *value < 0 || *value != std::floor(*value))
    refuse(fmt::format("column '{}' is not a size", column));
  return static_cast<std::int64_t>(*value);
}

double bytes(std::int64_t rows, std::int64_t columns, double bits) {
  return static_cast<double>(rows) * static_cast<double>(columns) * bits / 8;
}

/// A row that the probes wrote (calibrate/probes): it times one kernel alone and says what it found
/// in L2.
bool probed(const CsvTable& table, std::size_t row) {
  return table.text(row, "framework") == "tessera_probes";
}

/// Operand sets that replays of a probe's row cycled through, infinitely many when L2 was flushed
/// between them; 1 for rows of other collections.
double probed_sets(const CsvTable& table, std::size_t row) {
  if (table.text(row, "operands") == "flushed") return std::numeric_limits<double>::infinity();
  return table.number(row, "operand_sets").value_or(1);
}

/// What is in L2 when a replay of a GEMM starts: the collections cycle through operand sets, and a
/// set survives when all of them fit.
gpu::ExecutionContext gemm_context(const CsvTable& table, std::size_t row, const Gemm& gemm,
                                   const device::DeviceSpec& device) {
  const double a = bytes(gemm.m, gemm.k, core::activation_bits(gemm.type));
  const double b = bytes(gemm.n, gemm.k, core::weight_bits(gemm.type));
  const double c = bytes(gemm.m, gemm.n, core::activation_bits(gemm.output));
  const auto l2 = static_cast<double>(device.l2.size.value());
  gpu::ExecutionContext context;
  context.sustained = false;
  if (probed(table, row)) {
    context.warm_activations = context.warm_weights = probed_sets(table, row) * (a + b + c) < l2;
  } else if (table.text(row, "framework") == "trtllm") {
    const double sets = std::min(kTrtllmWeightSets, std::ceil(l2 / b));
    context.warm_activations = a + c < l2;
    context.warm_weights = sets * b + a + c < l2;
  } else {
    context.warm_activations = context.warm_weights = kSglangOperandSets * (a + b + c) < l2;
  }
  return context;
}

/// The second launch of an amax pass: from the maximum of each CTA to one scale.
KernelQuery scale_of_maxima(const device::DeviceSpec& device) {
  gpu::ExecutionContext context;
  context.warm_activations = true;
  return {Stream{.kind = StreamKind::compute_scale, .rows = 1, .columns = device.sm.count},
          context,
          {}};
}

/// The activation's quantisation that a call runs before its GEMM: nothing for bf16, nor for a
/// probe, which times the GEMM alone.
void add_quantisation(const CsvTable& table, std::size_t row, const Gemm& gemm,
                      const device::DeviceSpec& device, const gpu::ExecutionContext& context,
                      MeasuredCall& call) {
  if (gemm.type == DataType::bf16 || gemm.type == DataType::fp16 || probed(table, row)) return;
  if (gemm.type == DataType::fp8 && table.text(row, "framework") == "trtllm") {
    call.kernels.push_back(
        {Stream{.kind = StreamKind::compute_scale, .rows = gemm.m, .columns = gemm.k},
         context,
         {}});
    call.kernels.push_back(scale_of_maxima(device));
  }
  call.kernels.push_back(
      {Stream{.kind = StreamKind::quantize, .rows = gemm.m, .columns = gemm.k, .output = gemm.type},
       context,
       {}});
}

MeasuredCall gemm_call(const CsvTable& table, std::size_t row, const device::DeviceSpec& device,
                       const MeasuredAs& as) {
  Gemm gemm{
      .m = integer(table, row, "M"), .n = integer(table, row, "N"), .k = integer(table, row, "K")};
  gemm.type = data_type(table.text(row, "dtype"));
  // sglang's fp8 rows quantise each token by itself (implementations.csv: "quantise per token +
  // gemm").
  if (gemm.type == DataType::fp8 && table.text(row, "framework") == "sglang")
    gemm.type = DataType::fp8_token;
  MeasuredCall call;
  gpu::ExecutionContext context = gemm_context(table, row, gemm, device);
  add_quantisation(table, row, gemm, device, context, call);
  if (!call.kernels.empty()) context.warm_activations = true;  // just written
  call.kernels.push_back({gemm, context, as.implementation});
  call.type = core::to_string(gemm.type);
  if (as.prepares_scales) call.prepared_rows = static_cast<double>(gemm.n);
  return call;
}

/// Both operands stay in L2 from replay to replay when they fit it together (measurements README).
gpu::ExecutionContext replayed(double touched_bytes, const device::DeviceSpec& device) {
  gpu::ExecutionContext context;
  context.warm_activations = context.warm_weights =
      touched_bytes < static_cast<double>(device.l2.size.value());
  return context;
}

MeasuredCall quantize_call(const CsvTable& table, std::size_t row, const device::DeviceSpec& device,
                           const MeasuredAs& as) {
  Stream stream{.rows = integer(table, row, "M"), .columns = integer(table, row, "K")};
  stream.kind =
      table.text(row, "op") == "compute_scale" ? StreamKind::compute_scale : StreamKind::quantize;
  if (stream.kind == StreamKind::quantize) stream.output = data_type(table.text(row, "dtype"));
  MeasuredCall call;
  const double touched = probed_sets(table, row) * bytes(stream.rows, stream.columns, 24);
  call.kernels.push_back({stream, replayed(touched, device), as.implementation});
  if (stream.kind == StreamKind::compute_scale && !probed(table, row))
    call.kernels.push_back(scale_of_maxima(device));
  return call;
}

/// Prefill attention; the trtllm collection appends keys and values to the cache in the same call.
MeasuredCall attention_context_call(const CsvTable& table, std::size_t row,
                                    const device::DeviceSpec& device, const MeasuredAs& as) {
  workload::Attention attention{.batch = integer(table, row, "batch")};
  attention.q_length = attention.kv_length = integer(table, row, "isl");
  attention.heads = integer(table, row, "num_heads");
  attention.kv_heads = integer(table, row, "num_kv_heads");
  attention.qk_dim = attention.v_dim = integer(table, row, "head_dim");
  attention.window = integer(table, row, "win");
  attention.type = data_type(table.text(row, "dtype"));
  attention.cache_type = data_type(table.text(row, "kv_dtype"));
  const std::int64_t tokens = attention.batch * attention.q_length;
  const std::int64_t columns = (2 * attention.heads + 2 * attention.kv_heads) * attention.qk_dim;
  const gpu::ExecutionContext context =
      replayed(bytes(tokens, columns, core::activation_bits(attention.type)), device);
  MeasuredCall call;
  if (table.text(row, "framework") == "trtllm")
    call.kernels.push_back({Stream{.kind = StreamKind::copy,
                                   .rows = tokens,
                                   .columns = 2 * attention.kv_heads * attention.qk_dim,
                                   .output = attention.cache_type},
                            context,
                            {}});
  call.kernels.push_back({attention, context, as.implementation});
  return call;
}

/// Rows of each expert of one rank when routing is balanced: equal shares, the first experts one
/// more.
std::vector<std::int64_t> balanced_rows(std::int64_t rows, std::int64_t experts) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(experts), rows / experts);
  for (std::int64_t i = 0; i < rows % experts; ++i) ++sizes[static_cast<std::size_t>(i)];
  return sizes;
}

/// The fused MoE of one rank: choice, permutation, gate and up projection, activation, down
/// projection, sum. `tokens` is global, the rank has experts / ep experts of width inter / tp.
MeasuredCall moe_call(const CsvTable& table, std::size_t row, const device::DeviceSpec& device,
                      const MeasuredAs& as) {
  if (table.text(row, "routing") != "balanced") refuse("routing drawn at random is not recorded");
  const std::int64_t tokens = integer(table, row, "tokens");
  const std::int64_t hidden = integer(table, row, "hidden");
  const std::int64_t top_k = integer(table, row, "topk");
  const std::int64_t ranks = std::max<std::int64_t>(1, integer(table, row, "ep"));
  const std::int64_t width =
      integer(table, row, "inter") / std::max<std::int64_t>(1, integer(table, row, "tp"));
  const std::int64_t experts = integer(table, row, "experts") / ranks;
  if (experts < 1 || width < 1) refuse("a rank without experts is no fused MoE");
  const DataType type = data_type(table.text(row, "dtype"));
  const std::int64_t rows = std::max<std::int64_t>(1, tokens * top_k / ranks);
  const workload::GroupedGemm gate_up{
      .sizes = balanced_rows(rows, experts), .n = 2 * width, .fixed = hidden, .type = type};
  workload::GroupedGemm down = gate_up;
  down.n = hidden;
  down.fixed = width;
  gpu::ExecutionContext context = replayed(
      bytes(experts * 3 * width, hidden, core::weight_bits(type)) + bytes(rows, 4 * hidden, 16),
      device);
  // Each kernel reads what the one before wrote.
  gpu::ExecutionContext between = context;
  between.warm_activations = true;
  const auto fan = static_cast<int>(std::max<std::int64_t>(1, top_k / ranks));
  MeasuredCall call;
  call.kernels = {
      {Stream{.kind = StreamKind::gate_top_k,
              .rows = tokens,
              .columns = experts * ranks,
              .fan = static_cast<int>(top_k)},
       between,
       {}},
      {Stream{.kind = StreamKind::permute, .rows = rows, .columns = hidden, .output = type},
       between,
       {}},
      {gate_up, between, as.implementation},
      {Stream{.kind = StreamKind::swiglu, .rows = rows, .columns = width, .output = type},
       between,
       {}},
      {down, between, as.implementation},
      {Stream{.kind = StreamKind::unpermute, .rows = tokens, .columns = hidden, .fan = fan},
       between,
       {}}};
  return call;
}

bool matches(const std::string& wanted, std::string_view found) {
  return wanted.empty() || wanted == found;
}

}  // namespace

double MeasuredCall::added_us(const device::FitSet& fits) const {
  double sum = 0;
  for (const Constant& constant : constants())
    if (const auto found = fits.parameters.find(constant.name); found != fits.parameters.end())
      sum += found->second.value * constant.count;
  return sum;
}

std::vector<MeasuredCall::Constant> MeasuredCall::constants() const {
  std::vector<Constant> all{{harness, 1}};
  if (kernels.size() > 1)
    all.push_back({harness + ".gap" + (type.empty() ? "" : "." + type),
                   static_cast<double>(kernels.size() - 1)});
  if (prepared_rows > 0) {
    all.push_back({harness + ".prepare", 1});
    all.push_back({harness + ".prepare.row", prepared_rows / 1000});
  }
  return all;
}

MeasurementMap MeasurementMap::load() {
  core::LoadOptions options;
  options.kind = "kernel map";
  options.folder = "hw_configs/kernels";
  const core::ConfigDocument document = core::ConfigDocument::load("measured_as", options);
  MeasurementMap map;
  for (const core::ConfigNode& node : document.root().list("rows"))
    map.rows_.push_back({.file = node.text("file"),
                         .framework = node.text_or("framework", ""),
                         .kernel = node.text_or("kernel", ""),
                         .dtype = node.text_or("dtype", ""),
                         .kv_dtype = node.text_or("kv_dtype", ""),
                         .gpu = node.text_or("gpu", ""),
                         .implementation = node.text_or("implementation", ""),
                         .prepares_scales = node.boolean_or("prepares_scales", false)});
  document.finish();
  return map;
}

const MeasuredAs& MeasurementMap::find(const std::string& file, const CsvTable& table,
                                       std::size_t row) const {
  for (const MeasuredAs& as : rows_)
    if (as.file == file && matches(as.framework, table.text(row, "framework")) &&
        matches(as.kernel, table.text(row, "kernel")) &&
        matches(as.dtype, table.text(row, "dtype")) &&
        matches(as.kv_dtype, table.text(row, "kv_dtype")) &&
        matches(as.gpu, table.text(row, "gpu")))
      return as;
  refuse(fmt::format("{}: no implementation stands for {} {} {}", file,
                     table.text(row, "framework"), table.text(row, "kernel"),
                     table.text(row, "dtype")));
}

MeasuredCall MeasurementMap::call(const std::string& file, const CsvTable& table, std::size_t row,
                                  const device::DeviceSpec& device) const {
  const bool power = file.starts_with("power_");
  const std::string family = power ? file.substr(6) : file;
  const MeasuredAs& as = find(family, table, row);
  MeasuredCall call;
  if (family == "gemm") {
    call = gemm_call(table, row, device, as);
  } else if (family == "quantize") {
    call = quantize_call(table, row, device, as);
  } else if (family == "attention_context") {
    call = attention_context_call(table, row, device, as);
  } else if (family == "moe") {
    call = moe_call(table, row, device, as);
  } else {
    refuse(fmt::format("{} is not modelled yet as a measured call", file));
  }
  for (KernelQuery& query : call.kernels) query.context.sustained = power;
  call.harness = fmt::format("harness.{}.{}", file, table.text(row, "framework"));
  return call;
}

}  // namespace tessera::calibrate
