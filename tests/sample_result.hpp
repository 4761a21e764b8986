#pragma once

#include <string>

#include "sim/core/result.hpp"

namespace tessera::testing {

inline core::Estimate estimate(double value, const std::string& unit, core::Grade grade,
                               double spread = 0.1) {
  return {value, value * (1 - spread), value * (1 + spread), unit, grade};
}

/// Forward and backward micro-batches of four ranks on two streams, one second a step.
inline core::Timeline sample_timeline() {
  using namespace core::literals;
  core::Timeline timeline;
  for (int rank = 0; rank < 4; ++rank) {
    timeline.processes.emplace_back(rank, "rank " + std::to_string(rank));
    timeline.threads.push_back({{rank, 0}, "computation"});
    timeline.threads.push_back({{rank, 1}, "communication"});
    const core::Time lag = 20_ms * rank;
    for (int i = 0; i < 20; ++i) {
      const core::Time start = lag + 45_ms * i;
      const std::string number = std::to_string(i);
      timeline.spans.push_back({rank, 0, "F " + number, "forward", start, 15_ms});
      timeline.spans.push_back({rank, 0, "attention", "attention", start + 2_ms, 6_ms});
      timeline.spans.push_back({rank, 0, "B " + number, "backward", start + 15_ms, 25_ms});
      timeline.spans.push_back({rank, 1, "dispatch", "communication", start + 3_ms, 8_ms});
      timeline.spans.push_back({rank, 0, "wait", "bubble", start + 40_ms, 5_ms});
    }
    timeline.spans.push_back({rank, 0, "optimizer", "optimizer", 980_ms, 20_ms});
  }
  return timeline;
}

inline void add_sample_kernels(core::Result& result) {
  using core::Grade;
  const auto add = [&](const std::string& name, const std::string& family, const std::string& shape,
                       double calls, double microseconds, double flops, double bytes,
                       const std::string& binding, Grade grade) {
    result.kernels.push_back({.name = name,
                              .family = family,
                              .implementation = "library",
                              .shape = shape,
                              .pass = "forward",
                              .calls_per_step = calls,
                              .time = estimate(microseconds * 1e-6, "s", grade),
                              .cycles = microseconds * 1755,
                              .clock_hz = 1.755e9,
                              .flops = flops,
                              .hbm_bytes = bytes,
                              .l2_bytes = 3 * bytes,
                              .energy_joules = microseconds * 6e-4,
                              .binding = binding,
                              .note = "a note, \"quoted\""});
  };
  add("q_down_projection", "gemm", "4096x1536x7168", 480, 92, 9.02e10, 8.6e7, "tensor",
      Grade::fitted);
  add("routed_experts_gate_up", "grouped_gemm", "8x4096x4096x7168", 480, 1650, 1.92e12, 4.1e8,
      "tensor", Grade::fitted);
  add("attention_forward", "attention", "b1 s4096 h128 192/128", 480, 980, 6.9e11, 2.5e8, "sfu",
      Grade::transferred);
  add("rms_norm", "stream", "4096x7168", 1920, 44, 2.3e8, 1.2e8, "hbm", Grade::transferred);
  add("permute", "stream", "32768x7168", 960, 310, 0, 9.4e8, "hbm", Grade::assumed);
}

inline void add_sample_ranks(core::Result& result) {
  using core::Grade;
  for (int rank = 0; rank < 4; ++rank) {
    const std::string name = std::to_string(rank);
    const auto phase = [&](const std::string& kind, double seconds, Grade grade) {
      result.phases.push_back({name, kind, estimate(seconds, "s", grade)});
    };
    phase("1F", 0.05 + 0.001 * rank, Grade::fitted);
    phase("1B", 0.10, Grade::transferred);
    phase("1W", 0.03, Grade::transferred);
    phase("1F1B", 0.68, Grade::transferred);
    phase("bubble", 0.12 - 0.001 * rank, Grade::transferred);
    phase("optimizer", 0.02, Grade::assumed);
    const auto memory = [&](const std::string& kind, double gigabytes) {
      result.memory.push_back({name, kind, gigabytes * 1e9});
    };
    memory("weights", 12.5);
    memory("gradients", 25);
    memory("activations", 22.0 - 3 * rank);
    memory("buffers", 4);
    memory("free", 80 - 63.5 + 3 * rank);
  }
}

/// A result with rows of every kind: four ranks of a training job. The numbers are made up, and
/// chosen to be told apart.
inline core::Result sample_result() {
  using core::Grade;
  core::Result result;
  result.job = "training";
  result.title = "Sample <model> on 2,048 H800";
  result.tessera_version = "0.1.0";
  result.fits = "h800_sxm 0123abcd";
  result.scenario_json = R"({"job":"training","seed":1})";
  result.machine = {"h800_2048_multiplane",
                    "h800_sxm",
                    2048,
                    {{"fp8_block", 1.979e15}, {"bf16", 9.89e14}},
                    3.35e12,
                    80e9};
  result.quantities = {{"step_time", estimate(19.5, "s", Grade::transferred)},
                       {"mfu", estimate(0.437, "1", Grade::transferred)},
                       {"gpu_hours", estimate(2.61e6, "GPU-h", Grade::transferred)},
                       {"dollars", estimate(5.22e6, "USD", Grade::assumed, 0.2)},
                       {"routing_skew", estimate(1.08, "1", Grade::assumed, 0)}};
  add_sample_ranks(result);
  add_sample_kernels(result);
  result.network = {
      {"dispatch", "rdma", 4.2e9, estimate(0.12, "s", Grade::fitted), 4.4e10, 0.004},
      {"reduce_scatter", "rdma", 2.5e10, estimate(0.6, "s", Grade::fitted), 4.1e10, 0}};
  result.cost = {
      {"GPU-hours", estimate(2.61e6, "GPU-h", Grade::transferred), "step x steps x GPUs"},
      {"rental rate", estimate(2, "USD/GPU/h", Grade::assumed), "the scenario"},
      {"rent", estimate(5.22e6, "USD", Grade::assumed, 0.2), "GPU-hours x rental rate"}};
  result.energy = {{"devices", estimate(1600, "MWh", Grade::assumed), "modelled power"},
                   {"cooling", estimate(320, "MWh", Grade::assumed), "PUE 1.2"}};
  result.published = {{"step_time", "s", 19.926, 19.5, "a paper, table 4"},
                      {"gpu_hours", "GPU-h", 2.664e6, std::nullopt, "a report"}};
  result.sensitivity = {
      {"layers_per_stage", "embedding first", estimate(20.1, "s", Grade::assumed), 0.031},
      {"nic_efficiency", "0.8", estimate(19.1, "s", Grade::assumed), -0.021}};
  core::SensitivityRow refused;
  refused.choice = "layers_per_stage";
  refused.value = "all on the first";
  refused.refused = "81 GB of 80 GB";
  result.sensitivity.push_back(refused);
  for (int expert = 0; expert < 16; ++expert)
    result.routing.push_back({expert, expert / 2, expert % 2 == 0 ? 0.5 : 1.5});
  for (int layer = 0; layer < 6; ++layer) {
    result.rank_loads.push_back({"linear", layer, std::vector<double>(8, 0.9)});
    result.rank_loads.back().relative_loads[static_cast<std::size_t>(layer)] = 1.7;
  }
  for (int layer = 0; layer < 6; ++layer)
    result.rank_loads.push_back({"eplb", layer, {1, 1.1, 0.9, 1, 1, 1, 1.05, 0.95}});
  result.warnings = {"Two fidelities disagree by 18 % on attention_forward."};
  result.assumptions = {"Layers are spread evenly over the stages, since none is published."};
  result.timeline = sample_timeline();
  return result;
}

}  // namespace tessera::testing
