#include "sim/app/cache_table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "models/device/device_file.hpp"
#include "models/serving/smallest_group.hpp"
#include "models/workload/kv_cache.hpp"
#include "reports/format.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using std::int64_t;
using workload::Architecture;
using workload::CacheFormat;

core::DataType weight_type(const char* option, const std::string& name) {
  const auto type = core::parse_data_type(name);
  if (!type)
    throw core::ConfigError(
        {"tessera", 0, 0},
        std::string(option) + ": " + core::unknown_name(name, core::data_type_names()));
  return *type;
}

CacheFormat cache_format(const std::string& name) {
  const auto format = workload::parse_cache_format(name);
  if (!format)
    throw core::ConfigError({"tessera", 0, 0},
                            "--cache: " + core::unknown_name(name, workload::cache_format_names()));
  return *format;
}

/// The format, or plain FP8 where attention has no latent to write as FlashMLA does.
CacheFormat format_for(const Architecture& a, CacheFormat format) {
  return a.grouped_query() && format == CacheFormat::fp8_flashmla ? CacheFormat::fp8 : format;
}

double token_bytes(const Architecture& a, CacheFormat format) {
  return workload::KvCache(a, {.format = format}).bytes_per_token();
}

serving::MemoryJob job_on(const Architecture& a, const device::DeviceSpec& device,
                          const CacheQuestion& q) {
  serving::MemoryJob job{
      .architecture = a,
      .linear = weight_type("--weights", q.weights),
      .experts =
          weight_type("--expert-weights", q.expert_weights.empty() ? q.weights : q.expert_weights),
      .cache = format_for(a, cache_format(q.cache)),
      .prompt_tokens = q.prompt_tokens,
      .block = q.block,
      .memory_utilisation = q.memory_utilisation,
      .device_memory = device.hbm.size,
      .sms = device.sm.count};
  return job;
}

CacheRow row_on(const Architecture& a, const device::DeviceSpec& device, const CacheQuestion& q) {
  CacheRow row{.architecture = a.name,
               .device = device.name,
               .token_bytes_bf16 = token_bytes(a, CacheFormat::bf16),
               .token_bytes_fp8 = token_bytes(a, CacheFormat::fp8)};
  int64_t longest = q.contexts.back();
  if (a.positions == workload::Positions::learned && a.learned_positions < longest)
    row.longest = longest = a.learned_positions;
  const serving::MemoryJob job = job_on(a, device, q);
  row.job = q.gpus > 0 ? serving::fitting_cut(job, q.gpus, static_cast<double>(longest), q.domain)
                       : serving::smallest_group(job, static_cast<double>(longest), q.domain);
  if (!row.job) return row;
  const serving::InferenceMemory memory(*row.job);
  row.token_bytes_gpu =
      workload::KvCache(
          a, {.format = row.job->cache, .tensor = row.job->tensor, .pipeline = row.job->pipeline})
          .bytes_per_token();
  for (const int64_t context : q.contexts) {
    row.batch[context] =
        context <= longest
            ? std::optional<int64_t>(memory.largest_batch(static_cast<double>(context)))
            : std::nullopt;
  }
  row.longest_batch = memory.largest_batch(static_cast<double>(longest));
  const int64_t shown = std::min(q.contexts.front(), longest);
  row.plan = memory.plan(std::max<int64_t>(1, memory.largest_batch(static_cast<double>(shown))),
                         static_cast<double>(shown));
  return row;
}

std::string context_text(int64_t tokens) {
  constexpr int64_t kThousand = 1024;
  return tokens % kThousand == 0 ? fmt::format("{}K", tokens / kThousand) : std::to_string(tokens);
}

std::string batches_text(const CacheRow& row) {
  if (!row.job) return "none fits";
  std::string text = cut_text(*row.job);
  text += ' ';
  bool first = true;
  for (const auto& [context, batch] : row.batch) {
    text += fmt::format("{}{}", first ? "" : "/", batch ? std::to_string(*batch) : "-");
    first = false;
  }
  if (row.longest) text += fmt::format(" {}:{}", context_text(*row.longest), row.longest_batch);
  return text;
}

}  // namespace

std::vector<CacheRow> cache_rows(const Architecture& architecture, const CacheQuestion& question) {
  std::vector<CacheRow> rows;
  for (const std::string& name : question.devices)
    rows.push_back(row_on(architecture, device::load_device(name), question));
  return rows;
}

std::string cut_text(const serving::MemoryJob& job) {
  std::string text;
  const auto add = [&](const char* what, int64_t degree) {
    if (degree > 1) text += fmt::format("{}{}{}", text.empty() ? "" : " ", what, degree);
  };
  add("EP", job.expert);
  add("ETP", job.expert_tensor);
  add("TP", job.tensor);
  add("PP", job.pipeline);
  return text.empty() ? "1 GPU" : text;
}

std::string cache_assumptions(const CacheQuestion& q) {
  std::string lengths;
  for (const int64_t context : q.contexts)
    lengths += (lengths.empty() ? "" : "/") + context_text(context);
  std::string text = fmt::format(
      "# Largest batch: sequences of one attention rank that hold {} tokens each, cache in {}.\n",
      lengths, q.cache);
  text += q.gpus > 0 ? fmt::format("# Each model on {} GPUs", q.gpus)
                     : fmt::format(
                           "# Each model on the smallest power of two of GPUs that holds one "
                           "sequence of {} tokens",
                           context_text(q.contexts.back()));
  text += fmt::format(
      ":\n# experts over all of them (EP), each GPU an attention rank, heads of keys and values "
      "over as\n"
      "# few tensor ranks (TP) as will do; without experts TP within {} GPUs, then stages (PP). "
      "Where\n"
      "# positions end earlier: the batch there. Weights in {}{}, embedding, head, norms and\n"
      "# gates in bf16; pages of {} tokens; {:g} % of memory held back for graphs and fragments; "
      "{}.\n",
      q.domain, q.weights,
      q.expert_weights.empty() ? "" : fmt::format(", experts in {}", q.expert_weights), q.block,
      100 * (1 - q.memory_utilisation),
      q.prompt_tokens > 0 ? fmt::format("prefill iterations of up to {} tokens", q.prompt_tokens)
                          : std::string("decode iterations only"));
  return text;
}

std::string cache_text(const std::vector<CacheRow>& rows, const CacheQuestion& q) {
  constexpr int kName = 22, kBytes = 10;
  std::size_t width = 0;
  for (const CacheRow& row : rows)
    width = std::max({width, batches_text(row).size(), row.device.size()});
  std::string text =
      fmt::format("{:<{}} {:>{}} {:>{}}", "bytes a token in", kName, "bf16", kBytes, "fp8", kBytes);
  for (const std::string& device : q.devices)
    text += fmt::format("  {:<{}}", device::load_device(device).name, width);
  std::string before;
  for (const CacheRow& row : rows) {
    if (row.architecture != before) {
      text += fmt::format("\n{:<{}} {:>{}} {:>{}}", row.architecture, kName,
                          reports::count(row.token_bytes_bf16), kBytes,
                          reports::count(row.token_bytes_fp8), kBytes);
    }
    before = row.architecture;
    text += fmt::format("  {:<{}}", batches_text(row), width);
  }
  // Columns end in blanks that nobody wants to copy.
  std::string trimmed;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    line.erase(line.find_last_not_of(' ') + 1);
    trimmed += line + '\n';
    at = end + 1;
  }
  return trimmed;
}

std::string cache_csv(const std::vector<CacheRow>& rows) {
  std::string text =
      "architecture,device,gpus,tensor,expert,expert_tensor,pipeline,attention_ranks,cache,"
      "token_bytes_bf16,token_bytes_fp8,token_bytes_gpu,context,largest_batch\n";
  for (const CacheRow& row : rows) {
    const std::string head = fmt::format("{},{}", row.architecture, row.device);
    const std::string bytes =
        fmt::format("{:.0f},{:.0f}", row.token_bytes_bf16, row.token_bytes_fp8);
    if (!row.job) {
      text += fmt::format("{},,,,,,,,{},,,\n", head, bytes);
      continue;
    }
    const serving::MemoryJob& job = *row.job;
    std::map<int64_t, std::optional<int64_t>> batches = row.batch;
    if (row.longest) batches[*row.longest] = row.longest_batch;
    for (const auto& [context, batch] : batches)
      text += fmt::format("{},{},{},{},{},{},{},{},{},{:.0f},{},{}\n", head, job.gpus(), job.tensor,
                          job.expert, job.expert_tensor, job.pipeline, job.attention_ranks(),
                          workload::to_string(job.cache), bytes, row.token_bytes_gpu, context,
                          batch ? std::to_string(*batch) : "");
  }
  return text;
}

nlohmann::ordered_json cache_json(const std::vector<CacheRow>& rows, const CacheQuestion& q) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const CacheRow& row : rows) {
    nlohmann::ordered_json object{{"architecture", row.architecture},
                                  {"device", row.device},
                                  {"token_bytes_bf16", row.token_bytes_bf16},
                                  {"token_bytes_fp8", row.token_bytes_fp8}};
    if (row.longest) {
      object["longest_context"] = *row.longest;
      object["batch_at_longest_context"] = row.longest_batch;
    }
    if (row.job) {
      object["gpus"] = row.job->gpus();
      object["split"] = cut_text(*row.job);
      object["attention_ranks"] = row.job->attention_ranks();
      object["cache"] = workload::to_string(row.job->cache);
      object["token_bytes_gpu"] = row.token_bytes_gpu;
      for (const auto& [context, batch] : row.batch)
        object["largest_batch"].push_back(
            {{"context", context},
             {"sequences", batch ? nlohmann::ordered_json(*batch) : nlohmann::ordered_json()}});
      for (const serving::MemoryKind& kind : row.plan.kinds)
        object["memory_bytes"][kind.kind] = kind.bytes;
    }
    list.push_back(std::move(object));
  }
  return {{"weights", q.weights},
          {"expert_weights", q.expert_weights.empty() ? q.weights : q.expert_weights},
          {"block", q.block},
          {"memory_utilisation", q.memory_utilisation},
          {"prompt_tokens", q.prompt_tokens},
          {"rows", std::move(list)}};
}

}  // namespace tessera::app
