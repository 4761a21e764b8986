#include "sim/app/kernel_arguments.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <map>
#include <set>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::DataType;
using workload::StreamKind;

constexpr std::int64_t kLargest = std::int64_t{1} << 40;

[[noreturn]] void wrong(const std::string& message) {
  throw core::ConfigError({"command line", 0, 0}, message);
}

/// NAME=VALUE arguments, each read at most once.
class Arguments {
 public:
  explicit Arguments(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      const std::size_t equals = text.find('=');
      if (equals == std::string::npos) wrong(fmt::format("found '{}'; expected NAME=VALUE", text));
      if (!values_.emplace(text.substr(0, equals), text.substr(equals + 1)).second)
        wrong(fmt::format("{} is given twice", text.substr(0, equals)));
    }
  }

  std::int64_t size(const std::string& name) {
    const auto found = values_.find(name);
    if (found == values_.end()) wrong(fmt::format("{}=... is missing", name));
    return parse(name, 1);
  }
  std::int64_t size_or(const std::string& name, std::int64_t fallback, std::int64_t least = 1) {
    read_.insert(name);
    return values_.contains(name) ? parse(name, least) : fallback;
  }
  bool flag_or(const std::string& name, bool fallback) {
    read_.insert(name);
    const auto found = values_.find(name);
    if (found == values_.end()) return fallback;
    if (found->second == "true" || found->second == "1") return true;
    if (found->second == "false" || found->second == "0") return false;
    wrong(fmt::format("{}: found '{}'; expected true or false", name, found->second));
  }
  DataType type_or(const std::string& name, DataType fallback) {
    read_.insert(name);
    const auto found = values_.find(name);
    if (found == values_.end()) return fallback;
    const auto type = core::parse_data_type(found->second);
    if (!type)
      wrong(fmt::format("{}: found '{}'; expected a data type such as bf16, fp8_block, nvfp4", name,
                        found->second));
    return *type;
  }
  void finish(const std::string& op) const {
    for (const auto& [name, value] : values_)
      if (!read_.contains(name))
        wrong(fmt::format("{} has no argument '{}'; it has {}", op, name, fmt::join(read_, ", ")));
  }

 private:
  std::int64_t parse(const std::string& name, std::int64_t least) {
    read_.insert(name);
    const std::string& text = values_.at(name);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least ||
        value > kLargest)
      wrong(fmt::format("{}: found '{}'; expected an integer in [{}, {}]", name, text, least,
                        kLargest));
    return value;
  }

  std::map<std::string, std::string> values_;
  std::set<std::string> read_;
};

workload::Operator gemm(Arguments& a) {
  workload::Gemm gemm{.m = a.size("M"), .n = a.size("N"), .k = a.size("K")};
  gemm.type = a.type_or("dtype", DataType::bf16);
  gemm.output = a.type_or("output", DataType::bf16);
  gemm.batch = a.size_or("batch", 1);
  gemm.accumulate = a.flag_or("accumulate", false);
  gemm.both_operands_row_scaled = a.flag_or("row_scaled", false);
  return gemm;
}

workload::Operator grouped_gemm(Arguments& a) {
  workload::GroupedGemm grouped;
  const bool depth = a.flag_or("weight_gradient", false);
  const auto groups = static_cast<std::size_t>(a.size("groups"));
  grouped.sizes.assign(groups, a.size(depth ? "K" : "M"));
  grouped.n = a.size("N");
  grouped.fixed = a.size(depth ? "M" : "K");
  if (depth) grouped.varying = workload::GroupedGemm::Varying::depth;
  grouped.type = a.type_or("dtype", DataType::bf16);
  grouped.output = a.type_or("output", DataType::bf16);
  grouped.accumulate = a.flag_or("accumulate", false);
  grouped.both_operands_row_scaled = a.flag_or("row_scaled", false);
  return grouped;
}

workload::Operator attention(Arguments& a, bool backward) {
  workload::Attention attention;
  attention.batch = a.size_or("batch", 1);
  attention.q_length = a.size("q");
  attention.kv_length = a.size_or("kv", attention.q_length);
  attention.heads = a.size("heads");
  attention.kv_heads = a.size_or("kv_heads", attention.heads);
  attention.qk_dim = a.size_or("dim", 128);
  attention.v_dim = a.size_or("v_dim", attention.qk_dim);
  attention.causal = a.flag_or("causal", true);
  attention.window = a.size_or("window", 0, 0);
  attention.type = a.type_or("dtype", DataType::bf16);
  attention.cache_type = attention.type;
  attention.backward = backward;
  if (attention.heads % attention.kv_heads != 0)
    wrong(fmt::format("kv_heads={} does not divide heads={}", attention.kv_heads, attention.heads));
  return attention;
}

void require_queries_inside(std::int64_t queries, std::int64_t tokens) {
  if (queries > tokens)
    wrong(
        fmt::format("q={} queries are more than the kv={} tokens that hold them", queries, tokens));
}

workload::Operator absorbed_attention(Arguments& a) {
  workload::AbsorbedAttention absorbed{.batch = a.size_or("batch", 1)};
  absorbed.q_length = a.size_or("q", 1);
  absorbed.kv_length = a.size("kv");
  absorbed.heads = a.size("heads");
  absorbed.latent = a.size_or("latent", absorbed.latent);
  absorbed.rotary = a.size_or("rotary", absorbed.rotary);
  absorbed.selected = a.size_or("selected", 0, 0);
  absorbed.type = a.type_or("dtype", DataType::bf16);
  absorbed.cache_type = a.type_or("cache", absorbed.type);
  require_queries_inside(absorbed.q_length, absorbed.kv_length);
  return absorbed;
}

workload::Operator index_scores(Arguments& a) {
  workload::IndexScores scores{.batch = a.size_or("batch", 1)};
  scores.q_length = a.size_or("q", 1);
  scores.kv_length = a.size("kv");
  scores.heads = a.size_or("heads", scores.heads);
  scores.dim = a.size_or("dim", scores.dim);
  scores.compression = a.size_or("compression", scores.compression);
  scores.type = a.type_or("dtype", scores.type);
  require_queries_inside(scores.q_length, scores.kv_length);
  return scores;
}

workload::Operator select_top_k(Arguments& a) {
  workload::SelectTopK selection{.rows = a.size("rows"), .columns = a.size("columns")};
  selection.selected = a.size_or("selected", selection.selected);
  if (a.flag_or("ties", false)) selection.contested = 1;
  return selection;
}

const std::vector<StreamKind>& stream_kinds() {
  static const std::vector<StreamKind> kinds = [] {
    std::vector<StreamKind> all;
    for (int i = 0; i <= static_cast<int>(StreamKind::column_sum); ++i)
      all.push_back(static_cast<StreamKind>(i));
    return all;
  }();
  return kinds;
}

workload::Operator stream(Arguments& a, StreamKind kind) {
  workload::Stream stream{.kind = kind, .rows = a.size("rows"), .columns = a.size_or("columns", 1)};
  stream.input = a.type_or("dtype", DataType::bf16);
  stream.output = a.type_or("output", stream.input);
  stream.fan = static_cast<int>(a.size_or("fan", 1));
  stream.state = a.type_or("state", DataType::fp32);
  return stream;
}

}  // namespace

workload::Operator parse_operator(const std::string& name, const std::vector<std::string>& texts) {
  Arguments arguments{texts};
  std::optional<workload::Operator> op;
  if (name == "gemm") op = gemm(arguments);
  if (name == "grouped_gemm") op = grouped_gemm(arguments);
  if (name == "attention") op = attention(arguments, false);
  if (name == "attention_backward") op = attention(arguments, true);
  if (name == "absorbed_attention") op = absorbed_attention(arguments);
  if (name == "index_scores") op = index_scores(arguments);
  if (name == "select_top_k") op = select_top_k(arguments);
  std::vector<std::string> known = {
      "gemm",         "grouped_gemm", "attention", "attention_backward", "absorbed_attention",
      "index_scores", "select_top_k"};
  for (const StreamKind kind : stream_kinds()) {
    known.push_back(workload::to_string(kind));
    if (name == known.back()) op = stream(arguments, kind);
  }
  if (!op) wrong(fmt::format("OP: found '{}'; expected one of {}", name, fmt::join(known, ", ")));
  arguments.finish(name);
  return *op;
}

std::string operator_help() {
  return "gemm (M N K dtype [output batch accumulate row_scaled]), "
         "grouped_gemm (groups M N K dtype [output accumulate row_scaled weight_gradient]), "
         "attention and attention_backward (q heads [batch kv kv_heads dim v_dim causal window "
         "dtype]), absorbed_attention (kv heads [batch q latent rotary selected dtype cache]), "
         "index_scores (kv [batch q heads dim compression dtype]), "
         "select_top_k (rows columns [selected ties]), or a stream kernel such as "
         "rms_norm, swiglu, quantize, adamw (rows columns [dtype output fan state])";
}

}  // namespace tessera::app
