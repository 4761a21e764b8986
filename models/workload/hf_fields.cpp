#include "models/workload/hf_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tessera::workload {
namespace {

constexpr std::int64_t kMaxCount = std::int64_t{1} << 24;  // far above any published field

struct Irrelevant {
  std::string_view why;
  std::string_view key;
};

constexpr std::string_view kTokens = "numbers of special tokens";
constexpr std::string_view kClass = "which class runs the model";
constexpr std::string_view kLoss = "initial values and terms of the loss";
constexpr std::string_view kStored =
    "type in which the release is stored; a scenario's precision says what is computed";
constexpr std::string_view kScalar = "a factor in a kernel, whatever its value";
constexpr std::string_view kContext = "the longest context, not the one that a scenario runs";
constexpr std::string_view kSharding = "how the release was split over devices";
constexpr std::string_view kGenerate = "how text is sampled";

/// Fields that change nothing in any model.
constexpr auto kIrrelevant = std::to_array<Irrelevant>({
    {kTokens, "bos_token_id"},
    {kTokens, "eos_token_id"},
    {kTokens, "pad_token_id"},
    {kTokens, "image_token_id"},
    {kTokens, "video_token_id"},
    {kTokens, "vision_start_token_id"},
    {kTokens, "vision_end_token_id"},
    {kClass, "architectures"},
    {kClass, "auto_map"},
    {kClass, "model_type"},
    {kClass, "transformers_version"},
    {kClass, "_name_or_path"},
    {kGenerate, "use_cache"},
    {kLoss, "initializer_range"},
    {kLoss, "router_aux_loss_coef"},
    {kLoss, "output_router_logits"},
    {kLoss, "router_jitter_noise"},
    {kLoss, "aux_loss_alpha"},
    {kLoss, "seq_aux"},
    {kStored, "torch_dtype"},
    {kStored, "dtype"},
    {kStored, "quantization_config"},
    {kStored, "moe_router_dtype"},
    {kScalar, "rms_norm_eps"},
    {kScalar, "rope_theta"},
    {kScalar, "rope_scaling"},
    {kScalar, "rope_interleave"},
    {kScalar, "indexer_rope_interleave"},
    {kScalar, "routed_scaling_factor"},
    {kScalar, "norm_topk_prob"},
    {kScalar, "swiglu_limit"},
    {kContext, "max_position_embeddings"},
    {kContext, "initial_context_length"},
    {kSharding, "pretraining_tp"},
    {kSharding, "ep_size"},
});

}  // namespace

bool HfFields::has(std::string_view key) {
  if (!node_.has(key)) return false;
  used_.emplace(key);
  return !node_.at(key).is_null();
}

core::ConfigNode HfFields::use(std::string_view key) {
  used_.emplace(key);
  return node_.at(key);
}

std::int64_t HfFields::count(std::string_view key, std::int64_t min) {
  return use(key).integer(min, kMaxCount);
}

std::int64_t HfFields::count_or(std::string_view key, std::int64_t min, std::int64_t fallback) {
  return has(key) ? count(key, min) : fallback;
}

bool HfFields::flag_or(std::string_view key, bool fallback) {
  return has(key) ? use(key).boolean() : fallback;
}

std::string HfFields::text_or(std::string_view key, const std::string& fallback) {
  return has(key) ? use(key).text() : fallback;
}

std::vector<std::string> HfFields::texts(std::string_view key) { return use(key).texts(); }

void HfFields::expect(std::string_view key, std::int64_t value, const std::string& why) {
  if (!has(key)) return;
  const std::int64_t found = count(key, 0);
  if (found != value) fail(key, fmt::format("found {}; expected {}: {}", found, value, why));
}

void HfFields::expect(std::string_view key, bool value, const std::string& why) {
  if (!has(key)) return;
  if (use(key).boolean() != value)
    fail(key, fmt::format("found {}; expected {}: {}", !value, value, why));
}

void HfFields::expect(std::string_view key, const std::string& value, const std::string& why) {
  if (!has(key)) return;
  const std::string found = use(key).text();
  if (found != value) fail(key, fmt::format("found '{}'; expected {}: {}", found, value, why));
}

void HfFields::ignore(std::string_view key, const std::string& why) {
  if (!node_.has(key)) return;
  used_.emplace(key);
  node_.ignore(key);
  ignored_.push_back({std::string(key), why});
}

void HfFields::finish() {
  for (const std::string& key : node_.keys()) {
    if (used_.contains(key)) continue;
    const auto* const known = std::find_if(kIrrelevant.begin(), kIrrelevant.end(),
                                           [&](const Irrelevant& i) { return i.key == key; });
    if (known != kIrrelevant.end()) {
      ignore(key, std::string(known->why));
      continue;
    }
    node_.fail(key, fmt::format("a field that the import of {} does not understand; it may change "
                                "what is computed",
                                model_type_));
    node_.ignore(key);
  }
}

}  // namespace tessera::workload
