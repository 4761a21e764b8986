#include "sim/app/architecture_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <vector>

#include "models/workload/architecture_file.hpp"
#include "models/workload/architecture_yaml.hpp"
#include "models/workload/parameters.hpp"
#include "models/workload/video_transformer.hpp"

namespace tessera::app {
namespace {

using workload::Architecture;

/// Lengths at which FLOPs are shown: of published pre-training runs.
constexpr std::int64_t kLengths[] = {2048, 4096, 8192};

std::string billions(double elements) { return fmt::format("{:.2f} B", elements / 1e9); }

/// Bytes of a cached token in BF16.
struct CacheBytes {
  double always, in_window, index;
};

CacheBytes cache_bytes(const Architecture& a) {
  const workload::CacheElements elements = workload::cache_elements(a);
  constexpr double kBf16 = 2;  // bytes
  return {elements.always * kBf16, elements.in_window * kBf16, elements.index * kBf16};
}

}  // namespace

nlohmann::ordered_json architecture_counts(const Architecture& a) {
  nlohmann::ordered_json counts;
  const CacheBytes cache = cache_bytes(a);
  counts["parameters"] = workload::main_parameters(a).total();
  counts["active_parameters"] = workload::active_parameters(a);
  counts["embedding_parameters"] = workload::embedding_parameters(a).total();
  counts["mtp_parameters"] =
      static_cast<double>(a.mtp_modules) * workload::mtp_parameters(a).total();
  counts["vision_parameters"] = workload::vision_parameters(a).total();
  for (const std::int64_t length : kLengths)
    counts["training_flops_per_token"].push_back(
        {{"sequence_length", length},
         {"causal", workload::training_flops_per_token(a, length, true)},
         {"non_causal", workload::training_flops_per_token(a, length, false)}});
  counts["cache_bytes_per_token_bf16"] = {{"whole_context", cache.always},
                                          {"in_windows", cache.in_window},
                                          {"indexer_keys", cache.index}};
  return counts;
}

std::string architecture_summary(const Architecture& a) {
  std::string text = fmt::format("# parameters: {} in all, {} used by a token, embedding {}\n",
                                 billions(workload::main_parameters(a).total()),
                                 billions(workload::active_parameters(a)),
                                 billions(workload::embedding_parameters(a).total()));
  if (a.mtp_modules > 0)
    text += fmt::format(
        "# beside them: {} in {} MTP module{}\n",
        billions(static_cast<double>(a.mtp_modules) * workload::mtp_parameters(a).total()),
        a.mtp_modules, a.mtp_modules == 1 ? "" : "s");
  if (a.vision)
    text += fmt::format("# beside them: {} in the vision encoder\n",
                        billions(workload::vision_parameters(a).total()));
  for (const std::int64_t length : kLengths)
    text += fmt::format("# training, sequences of {}: {:.1f} GFLOP a token causal, {:.1f} not\n",
                        length, workload::training_flops_per_token(a, length, true) / 1e9,
                        workload::training_flops_per_token(a, length, false) / 1e9);
  const CacheBytes cache = cache_bytes(a);
  text += fmt::format("# cache in bf16: {:.1f} KiB a token", cache.always / 1024);
  if (cache.in_window > 0) text += fmt::format(", {:.1f} more in windows", cache.in_window / 1024);
  if (cache.index > 0) text += fmt::format(", {:.1f} of indexer keys", cache.index / 1024);
  return text + "\n";
}

namespace {

/// Parameters and the cost of one pass over the video that the description gives.
ArchitectureText describe_video(const workload::VideoTransformer& v) {
  const workload::PassFlops flops = workload::forward_flops(v, v.example);
  const double parameters = workload::parameters(v);
  const std::int64_t tokens = workload::video_tokens(v, v.example);
  return {fmt::format("# parameters: {}\n# one pass over {} frames of {} x {}: {} tokens, {:.1f} "
                      "TFLOP in linear layers, {:.1f} in attention\n",
                      billions(parameters), v.example.frames, v.example.columns, v.example.rows,
                      tokens, flops.linear / 1e12, flops.attention / 1e12),
          {{"parameters", parameters},
           {"example_tokens", tokens},
           {"example_linear_flops", flops.linear},
           {"example_attention_flops", flops.attention}}};
}

}  // namespace

ArchitectureText describe_architecture(const std::string& name,
                                       const std::vector<std::string>& set) {
  core::LoadOptions options;
  options.overrides = core::parse_overrides(set);
  if (const auto video = workload::load_video_transformer(name, options))
    return describe_video(*video);
  const Architecture architecture = workload::load_architecture(name, options);
  return {architecture_summary(architecture), architecture_counts(architecture)};
}

std::string imported_architecture_text(const workload::HfImport& import, const std::string& file) {
  std::string text = fmt::format("# Imported from {}, a {}. HF = a field of that file.\n", file,
                                 import.model_type);
  text += workload::architecture_yaml(import.architecture, import.sources);
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const workload::IgnoredField& field : import.ignored)
    by_reason[field.why].push_back(field.name);
  if (!by_reason.empty()) text += "# Not used:\n";
  for (const auto& [why, names] : by_reason)
    text += fmt::format("#   {}: {}\n", fmt::join(names, ", "), why);
  return text;
}

}  // namespace tessera::app
