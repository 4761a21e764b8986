#include "sim/app/show_cache.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "models/workload/architecture_file.hpp"
#include "models/workload/kv_cache.hpp"
#include "models/workload/video_transformer.hpp"
#include "reports/format.hpp"
#include "sim/app/mla_form_table.hpp"
#include "sim/core/data_type.hpp"

namespace tessera::app {
namespace {

using std::int64_t;
using workload::Architecture;
using workload::CacheFormat;

constexpr int64_t kMostTokens = 100'000'000;
constexpr int64_t kMostGpus = 2048;

std::vector<Architecture> architectures_named(const std::string& name) {
  if (name != "all") return {workload::load_architecture(name)};
  std::vector<Architecture> list;
  for (const std::string& each : core::names_in(workload::kArchitectureFolder)) {
    if (!workload::load_video_transformer(each, {}))
      list.push_back(workload::load_architecture(each));
  }
  return list;
}

std::string layers_text(const Architecture& a, CacheFormat format) {
  const workload::KvCache cache(a, {.format = format, .mtp = true});
  std::string text;
  for (const workload::CacheLayers& layers : cache.layers())
    text += fmt::format("  {:<13} {:<34} {:>3} layers {:>8} bytes{}\n", workload::to_string(format),
                        layers.name, layers.layers, reports::count(layers.bytes),
                        layers.window > 0
                            ? fmt::format(", of {} tokens at most",
                                          reports::count(static_cast<double>(layers.window)))
                            : "");
  return text;
}

/// What one model keeps, in every format that it can be kept in.
std::string cache_details(const Architecture& a, const CacheQuestion& q) {
  std::string text = fmt::format("{}: a token and layer\n", a.name);
  for (const CacheFormat format :
       {CacheFormat::bf16, CacheFormat::fp8, CacheFormat::fp8_flashmla}) {
    if (format == CacheFormat::fp8_flashmla && a.grouped_query()) continue;
    text += layers_text(a, format);
  }
  const workload::CacheComparison c = workload::against_multi_head(a);
  text +=
      fmt::format("  {} values; multi-head attention with its {} heads: {}, {:.1f} % less\n",
                  reports::count(c.own), a.heads(), reports::count(c.multi_head), 100 * c.saved());
  if (!a.grouped_query())
    text +=
        "  published of the scheme: 93.3 % less than DeepSeek 67B (arXiv 2405.04434, abstract)\n";
  const workload::KvCache cache(a, {.block = q.block});
  text += fmt::format("in all, bf16: {} bytes a token", reports::count(cache.bytes_per_token()));
  if (cache.lasting_bytes_per_token() < cache.bytes_per_token())
    text += fmt::format(", {} outside windows", reports::count(cache.lasting_bytes_per_token()));
  text += fmt::format("; pages of {}:", q.block);
  for (const int64_t context : q.contexts) {
    const auto tokens = static_cast<double>(context);
    text += fmt::format("{} {:.2f} % at {}", context == q.contexts.front() ? "" : ",",
                        100 * (cache.paged_bytes(tokens) / cache.bytes(tokens) - 1), context);
  }
  return text + " on top\n";
}

std::string memory_text(const std::vector<CacheRow>& rows) {
  std::string text = "GB of a GPU at the first context's largest batch\n";
  if (rows.empty()) return text;
  std::string names = fmt::format("  {:<22}", "");
  std::vector<std::string> kinds;
  for (const CacheRow& row : rows) {
    names += fmt::format(" {:>10}", row.device);
    for (const serving::MemoryKind& kind : row.plan.kinds) {
      if (std::find(kinds.begin(), kinds.end(), kind.kind) == kinds.end())
        kinds.push_back(kind.kind);
    }
  }
  text += names + "\n";
  constexpr double kGigabyte = 1e9;
  for (const std::string& kind : kinds) {
    if (std::all_of(rows.begin(), rows.end(),
                    [&](const CacheRow& row) { return row.plan.of(kind) == 0; }))
      continue;
    text += fmt::format("  {:<22}", reports::label(kind));
    for (const CacheRow& row : rows)
      text += fmt::format(" {:>10.2f}", row.plan.of(kind) / kGigabyte);
    text += '\n';
  }
  return text;
}

}  // namespace

void add_cache_options(CLI::App& command, CacheQuestion& question) {
  const std::string group = "Cache";
  command.add_option("--device", question.devices, "Devices to fill")->group(group);
  command.add_option("--context", question.contexts, "Tokens that a sequence holds")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->group(group);
  command.add_option("--cache", question.cache, "bf16, fp8 or fp8_flashmla")
      ->check(CLI::IsMember(workload::cache_format_names()))
      ->group(group);
  command.add_option("--weights", question.weights, "Type of linear layers")
      ->check(CLI::IsMember(core::data_type_names()))
      ->group(group);
  command
      .add_option("--expert-weights", question.expert_weights, "Type of experts, if it is another")
      ->check(CLI::IsMember(core::data_type_names()))
      ->group(group);
  command.add_option("--gpus", question.gpus, "Instead of the smallest group that fits")
      ->check(CLI::Range(int64_t{1}, kMostGpus))
      ->group(group);
  command.add_option("--domain", question.domain, "GPUs of an NVLink domain")
      ->check(CLI::Range(int64_t{1}, kMostGpus))
      ->group(group);
  command.add_option("--prompt-tokens", question.prompt_tokens, "Of the largest prefill iteration")
      ->check(CLI::Range(int64_t{0}, kMostTokens))
      ->group(group);
  command.add_option("--block", question.block, "Tokens of a page")
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->group(group);
  command
      .add_option("--memory-utilisation", question.memory_utilisation,
                  "Share of memory that the engine fills")
      ->check(CLI::Range(0.01, 1.0))
      ->group(group);
}

void show_cache(const std::string& name, const std::string& format, CacheQuestion question) {
  if (!format.empty() && format != "text" && format != "csv" && format != "json")
    throw core::ConfigError({"tessera", 0, 0}, "--format: caches are text, csv or json");
  std::vector<int64_t>& contexts = question.contexts;
  std::sort(contexts.begin(), contexts.end());
  contexts.erase(std::unique(contexts.begin(), contexts.end()), contexts.end());
  const std::vector<Architecture> models = architectures_named(name);
  std::vector<CacheRow> rows;
  for (const Architecture& model : models) {
    for (CacheRow& row : cache_rows(model, question)) rows.push_back(std::move(row));
  }
  if (format == "csv") {
    fmt::print("{}", cache_csv(rows));
    return;
  }
  if (format == "json") {
    fmt::print("{}\n", cache_json(rows, question).dump(2));
    return;
  }
  if (models.size() == 1) fmt::print("{}\n", cache_details(models.front(), question));
  fmt::print("{}{}", cache_assumptions(question), cache_text(rows, question));
  if (models.size() == 1)
    fmt::print("\n{}\n{}", memory_text(rows), mla_form_text(models.front(), question));
}

}  // namespace tessera::app
