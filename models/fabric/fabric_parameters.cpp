#include "models/fabric/fabric_parameters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

using device::Generation;

/// What carrying a fit to another GPU of its generation adds to the 90 % interval, relative.
constexpr double kTransferSpread = 0.15;  // assumed

constexpr std::string_view kHarness = "harness.";

/// NCCL src/graph/tuning.cc (2.27): baseLat, and hwLat of NVLink and network, microseconds.
constexpr std::array<std::array<double, 3>, kProtocols> kRingLatencies = {
    {{6.6, 0.6, 2.7}, {14.0, 1.9, 4.0}, {8.4, 3.4, 14.0}}};
constexpr std::array<std::array<double, 3>, kProtocols> kTreeLatencies = {
    {{6.8, 0.6, 5.0}, {14.0, 1.25, 8.5}, {8.4, 4.0, 14.0}}};
/// NCCL halves LL's rate, and sends 120 of 128 bytes as LL128.
constexpr std::array<double, kProtocols> kProtocolShare = {0.25, 0.75, 0.8};

std::array<ProtocolCost, kProtocols> latencies(
    const std::array<std::array<double, 3>, kProtocols>& table, double fraction) {
  std::array<ProtocolCost, kProtocols> costs{};
  for (std::size_t p = 0; p < kProtocols; ++p)
    costs[p] = {.base_us = table[p][0],
                .nvlink_step_us = table[p][1],
                .network_step_us = table[p][2],
                .nvlink_fraction = kProtocolShare[p] * fraction,
                .ramp_us = p == 0   ? 0.0
                           : p == 1 ? 1.0
                                    : 10.0,  // assumed: Simple fills buffers
                .host_share = 0.65,          // assumed: between PCIe switches a processor forwards
                .socket_share = p == 2 ? 1.0 : 0.6,  // assumed: small stores wait for the other one
                .fan_out_us = p == 0 ? 1.0 : 0.0,    // assumed
                .fan_out_step_us = p == 0 ? 0.2 : 0.0};  // assumed
  return costs;
}

template <class Cost>
void add_fields(
    std::vector<ParameterField>& fields, const std::string& stem,
    std::function<Cost&(FabricParameters&)> of,
    const std::vector<std::pair<std::pair<std::string, std::string>, double Cost::*>>& members) {
  for (const auto& [name, member] : members)
    fields.push_back(
        {stem + "." + name.first, name.second,
         [of, member = member](FabricParameters& p) -> double& { return of(p).*member; }});
}

void add_protocol_fields(std::vector<ParameterField>& fields, const std::string& stem,
                         const std::function<ProtocolCost&(FabricParameters&)>& of) {
  add_fields<ProtocolCost>(fields, stem, of,
                           {{{"base", "us"}, &ProtocolCost::base_us},
                            {{"nvlink_step", "us"}, &ProtocolCost::nvlink_step_us},
                            {{"network_step", "us"}, &ProtocolCost::network_step_us},
                            {{"nvlink_fraction", "1"}, &ProtocolCost::nvlink_fraction},
                            {{"ramp", "us"}, &ProtocolCost::ramp_us},
                            {{"host_share", "1"}, &ProtocolCost::host_share},
                            {{"socket_share", "1"}, &ProtocolCost::socket_share},
                            {{"fan_out", "us"}, &ProtocolCost::fan_out_us},
                            {{"fan_out_step", "us"}, &ProtocolCost::fan_out_step_us}});
}

void add_exchange_fields(std::vector<ParameterField>& fields, const std::string& stem,
                         const std::function<ExchangeCost&(FabricParameters&)>& of) {
  add_fields<ExchangeCost>(fields, stem, of,
                           {{{"base", "us"}, &ExchangeCost::base_us},
                            {{"network_base", "us"}, &ExchangeCost::network_base_us},
                            {{"node", "us"}, &ExchangeCost::node_us},
                            {{"row_latency", "us/KB"}, &ExchangeCost::row_latency_us},
                            {{"nvlink_sm_rate", "B/s"}, &ExchangeCost::nvlink_sm_rate},
                            {{"forward_sm_rate", "B/s"}, &ExchangeCost::forward_sm_rate},
                            {{"rdma_sm_rate", "B/s"}, &ExchangeCost::rdma_sm_rate},
                            {{"token_sm_rate", "B/s"}, &ExchangeCost::token_sm_rate},
                            {{"token_sm", "ns"}, &ExchangeCost::token_sm_ns},
                            {{"copy_sm", "ns"}, &ExchangeCost::copy_sm_ns},
                            {{"nvlink_fraction", "1"}, &ExchangeCost::nvlink_fraction},
                            {{"network_fraction", "1"}, &ExchangeCost::network_fraction},
                            {{"ramp", "us"}, &ExchangeCost::ramp_us},
                            {{"sharpness", "1"}, &ExchangeCost::sharpness},
                            {{"network_sharpness", "1"}, &ExchangeCost::network_sharpness},
                            {{"notify", "us"}, &ExchangeCost::notify_us},
                            {{"network_notify", "us"}, &ExchangeCost::network_notify_us}});
}

void add_low_latency_fields(std::vector<ParameterField>& fields, const std::string& stem,
                            const std::function<LowLatencyCost&(FabricParameters&)>& of) {
  add_fields<LowLatencyCost>(fields, stem, of,
                             {{{"base", "us"}, &LowLatencyCost::base_us},
                              {{"network_base", "us"}, &LowLatencyCost::network_base_us},
                              {{"node", "us"}, &LowLatencyCost::node_us},
                              {{"expert", "ns"}, &LowLatencyCost::expert_ns},
                              {{"row_latency", "us/KB"}, &LowLatencyCost::row_latency_us},
                              {{"token", "us"}, &LowLatencyCost::token_us},
                              {{"nvlink_fraction", "1"}, &LowLatencyCost::nvlink_fraction},
                              {{"network_fraction", "1"}, &LowLatencyCost::network_fraction},
                              {{"post", "ns"}, &LowLatencyCost::post_ns}});
}

void add_pairwise_fields(std::vector<ParameterField>& fields, const std::string& stem,
                         const std::function<PairwiseCost&(FabricParameters&)>& of) {
  add_fields<PairwiseCost>(fields, stem, of,
                           {{{"low_latency_base", "us"}, &PairwiseCost::low_latency_base_us},
                            {{"base", "us"}, &PairwiseCost::base_us},
                            {{"peer", "us"}, &PairwiseCost::peer_us},
                            {{"nvlink_fraction", "1"}, &PairwiseCost::nvlink_fraction},
                            {{"ramp", "us"}, &PairwiseCost::ramp_us},
                            {{"host_share", "1"}, &PairwiseCost::host_share},
                            {{"fan_out", "us"}, &PairwiseCost::fan_out_us}});
}

void add_direct_fields(std::vector<ParameterField>& fields, const std::string& stem,
                       const std::function<DirectReduceCost&(FabricParameters&)>& of) {
  add_fields<DirectReduceCost>(fields, stem, of,
                               {{{"base", "us"}, &DirectReduceCost::base_us},
                                {{"peer", "us"}, &DirectReduceCost::peer_us},
                                {{"exchange", "us"}, &DirectReduceCost::exchange_us},
                                {{"one_shot_rate", "B/s"}, &DirectReduceCost::one_shot_rate},
                                {{"two_shot_rate", "B/s"}, &DirectReduceCost::two_shot_rate},
                                {{"link_fraction", "1"}, &DirectReduceCost::link_fraction},
                                {{"ramp", "us"}, &DirectReduceCost::ramp_us},
                                {{"staging", "us"}, &DirectReduceCost::staging_us},
                                {{"peer_rate", "B/s"}, &DirectReduceCost::peer_rate},
                                {{"multicast_rate", "B/s"}, &DirectReduceCost::multicast_rate},
                                {{"host", "us"}, &DirectReduceCost::host_us}});
}

std::vector<ParameterField> make_fields() {
  std::vector<ParameterField> fields;
  for (std::size_t p = 0; p < kProtocols; ++p) {
    const std::string protocol = to_string(static_cast<Protocol>(p));
    add_protocol_fields(fields, "nccl.ring_" + protocol,
                        [p](FabricParameters& f) -> ProtocolCost& { return f.ring[p]; });
    add_protocol_fields(fields, "nccl.tree_" + protocol,
                        [p](FabricParameters& f) -> ProtocolCost& { return f.tree[p]; });
  }
  add_protocol_fields(fields, "nccl.in_switch",
                      [](FabricParameters& f) -> ProtocolCost& { return f.in_switch; });
  add_pairwise_fields(fields, "nccl.pairwise",
                      [](FabricParameters& f) -> PairwiseCost& { return f.pairwise; });
  add_pairwise_fields(fields, "nccl.send",
                      [](FabricParameters& f) -> PairwiseCost& { return f.send; });
  for (std::size_t l = 0; l < kReduceLibraries; ++l)
    add_direct_fields(fields, "direct." + to_string(static_cast<ReduceLibrary>(l)),
                      [l](FabricParameters& f) -> DirectReduceCost& { return f.direct[l]; });
  const auto single = [&](const std::string& name, double& (*of)(FabricParameters&)) {
    fields.push_back({name, "1", of});
  };
  single("nccl.ring_local_pass", [](FabricParameters& f) -> double& { return f.ring_local_pass; });
  fields.push_back(
      {"nccl.channel_rate", "B/s", [](FabricParameters& f) -> double& { return f.channel_rate; }});
  single("nccl.default_channels",
         [](FabricParameters& f) -> double& { return f.default_channels; });
  single("nccl.int8_reduction_slowdown",
         [](FabricParameters& f) -> double& { return f.int8_reduction_slowdown; });
  add_exchange_fields(fields, "exchange.dispatch",
                      [](FabricParameters& f) -> ExchangeCost& { return f.dispatch; });
  add_exchange_fields(fields, "exchange.combine",
                      [](FabricParameters& f) -> ExchangeCost& { return f.combine; });
  add_low_latency_fields(
      fields, "low_latency.dispatch",
      [](FabricParameters& f) -> LowLatencyCost& { return f.low_latency_dispatch; });
  add_low_latency_fields(fields, "low_latency.combine", [](FabricParameters& f) -> LowLatencyCost& {
    return f.low_latency_combine;
  });
  single("spread.in_node", [](FabricParameters& f) -> double& { return f.spread.in_node; });
  single("spread.across_nodes",
         [](FabricParameters& f) -> double& { return f.spread.across_nodes; });
  single("spread.pairwise", [](FabricParameters& f) -> double& { return f.spread.pairwise; });
  single("spread.dispatch", [](FabricParameters& f) -> double& { return f.spread.dispatch; });
  single("spread.combine", [](FabricParameters& f) -> double& { return f.spread.combine; });
  single("spread.low_latency", [](FabricParameters& f) -> double& { return f.spread.low_latency; });
  single("spread.direct_reduce",
         [](FabricParameters& f) -> double& { return f.spread.direct_reduce; });
  return fields;
}

}  // namespace

std::string to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::ll:
      return "ll";
    case Protocol::ll128:
      return "ll128";
    case Protocol::simple:
      return "simple";
  }
  return "simple";
}

std::string to_string(ReduceLibrary library) {
  switch (library) {
    case ReduceLibrary::vllm:
      return "vllm";
    case ReduceLibrary::sglang:
      return "sglang";
    case ReduceLibrary::trtllm:
      return "trtllm";
  }
  return "vllm";
}

const std::vector<ParameterField>& parameter_fields() {
  static const std::vector<ParameterField> fields = make_fields();
  return fields;
}

FabricParameters prior_parameters(Generation generation) {
  const bool has_nvlink = generation == Generation::ampere || generation == Generation::hopper ||
                          generation == Generation::blackwell;
  // DeepEP docs/legacy.md: 4,096 tokens, H800: 153 GB/s of 200 over NVLink with 24 SMs, 43 to 58
  // GB/s of a 50 GB/s NIC with node-local copies counted, hence about 45 on the wire.
  const ExchangeCost exchange{.base_us = 25,            // assumed
                              .network_base_us = 4,     // assumed
                              .node_us = 8,             // assumed
                              .row_latency_us = 0.5,    // assumed
                              .nvlink_sm_rate = 25e9,   // assumed
                              .forward_sm_rate = 17e9,  // assumed
                              .rdma_sm_rate = 20e9,     // assumed
                              .token_sm_rate = 50e9,    // assumed
                              .token_sm_ns = 50,        // assumed
                              .copy_sm_ns = 30,         // assumed
                              .nvlink_fraction = 0.67,
                              .network_fraction = 0.97,
                              .ramp_us = 12,             // assumed
                              .sharpness = 4,            // assumed
                              .network_sharpness = 5,    // assumed
                              .notify_us = 20,           // assumed
                              .network_notify_us = 30};  // assumed
  ExchangeCost combine = exchange;
  combine.forward_sm_rate = 12e9;  // assumed: sums as it forwards
  // DeepEP docs/legacy.md: 128 tokens, hidden 7168, top 8: 77 and 114 us in a node, 118 and 195
  // over two; 98 and 127 GB/s of 200, 63 and 74 counted against a 50 GB/s NIC.
  // A post: DeepEP pull request 425, 128 tokens, top 8, over nodes: kernels that send and do not
  // wait take 35 to 37 us (dispatch) and 38 to 42 us (combine), of which copying explains 4 to 6;
  // how many of the 1,024 rows stayed in the node is not told: all were taken to leave it.
  const LowLatencyCost low_latency{10, 8, 4, 20, 0.2, 1.0, 0.55, 0.97, 33};
  const PairwiseCost pairwise{.low_latency_base_us = 6.6,                 // assumed
                              .base_us = 12.0,                            // assumed
                              .peer_us = 0.2,                             // assumed
                              .nvlink_fraction = has_nvlink ? 0.7 : 0.4,  // assumed
                              .ramp_us = 5.0,                             // assumed
                              .host_share = 1.0,                          // assumed
                              .fan_out_us = 1.0};                         // assumed
  PairwiseCost send = pairwise;
  send.nvlink_fraction = has_nvlink ? 0.8 : 0.6;  // assumed: as rings, nothing comes the other way
  // NVLink per direction: 300, 450, 900 GB/s (data sheets of A100, H100, B200), of which SMs take
  // two thirds; half of it from one peer.
  const double link = generation == Generation::ampere      ? 300e9
                      : generation == Generation::hopper    ? 450e9
                      : generation == Generation::blackwell ? 900e9
                                                            : 64e9;
  const DirectReduceCost direct{.base_us = 4,                   // assumed: launch in a graph
                                .peer_us = 0.1,                 // assumed
                                .exchange_us = 2,               // assumed
                                .one_shot_rate = link * 2 / 3,  // assumed
                                .peer_rate = link / 2,          // assumed
                                .two_shot_rate = link * 2 / 3,  // assumed
                                .link_fraction = has_nvlink ? 0.8 : 0.6,  // assumed: as rings
                                .ramp_us = 0.3,                           // assumed
                                .staging_us = 4,                          // assumed
                                .multicast_rate = link * 2 / 3,           // assumed
                                .host_us = 25};                           // assumed
  return {.generation = generation,
          .fit_name = "prior",
          .fit_hash = "",
          .collective_grade = core::Grade::assumed,
          .exchange_grade = core::Grade::assumed,
          .network_exchange_grade = core::Grade::assumed,
          .direct_grade = core::Grade::assumed,
          .ring = latencies(kRingLatencies, 1.0),
          .tree = latencies(kTreeLatencies, 0.92),  // NCCL: trees reach 0.92 of rings
          // NCCL: 25 us, 0.85 (Hopper) or 0.74 (Blackwell) of 0.82 of NVLink.
          .in_switch = {.base_us = 25,
                        .nvlink_step_us = 0,
                        .network_step_us = 20.9,
                        .nvlink_fraction = generation == Generation::blackwell ? 0.6 : 0.66,
                        .ramp_us = 10.0,
                        .host_share = 1.0,
                        .socket_share = 1.0,
                        .fan_out_us = 0.0,
                        .fan_out_step_us = 0.0},
          .pairwise = pairwise,
          .send = send,
          .ring_local_pass = 0.4,  // assumed
                                   // NCCL tuning.cc, perChMaxTreeBw in one node; channels as it
                                   // logs them on eight GPUs.
          .channel_rate = generation == Generation::ampere   ? 24e9
                          : generation == Generation::hopper ? 38.7e9
                                                             : 70e9,
          .default_channels = generation == Generation::ampere ? 24.0 : 16.0,
          .int8_reduction_slowdown = 1.04,  // assumed
          .direct = {direct, direct, direct},
          .dispatch = exchange,
          .combine = combine,
          .low_latency_dispatch = low_latency,
          .low_latency_combine = low_latency,
          .spread = {.in_node = 0.5,
                     .across_nodes = 0.35,
                     .pairwise = 0.5,
                     .dispatch = 0.5,
                     .combine = 0.5,
                     .low_latency = 0.5,
                     .direct_reduce = 0.5}};  // assumed
}

FabricParameters fitted_parameters(Generation generation, const device::FitSet& fit) {
  FabricParameters parameters = prior_parameters(generation);
  parameters.fit_name = fit.name;
  parameters.fit_hash = fit.hash;
  const auto& fields = parameter_fields();
  for (const auto& [name, parameter] : fit.parameters) {
    if (name.starts_with(kHarness)) {
      parameters.harness_us[name.substr(kHarness.size())] = parameter.value;
      continue;
    }
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&name = name](const auto& f) { return f.name == name; });
    if (field == fields.end())
      throw core::Refusal(
          core::RefusalKind::outside_model,
          fmt::format("fit '{}' holds '{}', which the fabric does not have", fit.name, name));
    field->of(parameters) = parameter.value;
  }
  const auto grade_of = [&](const std::string& name) {
    const auto found = fit.parameters.find(name);
    return found == fit.parameters.end() ? core::Grade::assumed : found->second.grade;
  };
  parameters.collective_grade = grade_of("nccl.ring_simple.nvlink_fraction");
  parameters.exchange_grade = grade_of("exchange.dispatch.nvlink_sm_rate");
  parameters.direct_grade = grade_of("direct.vllm.one_shot_rate");
  parameters.network_exchange_grade =
      core::worst(parameters.exchange_grade, grade_of("exchange.dispatch.rdma_sm_rate"));
  return parameters;
}

FabricParameters load_parameters(const device::DeviceSpec& device, const std::string& folder) {
  // GPUs whose collectives the fits were made from (their `provenance`).
  static const std::set<std::string> kMeasured = {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm",
                                                  "rtx_pro_6000_server"};
  const Generation generation = device.generation;
  FabricParameters parameters = fitted_parameters(
      generation, device::load_fit("fabric_" + device::to_string(generation), folder));
  if (kMeasured.count(device.name) > 0) return parameters;
  for (core::Grade* grade : {&parameters.collective_grade, &parameters.exchange_grade,
                             &parameters.network_exchange_grade, &parameters.direct_grade})
    *grade = core::worst(*grade, core::Grade::transferred);
  FabricSpread& spread = parameters.spread;
  for (double* width : {&spread.in_node, &spread.pairwise, &spread.dispatch, &spread.combine,
                        &spread.low_latency, &spread.direct_reduce})
    *width = std::hypot(*width, kTransferSpread);
  return parameters;
}

}  // namespace tessera::fabric
