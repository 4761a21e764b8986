#include "models/workload/hf_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "models/workload/architecture_file.hpp"
#include "models/workload/architecture_yaml.hpp"
#include "models/workload/hf_families.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::workload {
namespace {

using core::ConfigNode;

/// Reads the language model of one family; the root is given apart, as some fields stand there.
using FamilyReader = void (*)(HfFields& text, HfImport& import);

struct Family {
  const char* model_type;
  FamilyReader read;
};

constexpr auto kFamilies = std::to_array<Family>({
    {"llama", read_hf_llama},
    {"mistral", read_hf_llama},
    {"qwen2", read_hf_llama},
    {"qwen3", read_hf_llama},
    {"mixtral", read_hf_mixtral},
    {"qwen3_moe", read_hf_qwen3_moe},
    {"qwen3_vl_moe", read_hf_qwen3_moe},
    {"llama4", read_hf_llama4},
    {"gpt_oss", read_hf_gpt_oss},
    {"minimax_m2", read_hf_minimax_m2},
    {"glm4_moe", read_hf_glm4_moe},
    {"deepseek_v2", read_hf_deepseek},
    {"deepseek_v3", read_hf_deepseek},
    {"deepseek_v32", read_hf_deepseek},
    {"kimi_k2", read_hf_deepseek},
    {"glm_moe_dsa", read_hf_deepseek},
});

struct Refused {
  const char* model_type;
  const char* reason;
};

/// Models whose layers are known and cannot be described.
constexpr auto kRefused = std::to_array<Refused>({
    {"qwen3_next", "linear attention (gated delta rule, linear_num_value_heads)"},
    {"qwen3_5_moe", "linear attention (gated delta rule, linear_num_value_heads)"},
    {"kimi_k3",
     "delta attention (linear_attn_config) and experts of a narrower hidden size "
     "(routed_expert_hidden_size)"},
    {"kimi_linear", "delta attention (linear_attn_config)"},
    {"deepseek_v4", "compressed attention (compress_ratios) and hyper-connections (hc_mult)"},
    {"minimax_m3", "attention to blocks that an index chooses (sparse_attention_config)"},
    {"minimax", "linear attention (lightning)"},
});

const Family& family_of(const ConfigNode& root, const std::string& model_type) {
  for (const Refused& refused : kRefused) {
    if (model_type == refused.model_type)
      throw core::Refusal(core::RefusalKind::outside_model,
                          fmt::format("{} is not modelled: it has {}", model_type, refused.reason));
  }
  std::vector<std::string> known;
  for (const Family& family : kFamilies) {
    if (model_type == family.model_type) return family;
    known.emplace_back(family.model_type);
  }
  if (root.has("model_type")) root.fail("model_type", core::unknown_name(model_type, known));
  return kFamilies.front();
}

/// Source: transformers, Qwen3VLMoeVisionConfig.
VisionEncoder read_vision(HfFields& f, HfImport& import) {
  f.expect("hidden_act", std::string("gelu_pytorch_tanh"), "the block's MLP is an ungated GELU");
  VisionEncoder v{.layers = f.count("depth"),
                  .hidden = f.count("hidden_size"),
                  .heads = f.count("num_heads"),
                  .intermediate = f.count("intermediate_size"),
                  .channels = f.count("in_channels"),
                  .patch = f.count("patch_size"),
                  .temporal_patch = f.count("temporal_patch_size"),
                  .merge = f.count("spatial_merge_size"),
                  .positions = f.count("num_position_embeddings"),
                  .output = f.count("out_hidden_size")};
  if (f.has("deepstack_visual_indexes"))
    v.taps = static_cast<std::int64_t>(f.use("deepstack_visual_indexes").list().size());
  for (const auto& [key, field] : std::initializer_list<std::pair<const char*, const char*>>{
           {"layers", "depth"},
           {"hidden", "hidden_size"},
           {"heads", "num_heads"},
           {"intermediate", "intermediate_size"},
           {"channels", "in_channels"},
           {"patch", "patch_size"},
           {"temporal_patch", "temporal_patch_size"},
           {"merge", "spatial_merge_size"},
           {"positions", "num_position_embeddings"},
           {"output", "out_hidden_size"},
           {"taps", "deepstack_visual_indexes"}})
    import.sources[fmt::format("vision.{}", key)] = fmt::format("vision_config.{}", field);
  return v;
}

/// The architecture as its file is read, so that what contradicts itself is a mistake here too.
Architecture reread(const HfImport& import, const std::string& shown,
                    const std::vector<core::Override>& overrides) {
  const core::ConfigDocument document = core::ConfigDocument::from_text(
      architecture_yaml(import.architecture, import.sources), shown + " as an architecture",
      {.kind = "architecture", .overrides = overrides});
  Architecture architecture = read_architecture(document.root(), import.architecture.name);
  document.finish();
  return architecture;
}

void take_ignored(const HfFields& fields, const std::string& prefix, HfImport& import) {
  for (const IgnoredField& field : fields.ignored())
    import.ignored.push_back({prefix + field.name, field.why});
}

}  // namespace

HfImport import_hf_config(const ConfigNode& root, std::string name) {
  HfImport import;
  import.architecture.name = std::move(name);
  import.model_type = root.text("model_type");
  const Family& family = family_of(root, import.model_type);
  if (!root.sound()) {
    for (const std::string& key : root.keys()) root.ignore(key);
    return import;
  }
  HfFields outer(root, import.model_type);
  if (!outer.has("text_config")) {
    family.read(outer, import);
    outer.finish();
    take_ignored(outer, "", import);
    return import;
  }
  HfFields text(outer.use("text_config").object(), import.model_type);
  family.read(text, import);
  text.finish();
  if (outer.has("tie_word_embeddings"))
    import.architecture.tied_embeddings = outer.flag_or("tie_word_embeddings", false);
  if (outer.has("vision_config")) {
    HfFields vision(outer.use("vision_config").object(), import.model_type);
    import.architecture.vision = read_vision(vision, import);
    vision.finish();
    take_ignored(vision, "vision_config.", import);
  }
  outer.finish();
  take_ignored(text, "text_config.", import);
  take_ignored(outer, "", import);
  return import;
}

HfImport load_hf_config(const std::string& path, core::LoadOptions options) {
  options.kind = "config.json";
  options.overrides.clear();
  const core::ResolvedFile file = core::resolve_file(path, options);
  const core::ConfigDocument document =
      core::ConfigDocument::from_text(core::read_text_file(file), file.shown, options);
  HfImport import = import_hf_config(document.root(), file.path.stem().string());
  document.finish();
  static_cast<void>(reread(import, file.shown, {}));
  return import;
}

Architecture load_imported_architecture(const std::string& path, const core::LoadOptions& options) {
  return reread(load_hf_config(path, options), path, options.overrides);
}

}  // namespace tessera::workload
