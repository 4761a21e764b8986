#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/device/fit_file.hpp"

/// The few physical numbers of communication that data sheets do not hold.
namespace tessera::fabric {

/// Wire protocols of NCCL, by growing latency and rate: flag per 8 bytes, flag per 128-byte line,
/// none.
enum class Protocol { ll, ll128, simple };
inline constexpr std::size_t kProtocols = 3;
[[nodiscard]] std::string to_string(Protocol protocol);

/// Time of a collective = base + steps x step + bytes on the busiest link / (fraction x rate).
struct ProtocolCost {
  double base_us;          ///< Launch, rendezvous, first flags.
  double nvlink_step_us;   ///< One step to a neighbour over NVLink.
  double network_step_us;  ///< One step over the network, NIC included.
  double nvlink_fraction;  ///< Part of the NVLink rate that payload reaches.
  double ramp_us;          ///< Further time until the pipeline is full; reached half at `ramp_us`
                           ///< of transfer.
  double host_share;       ///< Over PCIe: part of the rate that is left between PCIe switches.
  double socket_share;     ///< Further, between processors.
  double fan_out_us;       ///< Further time once a part of a rank is spread over several channels.
  double fan_out_step_us;  ///< The same of each step.
};

/// Sends and receives in one kernel: all-to-all, or one message alone (pipeline stages). Up to 16
/// KiB a peer go with flags in the data, as NCCL does (NCCL_P2P_LL_THRESHOLD).
struct PairwiseCost {
  double low_latency_base_us;  ///< Messages of at most 16 KiB.
  double base_us;              ///< Larger ones.
  double peer_us;              ///< Each further peer.
  double nvlink_fraction;      ///< Part of the NVLink rate that payload reaches.
  double ramp_us;              ///< As in ProtocolCost.
  double host_share;           ///< As in ProtocolCost.
  double fan_out_us;           ///< As in ProtocolCost, of messages with flags.
};

/// Libraries with all-reduce kernels of their own.
enum class ReduceLibrary { vllm, sglang, trtllm };
inline constexpr std::size_t kReduceLibraries = 3;
[[nodiscard]] std::string to_string(ReduceLibrary library);

/// All-reduce whose SMs read or write their peers' memory. SGLang's is its second kernel; where it
/// still runs its first, which it shares with vLLM, these are that one's.
struct DirectReduceCost {
  double base_us;      ///< Launch, and flags to one peer and back.
  double peer_us;      ///< Flags of each further peer.
  double exchange_us;  ///< Two-shot: barriers between and after its halves, per doubling of ranks.
  double one_shot_rate;   ///< Bytes/s that its SMs take in at most.
  double peer_rate;       ///< Bytes/s that they have in flight for from one peer.
  double two_shot_rate;   ///< As one_shot_rate, of the two-shot kernel.
  double link_fraction;   ///< Part of the link's rate that loads of peer memory reach.
  double ramp_us;         ///< As in ProtocolCost.
  double staging_us;      ///< Symmetric memory: two copy kernels and its barriers.
  double multicast_rate;  ///< The same: bytes/s of the switch's reductions.
  double host_us;         ///< What one eager call takes on the host; no shorter call is seen.
};

/// One direction of an expert-parallel exchange whose kernels run on a share of the SMs.
struct ExchangeCost {
  double base_us;            ///< Launch and barrier inside a node.
  double network_base_us;    ///< Further, when other nodes take part.
  double node_us;            ///< Further, per doubling of nodes beyond two.
  double row_latency_us;     ///< Further, per KB of one row: a warp's way through it.
  double nvlink_sm_rate;     ///< Bytes/s that one SM copies to NVLink peers.
  double forward_sm_rate;    ///< Bytes/s that one SM forwards from RDMA buffers to NVLink.
  double rdma_sm_rate;       ///< Bytes/s that one SM copies into RDMA buffers.
  double token_sm_rate;      ///< Bytes/s of one SM's other passes over its own tokens.
  double token_sm_ns;        ///< SM time per token, whatever its size.
  double copy_sm_ns;         ///< SM time per row sent, whatever its size.
  double nvlink_fraction;    ///< Part of the NVLink rate that payload reaches.
  double network_fraction;   ///< Part of the NIC's payload rate.
  double ramp_us;            ///< As in ProtocolCost.
  double sharpness;          ///< Exponent that joins times of resources that work at once: a high
                             ///< one means that only the slowest counts.
  double network_sharpness;  ///< The same when other nodes take part.
  double notify_us;          ///< Exchange of counts before it, inside a node.
  double network_notify_us;  ///< Further, across nodes.
};

/// Low-latency exchange: every copy goes to its expert's rank directly.
struct LowLatencyCost {
  double base_us;
  double network_base_us;  ///< Further, when other nodes take part.
  double node_us;          ///< Further, per doubling of nodes beyond two.
  double expert_ns;        ///< Further, per expert of the group: each has its counters.
  double row_latency_us;   ///< Further, per KB of one row.
  double token_us;         ///< One token's way through an SM; SMs take turns on a rank's tokens.
  double nvlink_fraction;
  double network_fraction;
  double post_ns;  ///< One row's hand-over to the NIC; SMs of a GPU take turns. Not in the time.
};

/// What of a collective's prediction is uncertain: half-width of the 90 % interval, relative.
struct FabricSpread {
  double in_node;
  double across_nodes;
  double pairwise;  ///< All-to-all and sends inside a node.
  double dispatch;  ///< Of a normal exchange.
  double combine;
  double low_latency;
  double direct_reduce;
};

/// Parameters of one generation. Priors come from NCCL's cost model and from published bandwidths;
/// calibrate/fits/fabric_*.yaml replaces what was measured.
struct FabricParameters {
  device::Generation generation;
  std::string fit_name;  ///< "prior" or the name of the fit file.
  std::string fit_hash;
  core::Grade collective_grade;        ///< Inside one NVLink domain.
  core::Grade exchange_grade;          ///< Inside one NVLink domain.
  core::Grade network_exchange_grade;  ///< Across domains.
  core::Grade direct_grade;            ///< Of libraries' own all-reduces.
  std::array<ProtocolCost, kProtocols> ring;
  std::array<ProtocolCost, kProtocols> tree;
  ProtocolCost in_switch;  ///< NVLS.
  PairwiseCost pairwise;
  PairwiseCost send;        ///< One message, one way.
  double ring_local_pass;   ///< Time in which a ring's rank passes over its own part, in units of
                            ///< one step's transfer; seen inside a node.
  double channel_rate;      ///< Bytes/s that one channel (one SM) moves.
  double default_channels;  ///< SMs that the library takes unless told otherwise.
  double int8_reduction_slowdown;  ///< Reducing 8-bit elements against 16-bit ones, >= 1.
  std::array<DirectReduceCost, kReduceLibraries> direct;
  ExchangeCost dispatch;
  ExchangeCost combine;
  LowLatencyCost low_latency_dispatch;
  LowLatencyCost low_latency_combine;
  FabricSpread spread;
  /// What timing adds to each row of a collection, us, by "FAMILY.GPU";
  /// never part of a run.
  std::map<std::string, double> harness_us;
};

/// One parameter by name, so that fits are read and written without a second list.
struct ParameterField {
  std::string name;  ///< "nccl.ring.simple.step_us"
  std::string unit;
  std::function<double&(FabricParameters&)> of;
};
[[nodiscard]] const std::vector<ParameterField>& parameter_fields();

/// What NCCL's own cost model (src/graph/tuning.cc, 2.27) and published measurements say before any
/// fit. Generations without NVLink speak PCIe.
[[nodiscard]] FabricParameters prior_parameters(device::Generation generation);

/// The priors with every parameter that the fit holds, and the grades of what decides. Throws
/// Refusal (outside_model) when the fit names a parameter that the fabric does not have.
[[nodiscard]] FabricParameters fitted_parameters(device::Generation generation,
                                                 const device::FitSet& fit);

/// The parameters for a device: fabric_GENERATION.yaml in the folder of fits, graded no better than
/// transferred when the device itself was not measured.
[[nodiscard]] FabricParameters load_parameters(const device::DeviceSpec& device,
                                               const std::string& folder = device::kFitFolder);

}  // namespace tessera::fabric
