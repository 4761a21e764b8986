#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calibrate/scoreboard.hpp"
#include "sim/app/serving_validation.hpp"

namespace tessera::app {

namespace {

using Servers = std::vector<const ValidatedServer*>;

std::string line_of(const ValidatedServer& server) {
  const calibrate::ServedRow& r = server.timed.row;
  return fmt::format(
      "{:+7.1f} %  {:8.3f}  {:8.3f} ({:.3f} to {:.3f})  {:<8} {:<34} {:<22} {}/{} x{} TP{}{}{}{}{}",
      100 * server.error(), r.tpot_ms, server.tpot.value, server.tpot.lower, server.tpot.upper,
      r.gpu, r.model, r.version_name(), r.prompt, r.output, r.concurrency, r.layout.tensor,
      r.layout.attention_ranks > 1 ? fmt::format(" DP{}", r.layout.attention_ranks) : "",
      r.layout.expert > 1 ? fmt::format(" EP{}", r.layout.expert) : "",
      r.layout_note.empty() ? "" : "  [" + r.layout_note + "]",
      server.speculation.empty() ? "" : "  [speculates: " + server.speculation + "]");
}

std::string group_line(const std::string& name, const Servers& servers) {
  std::vector<double> errors, sizes, ttft;
  double inside = 0;
  for (const ValidatedServer* server : servers) {
    errors.push_back(server->error());
    sizes.push_back(std::abs(server->error()));
    if (server->timed.row.ttft_ms > 0)
      ttft.push_back(std::abs(server->ttft.value / server->timed.row.ttft_ms - 1));
    inside += server->inside() ? 1 : 0;
  }
  const auto n = static_cast<double>(servers.size());
  return fmt::format("{:<44} {:>5} {:>6.1f} % {:>6.1f} % {:>+6.1f} % {:>6.1f} % {:>8.1f} %\n", name,
                     servers.size(), 100 * calibrate::quantile(sizes, 0.5),
                     100 * calibrate::quantile(sizes, 0.9), 100 * calibrate::quantile(errors, 0.5),
                     100 * inside / n, 100 * calibrate::quantile(ttft, 0.5));
}

bool quoted(const ValidatedServer& server, const ServingValidation& validation) {
  return !validation.options.half || server.timed.row.half == *validation.options.half;
}

}  // namespace

std::string to_text(const ServingValidation& validation) {
  Servers predicted;
  std::map<std::string, std::size_t> reasons;
  std::map<std::string, Servers> groups;
  std::size_t all = 0;
  for (const ValidatedServer& server : validation.rows) {
    if (!quoted(server, validation)) continue;
    ++all;
    if (!server.timed.refused.empty()) {
      ++reasons[server.timed.refused];
      continue;
    }
    predicted.push_back(&server);
    groups[server.timed.row.gpu + " " + server.timed.row.model].push_back(&server);
  }
  std::stable_sort(predicted.begin(), predicted.end(), [](const auto* a, const auto* b) {
    return std::abs(std::log1p(a->error())) > std::abs(std::log1p(b->error()));
  });
  std::string text = fmt::format("{:>9}  {:>8}  {:>8}\n", "error", "measured", "predicted");
  for (const ValidatedServer* server : predicted) text += line_of(*server) + "\n";
  text += fmt::format("\n{:<44} {:>5} {:>8} {:>8} {:>8} {:>8} {:>10}\n", "TPOT by GPU and model",
                      "rows", "median", "p90", "bias", "in90", "TTFT median");
  for (const auto& [name, servers] : groups) {
    text += group_line(name, servers);
    Servers explained;
    for (const ValidatedServer* server : servers)
      if (server->speculation.empty()) explained.push_back(server);
    if (explained.size() < servers.size() && !explained.empty())
      text += group_line("  of them without speculation", explained);
  }
  if (!predicted.empty()) text += group_line("all", predicted);
  text += fmt::format("\n{} of {} covered rows are predicted\n", predicted.size(), all);
  for (const auto& [reason, count] : reasons) text += fmt::format("{:>5}  {}\n", count, reason);
  return text;
}

}  // namespace tessera::app
