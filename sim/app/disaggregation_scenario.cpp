#include "sim/app/disaggregation_scenario.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "sim/core/config.hpp"

namespace tessera::app {
namespace {

using core::ConfigDocument;
using core::ConfigNode;
using serving::Phase;
using serving::TransferOverlap;
using std::int64_t;

constexpr const char* kFolder = "workloads/scenarios";
// Bounds that keep arithmetic sane; far outside of any machine or model.
constexpr int64_t kMaxTokens = 100'000'000;
constexpr int64_t kMaxGpus = 10'000'000;

core::LoadOptions load_options(const ScenarioOptions& options) {
  core::LoadOptions load;
  load.kind = "scenario";
  load.folder = kFolder;
  load.overrides = core::parse_overrides(options.set);
  load.overrides.insert(load.overrides.end(), options.overrides.begin(), options.overrides.end());
  load.references = {"disaggregation.prefill", "disaggregation.decode"};
  return load;
}

/// `batch.KEY` as it follows from a value of this file, which mistakes then name.
core::Override batch_change(const ConfigNode& from, const std::string& key, int64_t value) {
  core::Override change;
  change.path = {"batch", key};
  change.value = std::to_string(value);
  change.written_path = from.position();
  change.written = core::YamlNode{
      .kind = core::YamlNode::Kind::scalar, .position = from.position(), .scalar = change.value};
  return change;
}

/// Whether the scenario's job is that phase; reports what it is otherwise.
bool has_phase(const ConfigNode& node, const std::string& path, Phase phase) {
  const std::string job = ConfigDocument::load(path, load_options({})).root().text_or("job", "");
  if (job == serving::to_string(phase)) return true;
  node.fail(fmt::format("found '{}', whose job is '{}'; expected a {} scenario", node.text(), job,
                        serving::to_string(phase)));
  return false;
}

/// The scenario that a value names, with the change that this file makes; nothing after reporting
/// what is wrong.
std::optional<Scenario> read_pool(const ConfigNode& node, Phase phase, const core::Override& change,
                                  bool market_prices) {
  const core::LoadOptions named = node.reference("scenario", kFolder);
  try {
    const std::string path = core::resolve_file(node.text(), named).path;
    if (!has_phase(node, path, phase)) return std::nullopt;
    ScenarioOptions options;
    options.overrides = named.overrides;
    options.overrides.push_back(change);
    options.market_prices = market_prices;
    return read_scenario(path, options);
  } catch (const core::ConfigError& error) {
    if (node.present()) node.absorb(error);
  }
  return std::nullopt;
}

/// What the pools have to have in common, as the cache that they share is one.
void check_pools(const ConfigNode& node, const Scenario& prefill, const Scenario& decode) {
  const serving::InferenceJob& p = prefill.inference();
  const serving::InferenceJob& d = decode.inference();
  const ConfigNode here = node.at("prefill"), there = node.at("decode");
  if (!(p.architecture == d.architecture))
    here.fail_against(there, fmt::format("found {}; expected the decode pool's architecture, {}",
                                         p.architecture.name, d.architecture.name));
  if (p.precision.kv_cache != d.precision.kv_cache)
    here.fail_against(there, fmt::format("found a cache in {}; expected the decode pool's, {}",
                                         core::to_string(p.precision.kv_cache),
                                         core::to_string(d.precision.kv_cache)));
}

void read_pools(const ConfigNode& node, bool market_prices, DisaggregationScenario& scenario) {
  // Named before the rest is checked, so that nobody takes them for unknown keys.
  (void)node.text("prefill");
  (void)node.text("decode");
  scenario.prompt = node.integer("prompt", 1, kMaxTokens);
  scenario.output = node.integer("output", 2, kMaxTokens);
  scenario.transfer =
      node.choice_or<TransferOverlap>("transfer",
                                      {{"layer_wise", TransferOverlap::layer_wise},
                                       {"after_prefill", TransferOverlap::after_prefill}},
                                      TransferOverlap::layer_wise);
  if (node.has("gpus")) scenario.gpus = node.integer("gpus", 2, kMaxGpus);
  if (!node.sound()) return;
  const auto prefill =
      read_pool(node.at("prefill"), Phase::prefill,
                batch_change(node.at("prompt"), "prompt", scenario.prompt), market_prices);
  const auto decode =
      read_pool(node.at("decode"), Phase::decode,
                batch_change(node.at("output"), "context", scenario.prompt + scenario.output / 2),
                market_prices);
  if (!prefill || !decode) return;
  check_pools(node, *prefill, *decode);
  scenario.prefill = *prefill;
  scenario.decode = *decode;
  if (const int64_t most = scenario.room().both; scenario.gpus.value_or(0) > most)
    node.fail("gpus", fmt::format("found {}; expected at most the {} of the pools' clusters",
                                  *scenario.gpus, most));
}

/// The document's values, and under "pools" those of the scenarios that it names.
std::string resolved_json(const ConfigDocument& document, const DisaggregationScenario& scenario) {
  nlohmann::ordered_json json = document.resolved(true);
  for (const auto& [name, pool] :
       {std::pair{"prefill", &scenario.prefill}, std::pair{"decode", &scenario.decode}}) {
    if (!pool->resolved.empty())
      json["pools"][name] = nlohmann::ordered_json::parse(pool->resolved);
  }
  return json.dump();
}

}  // namespace

serving::PoolRoom DisaggregationScenario::room() const {
  const int64_t prefilling = prefill.cluster.gpus(), decoding = decode.cluster.gpus();
  const bool one = prefill.cluster.name == decode.cluster.name;
  return {prefilling, decoding, one ? decoding : prefilling + decoding};
}

bool is_disaggregation(const std::string& path_or_name, const ScenarioOptions& options) {
  const ConfigDocument document = ConfigDocument::load(path_or_name, load_options(options));
  const ConfigNode job = document.root().at("job");
  return job.present() && !job.is_object() && !job.is_list() && job.text() == "disaggregation";
}

DisaggregationScenario read_disaggregation(const std::string& path_or_name,
                                           const ScenarioOptions& options) {
  const ConfigDocument document = ConfigDocument::load(path_or_name, load_options(options));
  const ConfigNode root = document.root();
  DisaggregationScenario scenario;
  (void)root.text("job");  // is_disaggregation() chose this reader by it
  read_pools(root.object("disaggregation"), options.market_prices, scenario);
  scenario.title = root.text_or("title", "");
  document.finish();
  scenario.name = document.name();
  if (scenario.title.empty())
    scenario.title = fmt::format("{} and {}", scenario.prefill.title, scenario.decode.title);
  scenario.resolved = resolved_json(document, scenario);
  return scenario;
}

}  // namespace tessera::app
