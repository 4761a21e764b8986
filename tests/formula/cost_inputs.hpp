#pragma once

#include "reports/cost.hpp"

/// Inputs of the cost model in round numbers.
namespace tessera::cost_test {

inline constexpr double kTight = 1e-12;

inline core::Estimate exact(double value, const char* unit,
                            core::Grade grade = core::Grade::fitted) {
  return {value, value, value, unit, grade};
}

inline device::Price price(double value, const char* unit = "1",
                           core::Grade grade = core::Grade::assumed) {
  return {exact(value, unit, grade), "a source", ""};
}

/// Nodes of eight GPUs; watts of a node beside its GPUs, of the network a GPU, and a GPU's limit.
inline device::ClusterSpec cluster_of(double node, double network, double limit = 0) {
  device::ClusterSpec spec{};
  spec.node.gpus = 8;
  spec.node.overhead_power = core::Watts{node};
  spec.node.device.power.limit = core::Watts{limit};
  spec.fabric.power_per_gpu = core::Watts{network};
  return spec;
}

/// 3,600 steps of 10 s on 16 GPUs.
inline reports::RunFigures run_of(double joules_per_gpu) {
  return {.step = exact(10, "s"),
          .joules_per_gpu = exact(joules_per_gpu, "J"),
          .tokens_per_step = 1e6,
          .tokens = 3.6e9,
          .gpus = 16};
}

/// 1,000 tokens a second of a GPU that draws 400 W.
inline reports::TokenFigures tokens() { return {exact(1000, "token/s"), exact(400, "W")}; }

}  // namespace tessera::cost_test
