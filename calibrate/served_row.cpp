#include "calibrate/served_row.hpp"

#include <fmt/format.h>

#include <cmath>

#include "calibrate/measured_row.hpp"

namespace tessera::calibrate {

namespace {

/// Of lengths drawn evenly between 0.8 of the nominal one and all of it (InferenceMAX's README,
/// RANDOM_RANGE_RATIO).
constexpr double kMeanLength = 0.9;

}  // namespace

ReadLayout read_layout(const LayoutColumns& c) {
  const auto replicas = [](int gpus) {
    return ServedLayout{.attention_ranks = gpus, .tensor = 1, .expert = gpus};
  };
  const bool squared = c.states_ranks && c.expert_tensor > 1 && c.expert_tensor == c.expert &&
                       c.gpus == c.expert_tensor * c.expert;
  if (squared && c.attention_ranks == c.gpus)
    return {replicas(c.expert),
            fmt::format("{0} GPUs read as {1} attention replicas on {1} GPUs", c.gpus, c.expert)};
  if (squared && c.attention_ranks == 1 && c.tensor <= c.gpus)
    return {{.tensor = c.expert, .expert = c.expert},
            fmt::format("{0} GPUs read as TP{1} EP{1}", c.gpus, c.expert)};
  if (c.tensor > 1 && c.tensor == c.attention_ranks && c.expert == c.gpus &&
      c.gpus == c.tensor * c.attention_ranks && c.expert_tensor == 1)
    return {replicas(c.tensor),
            fmt::format("{0} GPUs read as {1} attention replicas on {1} GPUs", c.gpus, c.tensor)};
  if (c.expert_tensor * c.expert > c.gpus && c.attention_ranks == 1)
    return {{.tensor = c.expert_tensor * c.expert,
             .expert = c.expert,
             .expert_tensor = c.expert_tensor},
            fmt::format("{} GPUs read as the {} that hold experts", c.gpus,
                        c.expert_tensor * c.expert)};
  ServedLayout layout{.attention_ranks = c.attention_ranks,
                      .tensor = c.tensor,
                      .expert = c.expert,
                      .expert_tensor = c.expert_tensor};
  // A dense model's experts are not cut: some rows say so with ones.
  if (c.expert_tensor * c.expert == 1) layout.expert_tensor = layout.gpus();
  if (layout.gpus() != layout.expert * layout.expert_tensor)
    refuse_row(fmt::format("tp {} x attn_dp {} and moe_tp {} x moe_ep {} are not the same GPUs",
                           c.tensor, c.attention_ranks, c.expert_tensor, c.expert));
  return {layout, ""};
}

std::string ServedRow::version_name() const {
  return version.empty() ? framework : framework + " " + version;
}

std::int64_t ServedRow::batch() const {
  return (concurrency + layout.attention_ranks - 1) / layout.attention_ranks;
}

std::int64_t ServedRow::mean_prompt() const {
  return drawn_lengths ? std::llround(kMeanLength * static_cast<double>(prompt)) : prompt;
}

double ServedRow::mean_output() const {
  return (drawn_lengths ? kMeanLength : 1) * static_cast<double>(output);
}

bool covered(const CsvTable& table, std::size_t row, double most) {
  const auto batch = table.number(row, "batch");
  return table.text(row, "mode") == "agg" && batch && *batch <= most;
}

ServedRow read_served_row(const CsvTable& table, std::size_t row) {
  const MeasuredRow columns{table, row};
  const auto count = [&](std::string_view column) {
    return columns.text(column).empty() ? 1 : static_cast<int>(columns.size(column));
  };
  ReadLayout read = read_layout({.gpus = count("n_gpus"),
                                 .tensor = count("tp"),
                                 .attention_ranks = count("attn_dp"),
                                 .expert_tensor = count("moe_tp"),
                                 .expert = count("moe_ep"),
                                 .states_ranks = !columns.text("attn_dp").empty()});
  const std::int64_t concurrency = columns.size("concurrency"), batch = columns.size("batch");
  if (columns.text("attn_dp").empty() && batch > 0 && concurrency == batch * read.layout.tensor &&
      read.layout.tensor > 1) {
    read.layout.attention_ranks = read.layout.tensor;
    read.layout.tensor = 1;
    read.note =
        fmt::format("batch {} of {} requests: one attention replica a GPU", batch, concurrency);
  }
  if (count("pp") != 1) refuse_row("pipelines of servers are not modelled");
  ServedRow served{.row = row,
                   .gpu = std::string{columns.text("gpu")},
                   .model = std::string{columns.text("model")},
                   .framework = std::string{columns.text("framework")},
                   .version = std::string{columns.text("version")},
                   .gemm_quant = std::string{columns.text("gemm_quant")},
                   .layout = read.layout,
                   .layout_note = read.note,
                   .prompt = columns.size("isl"),
                   .output = columns.size("osl"),
                   // The collection that states attn_dp is InferenceMAX's.
                   .drawn_lengths = !columns.text("attn_dp").empty(),
                   .concurrency = static_cast<int>(concurrency),
                   .ttft_ms = columns.number("ttft_ms").value_or(0),
                   .tpot_ms = columns.number("tpot_ms").value_or(0),
                   .half = half(table, row)};
  if (served.tpot_ms <= 0) refuse_row("a row without a measured tpot_ms");
  if (served.prompt < 1 || served.output < 3 || served.concurrency < 1)
    refuse_row("a row without prompt, output or requests");
  return served;
}

}  // namespace tessera::calibrate
