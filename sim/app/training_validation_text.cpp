#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "calibrate/csv_table.hpp"
#include "calibrate/scoreboard.hpp"
#include "reports/validation_page.hpp"
#include "sim/app/percent_text.hpp"
#include "sim/app/training_validation.hpp"

namespace tessera::app {
namespace {

struct Score {
  std::size_t rows = 0, predicted = 0, inside = 0, inside_choices = 0;
  std::vector<double> errors;  ///< Signed.
  void add(const ValidatedRun& run) {
    ++rows;
    if (!run.predicted) return;
    ++predicted;
    inside += run.inside() ? 1 : 0;
    inside_choices += run.inside_choices() ? 1 : 0;
    errors.push_back(*run.error());
  }
  [[nodiscard]] double size(double q) const {
    std::vector<double> sizes;
    for (const double e : errors) sizes.push_back(std::abs(e));
    return calibrate::quantile(sizes, q);
  }
};

using Key = std::function<std::string(const PublishedRun&)>;

std::map<std::string, Score> scores_by(const std::vector<ValidatedRun>& runs, const Key& key) {
  std::map<std::string, Score> scores;
  for (const ValidatedRun& run : runs) scores[key(run.run)].add(run);
  return scores;
}

std::string all_of(const PublishedRun&) { return "all"; }
const std::vector<std::pair<const char*, Key>> kGroupings{
    {"all", all_of},
    {"recipe", [](const PublishedRun& run) { return run.recipe; }},
    {"device", [](const PublishedRun& run) { return run.device; }},
    {"architecture", [](const PublishedRun& run) { return run.architecture; }},
};

std::string score_line(const std::string& kind, const std::string& name, const Score& s) {
  const auto part = [&](std::size_t inside) {
    return s.predicted == 0
               ? "-"
               : percent(static_cast<double>(inside) / static_cast<double>(s.predicted));
  };
  return fmt::format(
      "{:<13} {:<28} {:>4} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", kind, name, s.rows,
      percent(static_cast<double>(s.predicted) / static_cast<double>(s.rows)), percent(s.size(0.5)),
      percent(s.size(0.9)), signed_percent(calibrate::quantile(s.errors, 0.5)), part(s.inside),
      part(s.inside_choices));
}

std::string score_table(const std::vector<ValidatedRun>& runs) {
  std::string text = fmt::format("{:<13} {:<28} {:>4} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "",
                                 "", "rows", "covered", "median", "p90", "bias", "in90", "choices");
  for (const auto& [kind, key] : kGroupings)
    for (const auto& [name, score] : scores_by(runs, key)) text += score_line(kind, name, score);
  return text;
}

std::vector<const ValidatedRun*> worst_first(const std::vector<ValidatedRun>& runs) {
  std::vector<const ValidatedRun*> order;
  for (const ValidatedRun& run : runs)
    if (run.predicted) order.push_back(&run);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::abs(*a->error()) > std::abs(*b->error());
  });
  return order;
}

/// "tp 8 pp 8 cp 2": what the row sets of the parallelism, and its batch.
std::string split_of(const PublishedRun& run) {
  static const std::vector<std::pair<std::string, std::string>> kShort{
      {"parallelism.tensor=", "tp"},     {"parallelism.pipeline=", "pp"},
      {"parallelism.virtual=", "vp"},    {"parallelism.context=", "cp"},
      {"parallelism.expert=", "ep"},     {"batch.micro_batch=", "mbs"},
      {"batch.sequence_length=", "seq"}, {"parallelism.data.sharding=", ""},
      {"recompute=", "recompute"}};
  std::string text;
  for (const auto& [path, name] : kShort)
    for (const std::string& set : run.set)
      if (set.starts_with(path) && set != path + "1")
        text += fmt::format("{}{}{}{}", text.empty() ? "" : " ", name, name.empty() ? "" : " ",
                            set.substr(path.size()));
  return text;
}

/// What the choices that the source leaves open would make of the error.
std::string range_of(const ValidatedRun& run) {
  double least = *run.error(), most = least;
  for (const OtherChoice& other : run.others) {
    if (!other.predicted) continue;
    const double error = *other.predicted / run.run.tokens_per_gpu - 1;
    least = std::min(least, error);
    most = std::max(most, error);
  }
  return least == most ? "" : fmt::format("{:+.0f} to {:+.0f} %", 100 * least, 100 * most);
}

std::string memory_of(const ValidatedRun& run) {
  return fmt::format("{:.0f}/{:.0f}{}", run.memory / 1e9, run.memory_size / 1e9,
                     run.memory > run.memory_size ? "!" : "");
}

std::string rows_table(const std::vector<ValidatedRun>& runs) {
  std::string text =
      fmt::format("{:>8} {:>10} {:>10} {:>22} {:>15} {:>9}  {:<7} {:<13} {:<20} {:>5} {:<9} {}\n",
                  "error", "published", "predicted", "90 %", "not stated", "GB", "id", "device",
                  "architecture", "GPUs", "precision", "split; largest phases");
  for (const ValidatedRun* run : worst_first(runs)) {
    const core::Estimate& p = *run->predicted;
    std::string precision;
    for (const std::string& set : run->run.set)
      if (set.starts_with("precision.recipe=")) precision = set.substr(17);
    std::string phases;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, run->phases.size()); ++i)
      phases += (i > 0 ? ", " : "") + run->phases[i];
    text += fmt::format(
        "{:>8} {:>10.0f} {:>10.0f} {:>22} {:>15} {:>9}  {:<7} {:<13} {:<20} {:>5} {:<9} {}; {}\n",
        signed_percent(*run->error()), run->run.tokens_per_gpu, p.value,
        fmt::format("{:.0f} to {:.0f}{}", p.lower, p.upper, run->inside() ? "" : " no"),
        range_of(*run), memory_of(*run), run->run.id, run->run.device, run->run.architecture,
        run->run.gpus, precision, split_of(run->run), phases);
  }
  return text;
}

std::string refusals(const std::vector<ValidatedRun>& runs) {
  std::map<std::string, std::vector<std::string>> reasons;
  for (const ValidatedRun& run : runs)
    if (!run.predicted) reasons[run.refused].push_back(run.run.id);
  std::string text;
  for (const auto& [reason, ids] : reasons) {
    text += fmt::format("{:>4}  {}\n      ", ids.size(), reason);
    for (const std::string& id : ids) text += id + " ";
    text.back() = '\n';
  }
  return text.empty() ? "none\n" : text;
}

/// "recompute: full 1234; sharding: none refused"
std::string others_text(const ValidatedRun& run) {
  std::string text;
  for (const OtherChoice& other : run.others)
    text += fmt::format(
        "{}{} {}", text.empty() ? "" : "; ", other.choice,
        other.predicted ? fmt::format("{:.1f}", *other.predicted) : std::string{"refused"});
  return text;
}

std::string joined(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

}  // namespace

std::string to_text(const std::vector<ValidatedRun>& runs) {
  return fmt::format(
             "Training runs, predicted against published: {} rows, tokens per second and GPU\n\n",
             runs.size()) +
         score_table(runs) + "\nEvery row, worst first\n" + rows_table(runs) +
         "choices: rows in the 90 % intervals of all choices that their sources leave open.\n"
         "not stated: the error over the other choices of recomputation and sharding that the "
         "source leaves open.\nGB: the fullest GPU's memory of what it has; ! where the model says "
         "that it does not fit.\n\nNot modelled\n" +
         refusals(runs);
}

std::string to_csv(const std::vector<ValidatedRun>& runs) {
  std::string text = calibrate::csv_record(
      {"id", "source", "recipe", "architecture", "device", "gpus", "settings", "not_stated",
       "tokens_per_s_per_gpu", "predicted_tokens_per_s_per_gpu", "lower", "upper", "error",
       "other_choices", "phases", "memory_bytes", "refused"});
  for (const ValidatedRun& v : runs) {
    const auto number = [&](double value) {
      return v.predicted ? fmt::format("{:.6g}", value) : "";
    };
    const core::Estimate p = v.predicted.value_or(core::Estimate{});
    text += calibrate::csv_record(
        {v.run.id, v.run.source, v.run.recipe, v.run.architecture, v.run.device,
         std::to_string(v.run.gpus), joined(v.run.set, ";"), joined(v.run.not_stated, " "),
         fmt::format("{:.6g}", v.run.tokens_per_gpu), number(p.value), number(p.lower),
         number(p.upper), number(v.error().value_or(0)), others_text(v), joined(v.phases, ", "),
         number(v.memory), v.refused});
  }
  return text;
}

std::string to_html(const std::vector<ValidatedRun>& runs) {
  reports::AgreementPlot plot{.family = "training runs", .unit = "tokens/s/GPU"};
  plot.description = fmt::format("{} runs; on the line, prediction and publication agree.",
                                 worst_first(runs).size());
  reports::HtmlTable rows{.id = "worst",
                          .caption = "Every row, worst first",
                          .sortable = true,
                          .tall = true,
                          .heads = {"Row", "Device", "Architecture", "GPUs", "Split", "Published",
                                    "Predicted", "Error", "Not stated", "Source"}};
  for (const ValidatedRun* v : worst_first(runs)) {
    plot.points.push_back({.measured = v->run.tokens_per_gpu,
                           .predicted = v->predicted->value,
                           .series = v->run.device,
                           .label = fmt::format("{} {} {} GPUs {}", v->run.id, v->run.architecture,
                                                v->run.gpus, split_of(v->run))});
    rows.rows.push_back({reports::text_cell(v->run.id), reports::text_cell(v->run.device),
                         reports::text_cell(v->run.architecture), reports::count_cell(v->run.gpus),
                         reports::text_cell(split_of(v->run)),
                         reports::count_cell(v->run.tokens_per_gpu),
                         reports::interval_cell(*v->predicted), reports::error_cell(v->error()),
                         reports::text_cell(range_of(*v)), reports::source_cell(v->run.source)});
  }
  reports::HtmlTable groups{.id = "groups",
                            .caption = "Groups",
                            .sortable = true,
                            .heads = {"By", "Group", "Rows", "Predicted", "Median %", "p90 %"}};
  for (const auto& [kind, key] : kGroupings)
    for (const auto& [name, s] : scores_by(runs, key))
      if (s.predicted > 0)
        groups.rows.push_back({reports::text_cell(kind), reports::text_cell(name),
                               reports::count_cell(static_cast<double>(s.rows)),
                               reports::count_cell(static_cast<double>(s.predicted)),
                               reports::count_cell(100 * s.size(0.5)),
                               reports::count_cell(100 * s.size(0.9))});
  return reports::to_validation_html(
      "Training runs, predicted against published",
      "Tokens per second and GPU; errors are predicted / published - 1. No step time is fitted.",
      {plot}, {rows, groups});
}

}  // namespace tessera::app
