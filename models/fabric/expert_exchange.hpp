#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/fabric/fabric_parameters.hpp"
#include "models/fabric/flows.hpp"
#include "models/fabric/token_routing.hpp"
#include "models/fabric/topology.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"

/// Sending tokens to the ranks of their experts, and bringing the results back.
namespace tessera::fabric {

enum class ExchangeDirection { dispatch, combine };

enum class ExchangeKind {
  normal,       ///< DeepEP normal: one copy a domain over RDMA to the GPU of the same index, then
                ///< one copy a rank over NVLink.
  low_latency,  ///< One copy an expert, straight to its rank.
};

struct ExchangeRequest {
  ExchangeKind kind = ExchangeKind::normal;
  ExchangeDirection direction = ExchangeDirection::dispatch;
  std::vector<int> ranks;  ///< GPU ids of the expert-parallel group, in expert order.
  double tokens = 0;       ///< Of each rank.
  int hidden = 0;
  TokenRouting routing;
  std::optional<TokenReach>
      reach;  ///< Where tokens go, when known; of `routing` only `experts` counts.
  core::DataType type = core::DataType::fp8_block;  ///< On the wire, scales included.
  int sms = 20;              ///< Of each GPU, for this exchange; low latency takes all in practice.
  double nvlink_share = 1;   ///< Part of NVLink that neighbours leave to it, (0, 1].
  double network_share = 1;  ///< Part of the NICs that neighbours leave to it, (0, 1].
};

/// Seconds that each resource of the busiest GPU is in use; all work at the same time.
struct ExchangeDemand {
  double sms = 0;
  double nvlink = 0;
  double network = 0;
};

/// Bytes through one link of a class in its fuller direction: a GPU's NVLink port, or a NIC.
struct LinkLoad {
  double busiest = 0;
  double mean = 0;  ///< Over GPUs, or over what NICs serve.
};

struct ExchangeResult {
  Time time{0};   ///< From the first GPU's start to the last token's arrival, without `notify`.
  Time lower{0};  ///< 90 % interval.
  Time upper{0};
  /// Low latency: the first part of `time`, in which the SMs write rows to peers of their domain,
  /// hand the others to the NIC and tell every expert its count; then they are free. With its 90 %
  /// interval.
  Time sending{0}, sending_lower{0}, sending_upper{0};
  Time notify{0};  ///< Exchange of counts, before a dispatch whose sizes are not known yet.
  core::Grade grade = core::Grade::assumed;
  ExchangeDemand demand;
  std::string binding;                         ///< sms, nvlink, rdma or latency.
  double ranks_reached = 0;                    ///< Distinct ranks per token, its own included.
  double domains_reached = 0;                  ///< Distinct domains per token, its own included.
  std::map<LinkClass, double> bytes_per_rank;  ///< On the wire, mean over ranks.
  std::map<LinkClass, LinkLoad> links;         ///< Rows passed on within a domain included.
  double hottest_rank = 1;  ///< Rows that the busiest rank receives, over the mean.
  /// Bytes/s as DeepEP counts them: rows to every domain (rdma) or rank (nvlink), the own included.
  double counted_rdma_bandwidth = 0;
  double counted_nvlink_bandwidth = 0;
};

/// Bytes of one token on the wire: hidden x (element + scales).
[[nodiscard]] double token_bytes(int hidden, core::DataType type);

/// Expert-parallel exchanges on one cluster.
///
/// Chunks stream through copy by SMs, NICs and NVLink at the same time, so the time is that of the
/// busiest resource on the busiest GPU, sharpened by fitted costs. Does not model congestion
/// between leaves (an expert-parallel group is expected under one leaf or one non-blocking plane).
class ExchangeModel {
 public:
  ExchangeModel(const Topology& topology, const FabricParameters& parameters);

  /// Throws Refusal (illegal_combination) for ranks that do not fill the same slots of every
  /// domain, and as reach_of_tokens does.
  [[nodiscard]] ExchangeResult run(const ExchangeRequest& request);

  /// Time on the wires alone, by simulating every flow of the exchange; what folding must agree
  /// with. SMs are not a limit.
  [[nodiscard]] Time simulate_wires(const ExchangeRequest& request);

 private:
  struct Slots {
    std::vector<int> domain;  ///< By rank, 0, 1, ...
    std::vector<int> slot;    ///< By rank: its place in the domain.
    int domains;
    int per_domain;
  };
  /// Rows of the busiest GPU, NIC and links.
  struct Rows {
    double copied_to_nvlink = 0;  ///< By SMs of a sender inside a domain.
    double copied_to_rdma = 0;
    double forwarded = 0;
    double nvlink = 0;   ///< Over the fuller direction of one GPU's links.
    double network = 0;  ///< Over the fuller direction of one NIC.
    double mean_nvlink = 0;
    double mean_network = 0;
    double received = 0;
  };

  [[nodiscard]] Slots slots_of(const std::vector<int>& ranks) const;
  [[nodiscard]] static const TokenReach& reach_of(const ExchangeRequest& request,
                                                  const Slots& slots);
  [[nodiscard]] Rows count_rows(const ExchangeRequest& request, const Slots& slots,
                                const TokenReach& reach) const;
  [[nodiscard]] ExchangeResult run_low_latency(const ExchangeRequest& request, const Slots& slots,
                                               const TokenReach& reach) const;
  void finish(ExchangeResult& result, double microseconds, double spread, bool crosses) const;

  const Topology& topology_;
  FabricParameters parameters_;
};

}  // namespace tessera::fabric
