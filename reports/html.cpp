#include "reports/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "reports/aggregate.hpp"
#include "reports/bill.hpp"
#include "reports/csv.hpp"
#include "reports/format.hpp"
#include "reports/json.hpp"
#include "reports/page.hpp"
#include "reports/timeline_window.hpp"

namespace tessera::reports {
namespace {

using core::Result;

/// Spans that a browser draws as shapes without a noticeable wait.
constexpr std::size_t kMostSpansDrawn = 16000;
constexpr std::size_t kCards = 6;

std::string header(const Result& result) {
  std::string text =
      "<header>\n<h1>" + escape_html(result.title.empty() ? result.job : result.title) + "</h1>\n";
  const core::MachineRow& machine = result.machine;
  if (!machine.device.empty()) {
    text += fmt::format("<p class=\"subtitle\">{} x {}{}{}</p>\n", count(machine.gpus),
                        escape_html(machine.device), machine.cluster.empty() ? "" : ", ",
                        escape_html(machine.cluster));
  }
  if (result.refused)
    text += "<div class=\"alert refused\" role=\"alert\"><b>Refused.</b> " +
            escape_html(*result.refused) + "</div>\n";
  text += "<ul class=\"cards\">\n";
  const auto quantities = headline_first(result);
  for (std::size_t i = 0; i < std::min(kCards, quantities.size()); ++i)
    text += estimate_card(quantities[i].first, quantities[i].second);
  text += "</ul>\n";
  if (!result.warnings.empty())
    text += "<div class=\"alert\" role=\"note\"><b>Warnings</b>" + sentence_list(result.warnings) +
            "</div>\n";
  return text + "</header>\n";
}

std::string more_quantities(const Result& result) {
  const auto quantities = headline_first(result);
  if (quantities.size() <= kCards) return "";
  HtmlTable table{.id = "quantities", .heads = {"Quantity", "Predicted", "90 % interval", "Grade"}};
  for (std::size_t i = kCards; i < quantities.size(); ++i) {
    const std::string& name = quantities[i].first;
    const core::Estimate estimate = shown(name, quantities[i].second);
    table.rows.push_back({text_cell(label(name)), quantity_cell(estimate.value, estimate.unit),
                          interval_cell(estimate), grade_cell(estimate.grade)});
  }
  return details("More quantities", table.html());
}

std::string published_section(const Result& result) {
  if (result.published.empty()) return "";
  HtmlTable table{.id = "published",
                  .caption = "Predictions never read these values.",
                  .heads = {"Quantity", "Published", "Predicted", "Error", "Source"}};
  for (const core::PublishedRow& row : result.published) {
    const std::string unit = shown_unit(row.quantity, row.unit);
    table.rows.push_back({text_cell(label(row.quantity)), quantity_cell(row.published, unit),
                          row.predicted ? quantity_cell(*row.predicted, unit) : no_cell(),
                          error_cell(row.error()), source_cell(row.source)});
  }
  return section("Published beside predicted", table.html());
}

std::string phases_section(const Result& result) {
  if (result.phases.empty()) return "";
  std::string body;
  if (!ranks_of(result.phases).empty())
    body += figure("phases", "Time of each phase on each rank, exclusive of the others.");
  for (const PhaseTable& phases : phase_tables(result)) {
    HtmlTable table{.id = phases.by_binding ? "bindings" : "phases",
                    .caption = phases.by_binding ? "The same time by what bounds it." : "",
                    .heads = {"Phase"}};
    for (const std::string& head : phases.heads) table.heads.push_back(label(head));
    if (phases.names_rank) table.heads.emplace_back("On rank");
    table.heads.emplace_back("Grade");
    for (const PhaseTable::Row& row : phases.rows) {
      std::vector<Cell>& cells = table.rows.emplace_back();
      cells.push_back(text_cell(label(row.phase)));
      for (const std::optional<double>& seconds : row.seconds)
        cells.push_back(seconds ? quantity_cell(*seconds, "s") : no_cell());
      if (phases.names_rank) cells.push_back(text_cell(row.highest_rank));
      cells.push_back(grade_cell(row.grade));
    }
    body += table.html();
  }
  return section("Where the step's time goes", body);
}

std::string schedule_section(const std::string& svg) {
  if (svg.empty()) return "";
  return section("Schedule", "<div class=\"picture\">" + svg +
                                 "</div>\n<p>Ranks over one step; boxes carry the micro-batch, a "
                                 "prime its second direction. schedule.svg is this picture.</p>\n");
}

std::string bill_table(const std::string& id, const std::vector<core::CostRow>& rows) {
  HtmlTable table{.id = id, .heads = {"Item", "Amount", "90 % interval", "Grade", "Source"}};
  for (const core::CostRow& row : rows)
    table.rows.push_back(
        {text_cell(label(row.item)), quantity_cell(row.amount.value, row.amount.unit),
         interval_cell(row.amount), grade_cell(row.amount.grade), source_cell(row.source)});
  return table.html();
}

std::string cost_section(const Result& result) {
  if (result.cost.empty()) return "";
  std::string body;
  if (const auto bills = bills_of(result); !bills.empty())
    body += figure("cost",
                   bills.front().of.empty()
                       ? "Where the money goes: the dollars by each phase's part of the step."
                       : "What " + bills.front().of + " is made of.",
                   bars_height(bills.front().parts.size() + 1));
  return section("Cost", body + bill_table("cost", result.cost));
}

std::string energy_section(const Result& result) {
  return result.energy.empty() ? "" : section("Energy", bill_table("energy", result.energy));
}

std::string goodput_section(const Result& result) {
  return result.goodput.empty()
             ? ""
             : section("Weeks of training, with failures", bill_table("goodput", result.goodput));
}

std::string memory_section(const Result& result) {
  if (result.memory.empty()) return "";
  const MemoryUse use = memory_over_ranks(result);
  HtmlTable table{.id = "memory",
                  .caption = fmt::format("The fullest rank, {}, uses {}.", use.worst_rank,
                                         quantity(use.worst_total, "B")),
                  .heads = {"Kind", "On the fullest rank", "Lowest", "Highest"}};
  for (const MemorySummary& row : use.kinds)
    table.rows.push_back({text_cell(label(row.kind)), quantity_cell(row.on_worst_rank, "B"),
                          quantity_cell(row.lowest, "B"), quantity_cell(row.highest, "B")});
  HtmlTable formats{.id = "memory-formats",
                    .caption = "What the fullest rank holds in each number format.",
                    .heads = {"Kind", "Format", "Bytes"}};
  for (const core::MemoryFormatRow& row : result.memory_formats)
    formats.rows.push_back(
        {text_cell(label(row.kind)), text_cell(row.format), quantity_cell(row.bytes, "B")});
  return section("Memory of one GPU",
                 figure("memory", "Memory in use by kind on each rank, and what a GPU has.") +
                     table.html() + (formats.rows.empty() ? "" : formats.html()));
}

std::string timeline_section(const Result& result, const TimelineWindow& window) {
  if (result.timeline.spans.empty()) return "";
  std::string body =
      "<div class=\"controls\"><label for=\"timeline-process\">Show</label>"
      "<select id=\"timeline-process\"><option value=\"all\">all, main stream</option>";
  for (const auto& [id, name] : result.timeline.processes)
    body += fmt::format("<option value=\"{}\"{}>{}</option>", id,
                        id == window.main_process ? " selected" : "", escape_html(name));
  body += "</select></div>\n";
  const bool whole = window.start == core::Time{0} && window.end == window.step_end;
  body += figure(
      "timeline",
      fmt::format("{}. Drag and scroll to zoom. spans.json has every span and opens in "
                  "Perfetto.",
                  whole ? std::string("The whole step")
                        : fmt::format("From {} to {} of a step of {}",
                                      quantity(core::to_seconds(window.start).value(), "s"),
                                      quantity(core::to_seconds(window.end).value(), "s"),
                                      quantity(core::to_seconds(window.step_end).value(), "s"))),
      460);
  return section("Timeline", body);
}

/// The CSV as a link that needs no server: RFC 2397, percent-encoded.
std::string csv_link(const Result& result) {
  std::string uri = "data:text/csv;charset=utf-8,";
  for (const char c : kernels_csv(result)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == ',';
    uri += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return "<p><a id=\"kernels-csv\" download=\"kernels.csv\" href=\"" + uri +
         "\">Download kernels.csv</a></p>\n";
}

/// "bf16 -> fp32" with an arrow that no line break tears apart.
std::string with_arrows(std::string text) {
  for (std::size_t at = 0; (at = text.find("->", at)) != std::string::npos;)
    text.replace(at, 2, "\u2192");
  return text;
}

std::string kernels_table(const Result& result) {
  HtmlTable table{.id = "kernels",
                  .caption = "A click on a head sorts.",
                  .sortable = true,
                  .tall = true,
                  .heads = {"Kernel", "Shape", "Calls a step", "A call", "A step", "Rate",
                            "Bound by", "Implementation", "Grade"}};
  for (const core::KernelRow* row : kernels_by_time(result)) {
    const double rate = row->time.value > 0 ? row->flops / row->time.value : 0;
    table.rows.push_back(
        {text_cell(row->name), text_cell(with_arrows(row->shape)), count_cell(row->calls_per_step),
         quantity_cell(row->time.value, "s"), quantity_cell(seconds_per_step(*row), "s"),
         rate > 0 ? quantity_cell(rate, "FLOP/s") : no_cell(), text_cell(row->binding),
         text_cell(row->implementation), grade_cell(row->time.grade)});
  }
  return table.html();
}

std::string kernels_section(const Result& result) {
  if (result.kernels.empty()) return "";
  const auto drawable =
      std::count_if(result.kernels.begin(), result.kernels.end(), [](const core::KernelRow& row) {
        return row.flops > 0 && row.hbm_bytes > 0 && row.time.value > 0;
      });
  std::string body;
  if (drawable > 0)
    body +=
        figure("roofline",
               fmt::format("{} of {} kernels against the roofs of {}: the larger the dot, the "
                           "more of the step it takes. Kernels without FLOP have no place here.",
                           drawable, result.kernels.size(), result.machine.device),
               460);
  body += "<p>Kernel time in a step by the resource that binds: " +
          escape_html(shares_text(time_by_binding(result))) + ".</p>\n";
  return section("Kernels", body + csv_link(result) + kernels_table(result));
}

std::string network_section(const Result& result) {
  if (result.network.empty()) return "";
  HtmlTable table{.id = "network",
                  .caption = "One rank in one step. Exposed: not hidden behind computation.",
                  .heads = {"Operation", "Fabric", "Bytes", "Time", "90 % interval", "Rate",
                            "Exposed", "Grade"}};
  for (const core::NetworkRow& row : result.network)
    table.rows.push_back({text_cell(label(row.operation)), text_cell(label(row.fabric)),
                          quantity_cell(row.bytes_per_rank, "B"),
                          quantity_cell(row.time.value, "s"), interval_cell(row.time),
                          quantity_cell(row.bus_bandwidth, "B/s"),
                          quantity_cell(row.exposed_seconds, "s"), grade_cell(row.time.grade)});
  return section("Communication", table.html());
}

/// Loads of ranks over all layers, a map for each placement of the experts.
std::string rank_load_maps(const Result& result) {
  std::string body;
  for (const std::string placement : {"linear", "eplb"}) {
    std::size_t layers = 0;
    double imbalance = 0;
    for (const core::RankLoadRow& row : result.rank_loads) {
      if (row.placement != placement) continue;
      ++layers;
      imbalance += *std::max_element(row.relative_loads.begin(), row.relative_loads.end()) - 1;
    }
    if (layers == 0) continue;
    const std::string text = fmt::format(
        "Token rows of each rank over the mean, experts placed {}: the hottest rank of a layer has "
        "{:.1f} % more than the mean, as a mean over {} layer{}.",
        placement == "linear" ? "in their order" : "by the load balancer",
        100 * imbalance / static_cast<double>(layers), layers, layers == 1 ? "" : "s");
    body += figure("rank-loads-" + placement, text, map_height(layers));
  }
  return body;
}

/// What routing does to experts: a map when their loads differ, a sentence when they do not.
std::string routing_section(const Result& result) {
  if (result.routing.empty()) return "";
  const auto [lightest, heaviest] =
      std::minmax_element(result.routing.begin(), result.routing.end(),
                          [](const core::RoutingRow& a, const core::RoutingRow& b) {
                            return a.relative_load < b.relative_load;
                          });
  const int ranks = result.routing.back().rank + 1;
  const std::size_t per_rank = result.routing.size() / static_cast<std::size_t>(ranks);
  const std::string spread =
      fmt::format("{} places of experts on {} expert-parallel ranks", result.routing.size(), ranks);
  constexpr double kEqual = 0.01;  // differences that no colour would show
  if (heaviest->relative_load - lightest->relative_load < kEqual)
    return section("Routing", "<p>" + escape_html(spread) +
                                  ", every one with the same load: routing is uniform.</p>\n");
  return section(
      "Routing",
      figure(
          "routing",
          fmt::format(
              "Token rows of each place of an expert over the mean, {}: expert {} has {:.2f} times "
              "the mean, expert {} {:.2f} times. The top row is the rank's mean; the "
              "hottest rank sets the pace.",
              spread, heaviest->expert, heaviest->relative_load, lightest->expert,
              lightest->relative_load),
          map_height(per_rank + 1)) +
          rank_load_maps(result));
}

std::string sensitivity_section(const Result& result) {
  if (result.sensitivity.empty()) return "";
  HtmlTable table{.id = "sensitivity", .heads = {"Choice", "Value", "Step time", "Change"}};
  const std::vector<std::string> refused = refused_alternatives(result);
  for (const core::SensitivityRow& row : result.sensitivity) {
    if (!row.refused)
      table.rows.push_back({text_cell(label(row.choice)), text_cell(row.value),
                            quantity_cell(row.quantity.value, row.quantity.unit),
                            error_cell(row.relative_change)});
  }
  std::string body;
  if (!table.rows.empty())
    body += figure("sensitivity", "Change of the step time against this scenario.",
                   choices_height(table.rows.size())) +
            details("As a table", table.html());
  if (!refused.empty())
    body += details(fmt::format("Alternatives that are refused: {}", refused.size()),
                    sentence_list(refused));
  return section("If a choice that is not published were another", body);
}

std::string scenario_section(const Result& result) {
  std::string body;
  if (!result.assumptions.empty()) body += sentence_list(result.assumptions);
  if (!result.scenario_json.empty()) {
    const auto scenario = nlohmann::ordered_json::parse(result.scenario_json);
    body += details("The resolved scenario, with the origin of every value",
                    "<pre>" + escape_html(scenario.dump(2)) + "</pre>\n");
  }
  return body.empty() ? "" : section("Assumptions", body);
}

std::string bill_json(const Result& result) {
  const std::vector<Bill> bills = bills_of(result);
  const auto items =
      bills.empty() ? nlohmann::ordered_json::array() : waterfall_json(bills.front());
  return items.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

std::string to_html(const Result& result, const std::string& schedule_svg) {
  const TimelineWindow window = timeline_window(result.timeline, kMostSpansDrawn);
  const std::string body = header(result) + more_quantities(result) + published_section(result) +
                           phases_section(result) + schedule_section(schedule_svg) +
                           cost_section(result) + energy_section(result) + goodput_section(result) +
                           memory_section(result) + timeline_section(result, window) +
                           kernels_section(result) + network_section(result) +
                           routing_section(result) + sensitivity_section(result) +
                           scenario_section(result) + page_footer(result);
  const std::string data = "{\"result\":" + to_json(result) + ",\"timeline\":" + window.json +
                           ",\"cost\":" + bill_json(result) + "}";
  return page(result.title.empty() ? result.job : result.title, body, data);
}

}  // namespace tessera::reports
