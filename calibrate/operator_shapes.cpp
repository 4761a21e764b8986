#include "calibrate/operator_shapes.hpp"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

namespace tessera::calibrate {
namespace {

using Kind = OperatorRule::Kind;

constexpr std::int64_t kMostElements = std::int64_t{1} << 48;  ///< More is a mistake of the file.
constexpr std::int64_t kScaleBlock = 128;                      ///< Of 1x128 and 128x128 scales.

std::string text(std::int64_t value) { return std::to_string(value); }

/// The product of the extents from `begin` to before `end`. Requires: within kMostElements, which
/// OperatorInputs::parse sees to.
std::int64_t product(const Extents& extents, std::size_t begin, std::size_t end) {
  return std::accumulate(extents.begin() + static_cast<std::ptrdiff_t>(begin),
                         extents.begin() + static_cast<std::ptrdiff_t>(end), std::int64_t{1},
                         std::multiplies<>());
}

/// Whether these can be the extents of a tensor.
bool is_tensor(const Extents& extents) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : extents) {
    if (extent < 0 || extent > kMostElements) return false;
    if (extent > 0 && elements > kMostElements / extent) return false;
    elements *= std::max<std::int64_t>(1, extent);
  }
  return true;
}

/// A tensor's extents; empty when the argument is none.
const Extents& extents(const OperatorInputs& inputs, int position) {
  static const Extents kNone;
  const auto at = static_cast<std::size_t>(position);
  return position < 0 || at >= inputs.dims.size() ? kNone : inputs.dims[at];
}

std::string type(const OperatorInputs& inputs, int position) {
  const auto at = static_cast<std::size_t>(position);
  return position < 0 || at >= inputs.types.size() ? std::string{kUnknown} : inputs.types[at];
}

/// The value of an argument that is no tensor; none when it was not recorded.
std::optional<std::string> concrete(const OperatorInputs& inputs, std::int64_t position) {
  const auto at = static_cast<std::size_t>(position);
  if (position < 0 || at >= inputs.concretes.size()) return std::nullopt;
  return inputs.concretes[at];
}

OperatorShape unknown(KernelFamily family, const std::string& op, const std::string& why) {
  return {.file = {},
          .family = family,
          .op = op,
          .dtype = std::string{kUnknown},
          .shape = unknown_shape(family),
          .why_unknown = why};
}

/// How FP8 operands are scaled, by the extents of their scales.
std::string scaled_type(const OperatorRule& rule, const OperatorInputs& inputs, std::int64_t m,
                        std::int64_t n, std::int64_t k) {
  const Extents& a = extents(inputs, rule.scale_a);
  const Extents& b = extents(inputs, rule.scale_b);
  if (type(inputs, rule.a) != "fp8" || type(inputs, rule.b) != "fp8") return std::string{kUnknown};
  // A single row and column with one scale each could be either.
  const bool one_scale = product(a, 0, a.size()) == 1 && product(b, 0, b.size()) == 1;
  if (one_scale) return m * n > 1 ? "fp8" : std::string{kUnknown};
  if (a == Extents{m, 1} && b == Extents{1, n}) return "fp8_token";
  const auto blocks = [](std::int64_t size) { return (size + kScaleBlock - 1) / kScaleBlock; };
  if (a == Extents{m, blocks(k)} && b == Extents{blocks(k), blocks(n)}) return "fp8_block";
  return std::string{kUnknown};
}

OperatorShape gemm_shape(const OperatorRule& rule, const OperatorInputs& inputs) {
  const Extents& a = extents(inputs, rule.a);
  const Extents& b = extents(inputs, rule.b);
  const bool batched = rule.kind == Kind::batched_gemm;
  const std::size_t b_rank = batched ? 3 : 2;
  const std::string op = batched ? "bmm" : "gemm";
  if (a.size() < b_rank || b.size() != b_rank || (batched && (a.size() != 3 || a[0] != b[0])))
    return unknown(KernelFamily::gemm, op, "operands that are no matrices");
  const std::int64_t k = a.back();
  const std::int64_t m = product(a, batched ? 1 : 0, a.size() - 1);
  const std::int64_t depth = rule.b_transposed ? b[b_rank - 1] : b[b_rank - 2];
  const std::int64_t n = rule.b_transposed ? b[b_rank - 2] : b[b_rank - 1];
  if (depth != k) return unknown(KernelFamily::gemm, op, "operands that do not fit each other");
  OperatorShape shape{.file = batched ? "" : "gemm", .family = KernelFamily::gemm, .op = op};
  if (batched) shape.shape.emplace_back("batch", text(a[0]));
  shape.shape.insert(shape.shape.end(), {{"M", text(m)}, {"N", text(n)}, {"K", text(k)}});
  if (rule.kind == Kind::scaled_gemm) {
    shape.dtype = scaled_type(rule, inputs, m, n, k);
  } else if (type(inputs, rule.a) == type(inputs, rule.b)) {
    shape.dtype = type(inputs, rule.a);
  }
  return shape;
}

/// Whether attention is causal; none when the trace does not say.
std::optional<bool> is_causal(const OperatorRule& rule, const OperatorInputs& inputs) {
  const auto value = concrete(inputs, rule.causal);
  if (!value) return std::nullopt;
  if (*value == "True" || *value == "true" || *value == "1" || *value == "2") return true;
  if (*value == "False" || *value == "false" || *value == "0") return false;
  return std::nullopt;
}

/// Why inputs other than query, key and value leave the work unknown; "" when they do not.
std::string hindrance(const OperatorRule& rule, const OperatorInputs& inputs) {
  for (const std::int64_t position : rule.absent)
    if (!extents(inputs, static_cast<int>(position)).empty())
      return "attention over packed sequences or with a mask, whose values no trace has";
  for (const std::int64_t position : rule.window) {
    const auto value = concrete(inputs, position);
    if (value && !value->empty() && *value != "-1" && *value != "None")
      return "attention with a sliding window";
  }
  if (!is_causal(rule, inputs)) return "attention of which the trace does not say whether causal";
  return "";
}

OperatorShape attention_shape(const OperatorRule& rule, const OperatorInputs& inputs) {
  const auto fail = [](const std::string& why) {
    return unknown(KernelFamily::attention, std::string{kUnknown}, why);
  };
  const Extents &q = extents(inputs, 0), &k = extents(inputs, 1), &v = extents(inputs, 2);
  if (q.size() != 4 || k.size() != 4 || v.size() != 4)
    return fail("attention over packed sequences, whose lengths no trace has");
  if (const std::string why = hindrance(rule, inputs); !why.empty()) return fail(why);
  const std::size_t length = rule.heads_first ? 2 : 1;
  const std::size_t heads = rule.heads_first ? 1 : 2;
  if (q[3] != v[3]) return fail("attention whose queries and values differ in width");
  const std::string type_q = type(inputs, 0), type_k = type(inputs, 1);
  OperatorShape shape{.family = KernelFamily::attention, .dtype = type_q};
  const Fields head_columns = {{"num_heads", text(q[heads])},
                               {"num_kv_heads", text(k[heads])},
                               {"head_dim", text(q[3])},
                               {"win", "0"},
                               {"kv_dtype", type_k}};
  shape.shape = {{"batch", text(q[0])}};
  if (q[length] == k[length] && *is_causal(rule, inputs)) {
    shape.file = "attention_context";
    shape.op = "attn_ctx";
    shape.shape.emplace_back("isl", text(q[length]));
  } else if (q[length] == 1) {
    shape.file = "attention_generation";
    shape.op = "attn_gen";
    shape.shape.emplace_back("kv_len", text(k[length]));
  } else if (q[length] == k[length] && q[heads] == k[heads]) {
    shape.file = "encoder_attention";
    shape.op = "attn_enc";
    shape.shape.insert(
        shape.shape.end(),
        {{"isl", text(q[length])}, {"num_heads", text(q[heads])}, {"head_dim", text(q[3])}});
    return shape;
  } else {
    return fail("attention of queries and keys of unlike lengths or heads");
  }
  shape.shape.insert(shape.shape.end(), head_columns.begin(), head_columns.end());
  return shape;
}

/// Casts that only copy (one type, or shapes that broadcast) are other kernels.
OperatorShape cast_shape(const OperatorRule& rule, const OperatorInputs& inputs) {
  const Extents& from = extents(inputs, rule.from);
  const Extents& to = extents(inputs, rule.to);
  if (type(inputs, rule.from) == type(inputs, rule.to))
    return {.family = KernelFamily::other,
            .op = "copy",
            .dtype = type(inputs, rule.to),
            .why_unknown = "copies without a change of type, which no measurement file has"};
  if (from != to || to.empty())
    return unknown(KernelFamily::cast, "cast", "casts that broadcast or have no extents");
  OperatorShape shape{.family = KernelFamily::cast, .op = "cast", .dtype = type(inputs, rule.to)};
  shape.shape = {{"M", text(product(to, 0, to.size() - 1))}, {"K", text(to.back())}};
  if (rule.kind != Kind::static_quantize) return shape;
  const Extents& scale = extents(inputs, rule.scale);
  if (product(scale, 0, scale.size()) != 1)
    return unknown(KernelFamily::cast, "cast", "quantisation with more than one scale");
  shape.file = "quantize";
  shape.op = "scale_matrix";
  return shape;
}

OperatorShape moe_shape(const OperatorRule& rule, const OperatorInputs& inputs) {
  OperatorShape shape = unknown(
      KernelFamily::moe, "moe",
      "fused MoE, of which the operator does not say how many ranks share it, nor the routing");
  const Extents& tokens = extents(inputs, rule.tokens);
  const Extents& weights = extents(inputs, rule.weights);
  shape.dtype = type(inputs, rule.tokens);
  for (auto& [column, value] : shape.shape) {
    if (column == "hidden" && !tokens.empty()) value = text(tokens.back());
    if (column == "topk" && weights.size() == 2) value = text(weights.back());
  }
  return shape;
}

/// A list of the trace; none when it is absent or of another form.
nlohmann::json list(const std::string& json) {
  auto parsed = nlohmann::json::parse(json, nullptr, false);
  return parsed.is_array() ? parsed : nlohmann::json::array();
}

}  // namespace

OperatorInputs OperatorInputs::parse(
    const std::string& dims, const std::string& types, const std::string& concretes,
    const std::map<std::string, std::string, std::less<>>& type_names) {
  OperatorInputs inputs;
  for (const auto& tensor : list(dims)) {
    Extents extents;
    for (const auto& extent : tensor)
      if (extent.is_number_integer()) extents.push_back(extent.get<std::int64_t>());
    // A list of tensors has lists inside: no extents of its own.
    if (extents.size() != tensor.size() || !is_tensor(extents)) extents.clear();
    inputs.dims.push_back(std::move(extents));
  }
  for (const auto& type : list(types)) {
    const std::string name = type.is_string() ? type.get<std::string>() : std::string{};
    const auto found = type_names.find(name);
    inputs.types.push_back(found == type_names.end() ? std::string{kUnknown} : found->second);
  }
  for (const auto& value : list(concretes))
    inputs.concretes.push_back(value.is_string() ? value.get<std::string>() : value.dump());
  return inputs;
}

Fields unknown_shape(KernelFamily family) {
  const auto columns = [](std::initializer_list<const char*> names) {
    Fields fields;
    for (const char* name : names) fields.emplace_back(name, kUnknown);
    return fields;
  };
  switch (family) {
    case KernelFamily::gemm:
      return columns({"M", "N", "K"});
    case KernelFamily::attention:
      return columns({"batch", "isl", "kv_len", "num_heads", "num_kv_heads", "head_dim"});
    case KernelFamily::cast:
      return columns({"M", "K"});
    case KernelFamily::nccl:
      return columns({"collective", "ranks", "bytes"});
    case KernelFamily::moe:
      return columns({"tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "routing"});
    case KernelFamily::other:
      break;
  }
  return {};
}

OperatorShape shape_of(const OperatorRule& rule, const OperatorInputs& inputs) {
  switch (rule.kind) {
    case Kind::attention:
      return attention_shape(rule, inputs);
    case Kind::cast:
    case Kind::static_quantize:
      return cast_shape(rule, inputs);
    case Kind::fused_moe:
      return moe_shape(rule, inputs);
    case Kind::gemm:
    case Kind::batched_gemm:
    case Kind::scaled_gemm:
      break;
  }
  return gemm_shape(rule, inputs);
}

}  // namespace tessera::calibrate
