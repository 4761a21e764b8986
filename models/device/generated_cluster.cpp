#include "models/device/generated_cluster.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <regex>
#include <sstream>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::device {
namespace {

using core::ConfigDocument;
using core::LoadOptions;

/// The parts of a name; 0 domains: as many as the GPUs need.
struct ClusterName {
  std::string device;
  int domains;
  int gpus;  ///< Of a domain where `domains` is given, else of the cluster.
  std::string fabric;
};

std::filesystem::path root_of(const LoadOptions& options) {
  return options.data_root.empty() ? core::data_root() : options.data_root;
}

[[noreturn]] void fail(const LoadOptions& options, const std::string& text) {
  if (options.referrer)
    throw core::ConfigError(options.referrer->where,
                            fmt::format("{}: {}", options.referrer->message, text));
  throw core::ConfigError({"tessera", 0, 0}, fmt::format("{}: {}", options.kind, text));
}

[[noreturn]] void fail(const LoadOptions& options, const std::string& name,
                       const std::string& message) {
  fail(options, fmt::format("found '{}'; {}", name, message));
}

bool has_file(const std::string& name, const LoadOptions& options) {
  std::error_code ignored;
  const std::string file = name + ".yaml";
  return std::filesystem::exists(root_of(options) / options.folder / file, ignored) ||
         (!options.beside.empty() && std::filesystem::exists(options.beside / file, ignored));
}

/// Splits a name whose first part is a known device; others stand for files.
std::optional<ClusterName> split(const std::string& name, const LoadOptions& options) {
  static const std::regex kRest{R"(_(?:([0-9]{1,7})x)?([0-9]{1,7})(?:_([a-z][a-z0-9_]*))?)"};
  static constexpr std::string_view kShort = "_sxm";
  const auto number = [](const std::string& text) { return text.empty() ? 0 : std::stoi(text); };
  for (const std::string& device : core::names_in(device_options().folder, root_of(options))) {
    std::vector<std::string> called = {device};
    // "h800" is short for "h800_sxm".
    if (device.ends_with(kShort)) called.push_back(device.substr(0, device.size() - kShort.size()));
    for (const std::string& prefix : called) {
      if (!name.starts_with(prefix)) continue;
      const std::string rest = name.substr(prefix.size());
      std::smatch parts;
      if (std::regex_match(rest, parts, kRest))
        return ClusterName{device, number(parts[1].str()), number(parts[2].str()), parts[3].str()};
    }
  }
  return std::nullopt;
}

/// The first node, by name, that holds the device.
NodeSpec node_with(const std::string& device, const std::string& name, const LoadOptions& options) {
  for (const std::string& node : core::names_in(node_options().folder, root_of(options))) {
    LoadOptions load = node_options();
    load.data_root = options.data_root;
    const ConfigDocument document = ConfigDocument::load(node, load);
    if (document.resolved(false).value("device", "") == device) return read_node(document);
  }
  fail(options, name, fmt::format("no node of {} holds {}", node_options().folder, device));
}

/// GPUs a domain: all of it, or the most whole nodes of it that divide the GPUs.
int gpus_per_domain(const ClusterName& parts, const NodeSpec& node, const std::string& name,
                    const LoadOptions& options) {
  const int largest = std::max(node.gpus, node.nvlink_domain.gpus);
  if (parts.domains > 0) return parts.gpus;
  for (int gpus = std::min(largest, parts.gpus); gpus >= node.gpus; --gpus)
    if (gpus % node.gpus == 0 && parts.gpus % gpus == 0) return gpus;
  fail(options, name,
       fmt::format("expected a multiple of the {} GPUs of {}", node.gpus, node.name));
}

std::string text_of(const ClusterName& parts, const std::string& name, const LoadOptions& options) {
  const NodeSpec node = node_with(parts.device, name, options);
  const bool rack = node.nvlink_domain.gpus > node.gpus;
  const std::string fabric = !parts.fabric.empty() ? parts.fabric : rack ? "nvl72" : "rail";
  const std::vector<std::string> known = core::names_in(kFabricFolder, root_of(options));
  if (std::find(known.begin(), known.end(), fabric) == known.end())
    fail(options, name, "fabric: " + core::unknown_name(fabric, known));
  if (parts.gpus == 0) fail(options, name, "expected at least one GPU");
  const int per_domain = gpus_per_domain(parts, node, name, options);
  const int domains = parts.domains > 0 ? parts.domains : parts.gpus / per_domain;
  std::string text = fmt::format(
      "# {} GPUs in {} x {}, joined as {}/{}.yaml says; made from the name.\n"
      "node: {}\ndomains: {}  # the name\ngpus_per_domain: {}  # the name\nfabric:\n",
      domains * per_domain, domains, node.name, kFabricFolder, fabric, node.name, domains,
      per_domain);
  LoadOptions load{.kind = "fabric", .folder = kFabricFolder};
  load.data_root = options.data_root;
  std::istringstream lines{ConfigDocument::load(fabric, load).to_yaml(true)};
  for (std::string line; std::getline(lines, line);) text += "  " + line + "\n";
  return text;
}

/// The text that a bare name without a file stands for; none for files.
std::optional<std::string> generated(const std::string& name, const LoadOptions& options) {
  if (has_file(name, options)) return std::nullopt;
  if (const auto parts = split(name, options)) return text_of(*parts, name, options);
  if (name.empty() || name.find_first_of("/.") != std::string::npos) return std::nullopt;
  fail(options, core::unknown_name(name, core::names_in(options.folder, root_of(options))) +
                    ", or GPUs of a device, as h800_64 or gb200_32x64_nvl72");
}

}  // namespace

ConfigDocument load_cluster_document(const std::string& name_or_path, const LoadOptions& options) {
  if (const auto text = generated(name_or_path, options))
    return ConfigDocument::from_text(*text, name_or_path + ".yaml (made from the name)", options);
  return ConfigDocument::load(name_or_path, options);
}

std::string cluster_text(const std::string& name_or_path, const LoadOptions& options) {
  if (const auto text = generated(name_or_path, options)) return *text;
  return core::read_text_file(core::resolve_file(name_or_path, options));
}

}  // namespace tessera::device
