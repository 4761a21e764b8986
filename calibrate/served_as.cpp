#include "calibrate/served_as.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "calibrate/measured_row.hpp"
#include "sim/core/config.hpp"

namespace tessera::calibrate {

namespace {

/// What rows call a version that nobody stated.
constexpr const char* kUnstated = "unstated";
constexpr std::int64_t kMostGpus = 1'000'000, kMostDrafts = 16;

core::DataType named(const core::ConfigNode& node, const char* key, const std::string& name) {
  if (const auto type = core::parse_data_type(name)) return *type;
  node.fail(key, fmt::format("found '{}'; expected one of {}", name,
                             fmt::join(core::data_type_names(), ", ")));
  return core::DataType::bf16;
}

core::DataType type_of(const core::ConfigNode& node, const char* key, core::DataType fallback) {
  return node.has(key) ? named(node, key, node.text(key)) : fallback;
}

std::optional<std::vector<core::DataType>> types_of(const core::ConfigNode& node, const char* key) {
  if (!node.has(key)) return std::nullopt;
  std::vector<core::DataType> types;
  for (const std::string& name : node.texts(key)) types.push_back(named(node, key, name));
  return types;
}

ServedPrecision precision_of(const core::ConfigNode& node) {
  ServedPrecision p;
  p.gemm = type_of(node, "gemm", p.gemm);
  p.query_key_value = type_of(node, "query_key_value", p.gemm);
  p.output = type_of(node, "output", p.gemm);
  p.experts = type_of(node, "experts", p.gemm);
  p.cache = type_of(node, "cache", p.cache);
  return p;
}

bool matches(const std::string& wanted, const std::string& found) {
  return wanted.empty() || wanted == found;
}

/// Versions for which a row holds; none: all.
std::vector<std::string> versions_of(const core::ConfigNode& node) {
  return node.has("versions") ? node.texts("versions") : std::vector<std::string>{};
}

bool is_one_of(const std::string& version, const std::vector<std::string>& versions) {
  return versions.empty() || std::find(versions.begin(), versions.end(), version) != versions.end();
}

std::optional<bool> said(const core::ConfigNode& node, const char* key) {
  return node.has(key) ? std::optional{node.boolean(key)} : std::nullopt;
}

template <class T>
void take(std::optional<T>& field, const std::optional<T>& later) {
  if (!field) field = later;
}

}  // namespace

ServedMap::Server ServedMap::read_server(const core::ConfigNode& node) {
  constexpr std::int64_t kMostTokens = 1'000'000;
  Server server{.framework = node.text("framework"),
                .generation = node.text_or("generation", ""),
                .architecture = node.text_or("architecture", ""),
                .versions = versions_of(node),
                .replicas = node.boolean_or("replicas", false),
                .sum_normalises = said(node, "sum_normalises"),
                .sum_casts = types_of(node, "sum_casts"),
                .norm_casts = types_of(node, "norm_casts"),
                .activation_casts = types_of(node, "activation_casts"),
                .joint_qk_norm = said(node, "joint_qk_norm"),
                .rotation_apart = said(node, "rotation_apart"),
                .shared_beside_tokens = {},
                .prefill_with_decode = said(node, "prefill_with_decode"),
                .eager = said(node, "eager")};
  if (node.has("shared_beside_tokens"))
    server.shared_beside_tokens = node.integer("shared_beside_tokens", 0, kMostTokens);
  return server;
}

void ServedMap::Server::complete(const Server& later) {
  take(sum_normalises, later.sum_normalises);
  take(sum_casts, later.sum_casts);
  take(norm_casts, later.norm_casts);
  take(activation_casts, later.activation_casts);
  take(joint_qk_norm, later.joint_qk_norm);
  take(rotation_apart, later.rotation_apart);
  take(shared_beside_tokens, later.shared_beside_tokens);
  take(prefill_with_decode, later.prefill_with_decode);
  take(eager, later.eager);
}

ServedMap ServedMap::load() {
  core::LoadOptions options;
  options.kind = "served kernels";
  options.folder = "calibrate";
  const core::ConfigDocument document = core::ConfigDocument::load("served_as", options);
  const core::ConfigNode root = document.root();
  ServedMap map;
  for (const core::ConfigNode& node : root.list("models"))
    map.models_.push_back({.name = node.text("name"),
                           .architecture = node.text_or("architecture", ""),
                           .refused = node.text_or("refused", "")});
  for (const core::ConfigNode& node : root.list("precisions"))
    map.precisions_.push_back({.framework = node.text_or("framework", ""),
                               .architecture = node.text_or("architecture", ""),
                               .generation = node.text_or("generation", ""),
                               .gemm_quant = node.text_or("gemm_quant", ""),
                               .precision = precision_of(node)});
  const auto kernels = [&](const char* key) {
    std::vector<KernelRow> rows;
    for (const core::ConfigNode& node : root.list(key))
      rows.push_back({.framework = node.text("framework"),
                      .generation = node.text_or("generation", ""),
                      .type = node.text_or("type", ""),
                      .versions = versions_of(node),
                      .replicas = node.boolean_or("replicas", false),
                      .tensor_below = node.integer_or("tensor_below", 2, kMostGpus, 0),
                      .named = {node.text("as"), node.text("kernel")}});
    return rows;
  };
  map.gemms_ = kernels("gemms");
  map.attentions_ = kernels("attentions");
  map.latent_attentions_ = kernels("latent_attentions");
  map.latent_prefills_ = kernels("latent_prefills");
  map.experts_ = kernels("experts");
  for (const core::ConfigNode& node : root.list("speculations"))
    map.drafts_.push_back({.framework = node.text("framework"),
                           .replicas = node.boolean_or("replicas", false),
                           .drafts = {.tokens = node.integer("tokens", 1, kMostDrafts),
                                      .acceptance = node.number("acceptance", 0, 1)}});
  for (const core::ConfigNode& node : root.list("servers"))
    map.servers_.push_back(read_server(node));
  document.finish();
  return map;
}

const NamedKernel& ServedMap::find(const std::vector<KernelRow>& rows, const Asking& asking,
                                   core::DataType type, const char* what) {
  for (const KernelRow& row : rows)
    if (row.framework == asking.framework && is_one_of(asking.version, row.versions) &&
        matches(row.generation, asking.generation) && (!row.replicas || asking.replicas) &&
        (row.tensor_below == 0 || asking.tensor < row.tensor_below) &&
        matches(row.type, std::string{core::to_string(type)}))
      return row.named;
  refuse_row(fmt::format("no {} is known of {} in {} on {}", what, asking.framework,
                         core::to_string(type), asking.generation));
}

NamedKernel ServedMap::gemm(const std::string& framework, device::Generation generation,
                            core::DataType type) const {
  return find(gemms_, {.framework = framework, .generation = device::to_string(generation)}, type,
              "product");
}

ServedCheckpoint ServedMap::checkpoint(const ServedRow& row, device::Generation of_gpu) const {
  const std::string generation = device::to_string(of_gpu);
  const auto model = std::find_if(models_.begin(), models_.end(),
                                  [&](const Model& m) { return m.name == row.model; });
  if (model == models_.end())
    refuse_row(fmt::format("{} is a model that served_as.yaml does not know", row.model));
  if (!model->refused.empty()) refuse_row(model->refused);
  const auto precision =
      std::find_if(precisions_.begin(), precisions_.end(), [&](const PrecisionRow& p) {
        return matches(p.framework, row.framework) &&
               matches(p.architecture, model->architecture) && matches(p.generation, generation) &&
               matches(p.gemm_quant, row.gemm_quant);
      });
  if (precision == precisions_.end())
    refuse_row(fmt::format("no checkpoint of {} is known in '{}'", row.model, row.gemm_quant));
  return {model->architecture, precision->precision};
}

ServedMap::Server ServedMap::habits(const ServerQuestion& q) const {
  Server all;
  const std::string version = q.version.empty() ? kUnstated : q.version;
  for (const Server& row : servers_) {
    if (row.framework == q.framework && is_one_of(version, row.versions) &&
        matches(row.generation, device::to_string(q.generation)) &&
        matches(row.architecture, q.architecture) && (!row.replicas || q.replicas))
      all.complete(row);
  }
  return all;
}

std::optional<ServedDrafts> ServedMap::drafts(const ServerQuestion& q) const {
  for (const DraftRow& row : drafts_)
    if (row.framework == q.framework && (!row.replicas || q.replicas)) return row.drafts;
  return std::nullopt;
}

ServerKernels ServedMap::server(const ServerQuestion& q) const {
  const Server h = habits(q);
  if (!h.sum_normalises || !h.sum_casts || !h.norm_casts || !h.activation_casts ||
      !h.joint_qk_norm || !h.rotation_apart || !h.shared_beside_tokens || !h.prefill_with_decode ||
      !h.eager)
    refuse_row(fmt::format("no server named {} is known", q.framework));
  const Asking asking{.framework = q.framework,
                      .version = q.version,
                      .generation = device::to_string(q.generation),
                      .replicas = q.replicas,
                      .tensor = q.tensor};
  return {.name = q.version.empty() ? q.framework : q.framework + " " + q.version,
          .framework = q.framework,
          .attention = find(attentions_, asking, q.linear, "attention"),
          .latent_attention = find(latent_attentions_, asking, q.linear, "latent attention"),
          .latent_prefill = find(latent_prefills_, asking, q.linear, "latent prefill"),
          .experts = find(experts_, asking, q.experts, "fused MoE"),
          .fusions = {.sum_normalises = *h.sum_normalises,
                      .sum_casts = *h.sum_casts,
                      .norm_casts = *h.norm_casts,
                      .activation_casts = *h.activation_casts,
                      .joint_qk_norm = *h.joint_qk_norm,
                      .rotation_apart = *h.rotation_apart,
                      .shared_beside_tokens = *h.shared_beside_tokens},
          .prefill_with_decode = *h.prefill_with_decode,
          .eager = *h.eager,
          .drafts = drafts(q)};
}

}  // namespace tessera::calibrate
