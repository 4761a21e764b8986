#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/timeline.hpp"

/// What a simulation answers: plain records that writers turn into tables, JSON, CSV and pages.
namespace tessera::core {

/// How a number came about, from best to worst. A derived number has the worst grade of what it was
/// made from.
enum class Grade { measured, fitted, transferred, assumed };
[[nodiscard]] std::string to_string(Grade grade);
[[nodiscard]] constexpr Grade worst(Grade a, Grade b) { return a < b ? b : a; }

/// A predicted number with its 90 % interval.
struct Estimate {
  double value = 0;
  double lower = 0;
  double upper = 0;
  std::string unit;  ///< "s", "GPU-h", "USD", "1", ...
  Grade grade = Grade::assumed;
};

/// Phases whose names begin so split the same time once more, by the resource that bounds it.
inline constexpr const char* kBoundBy = "bound by ";

/// Time of one phase on one pipeline rank, or in one pool of servers, exclusive on its timeline.
struct PhaseRow {
  std::string rank;   ///< "0" ... "15", "prefill", "decode", or "all"
  std::string phase;  ///< 1F, 1B, 1W, 1F1B, bubble, optimizer, ..., or kBoundBy and a resource.
  Estimate time;
};

struct MemoryRow {
  std::string rank;
  std::string kind;  ///< weights, gradients, master_weights, moments, activations, buffers, free
  double bytes = 0;
};

/// What one kind of memory holds in one number format on the fullest rank.
struct MemoryFormatRow {
  std::string kind;    ///< As in MemoryRow.
  std::string format;  ///< "fp8_block", "bf16", ...; scales are counted with their values.
  double bytes = 0;
};

/// One distinct kernel of the workload on one GPU.
struct KernelRow {
  std::string name;
  std::string family;          ///< gemm, grouped_gemm, attention, stream, ...
  std::string implementation;  ///< As in hw_configs/kernels.
  std::string shape;
  std::string pass;           ///< forward, input_gradient, weight_gradient, optimizer
  double calls_per_step = 0;  ///< On the busiest rank.
  Estimate time;              ///< Of one call.
  double cycles = 0;
  double clock_hz = 0;
  double flops = 0;
  double hbm_bytes = 0;
  double l2_bytes = 0;
  double energy_joules = 0;
  std::string binding;  ///< tensor, fp32, sfu, shared_memory, l2, hbm, latency, power
  std::string note;
};

/// Traffic and time of one kind of communication.
struct NetworkRow {
  std::string operation;  ///< dispatch, combine, pipeline_send, reduce_scatter, all_gather
  std::string fabric;     ///< nvlink, rdma
  double bytes_per_rank = 0;
  Estimate time;
  double bus_bandwidth = 0;  ///< Bytes per second.
  double exposed_seconds = 0;
};

struct CostRow {
  std::string item;
  Estimate amount;
  std::string source;
};

struct PublishedRow {
  std::string quantity;
  std::string unit;
  double published = 0;
  std::optional<double> predicted;
  std::string source;
  /// Signed: predicted / published - 1.
  [[nodiscard]] std::optional<double> error() const;
};

/// How much the main quantity moves when one unpublished choice is made differently.
struct SensitivityRow {
  std::string choice;
  std::string value;
  Estimate quantity;
  double relative_change = 0;  ///< Against the base scenario.
  /// Why the model declines the alternative; there is no quantity then.
  std::optional<std::string> refused = std::nullopt;
};

/// What routing sends to one expert of a mixture, or to one replica of it.
struct RoutingRow {
  int expert = 0;
  int rank = 0;              ///< Of its expert-parallel group.
  double relative_load = 1;  ///< Token rows over the mean of all rows here.
};

/// What routing sends to the expert-parallel ranks in one layer.
struct RankLoadRow {
  std::string placement;               ///< Of the experts: linear or eplb.
  int layer = 0;                       ///< Among those with experts.
  std::vector<double> relative_loads;  ///< By rank, over their mean.
};

/// The machine that a result is about, as far as a reader needs it to judge the numbers.
struct MachineRow {
  std::string cluster;  ///< Name in hw_configs/clusters; empty for a single GPU.
  std::string device;
  int gpus = 0;
  std::vector<std::pair<std::string, double>> peak_flops;  ///< Data type, FLOP/s of one GPU, dense.
  double hbm_rate = 0;                                     ///< Bytes per second of one GPU.
  double hbm_bytes = 0;                                    ///< Of one GPU.
};

struct Result {
  std::string job;
  std::string title;
  std::string tessera_version;
  std::string fits;           ///< Name and hash of the fits used.
  std::string scenario_json;  ///< Resolved scenario with the origin of every value.
  MachineRow machine;
  std::vector<std::pair<std::string, Estimate>> quantities;
  std::string binding;  ///< Of inference: what bounds most of an iteration, as KernelRow::binding,
                        ///< or network, or host.
  std::vector<PhaseRow> phases;
  std::vector<MemoryRow> memory;
  /// Of weights, gradients, optimizer state and activations in training; empty otherwise.
  std::vector<MemoryFormatRow> memory_formats;
  std::vector<KernelRow> kernels;
  std::vector<NetworkRow> network;
  /// In order of ranks, then of the experts there; empty without a mixture of experts.
  std::vector<RoutingRow> routing;
  /// By placement, then layer; empty where routing is uniform.
  std::vector<RankLoadRow> rank_loads;
  std::vector<CostRow> cost;
  std::vector<CostRow> energy;
  std::vector<CostRow> goodput;  ///< Where a long run's time goes; empty without `reliability`.
  std::vector<PublishedRow> published;
  std::vector<SensitivityRow> sensitivity;
  std::vector<std::string> warnings;
  std::vector<std::string>
      assumptions;                     ///< What the user should know was assumed, a sentence each.
  std::optional<std::string> refused;  ///< "does_not_fit: ..." when the simulation declined.
  Timeline timeline;

  [[nodiscard]] const Estimate* find(const std::string& quantity) const;
};

}  // namespace tessera::core
