#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <numeric>

#include "models/device/cluster_file.hpp"
#include "models/fabric/expert_exchange.hpp"

/// DeepEP's published H800 figures against the fit to H100 and H200, which knows nothing of them:
/// only NVLink's rate (200 instead of 450 GB/s) is H800's own.
namespace tessera::fabric {
namespace {

using Catch::Matchers::WithinRel;

/// Source of all rows: deepseek-ai/DeepEP docs/legacy.md; H800, ~160 GB/s NVLink, ConnectX-7 at 50
/// GB/s; hidden 7168, top 8 of 256 experts, FP8 dispatch, BF16 combine.
struct Published {
  ExchangeKind kind;
  int ranks;
  double dispatch;
  double combine;
};

ExchangeRequest request_of(const Published& row, ExchangeDirection direction) {
  ExchangeRequest request;
  request.kind = row.kind;
  request.direction = direction;
  request.ranks.resize(static_cast<std::size_t>(row.ranks));
  std::iota(request.ranks.begin(), request.ranks.end(), 0);
  const bool normal = row.kind == ExchangeKind::normal;
  request.tokens = normal ? 4096 : 128;
  request.hidden = 7168;
  const int nodes = row.ranks / 8;
  request.routing = {.experts = 256, .top_k = 8};
  if (normal) {
    request.routing.groups = nodes;
    request.routing.group_limit = std::min(4, nodes);
  }
  request.sms = normal ? 24 : 132;  // low latency takes the GPU
  if (direction == ExchangeDirection::combine) request.type = core::DataType::bf16;
  return request;
}

struct Fixture {
  device::ClusterSpec cluster = device::load_cluster("h800_2048_multiplane");
  Topology topology{topology_of(cluster)};
  ExchangeModel model{topology, load_parameters(cluster.node.device)};
};

TEST_CASE("DeepEP normal on H800: counted bandwidth within 15 % of the published",
          "[validation][deepep]") {
  Fixture fixture;
  const Published rows[] = {{ExchangeKind::normal, 8, 153, 158},
                            {ExchangeKind::normal, 16, 43, 43},
                            {ExchangeKind::normal, 32, 58, 57},
                            {ExchangeKind::normal, 64, 51, 50}};  // GB/s
  for (const Published& row : rows)
    for (const auto direction : {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
      const ExchangeResult result = fixture.model.run(request_of(row, direction));
      const double counted =
          1e-9 * (row.ranks == 8 ? result.counted_nvlink_bandwidth : result.counted_rdma_bandwidth);
      const double published =
          direction == ExchangeDirection::dispatch ? row.dispatch : row.combine;
      UNSCOPED_INFO(
          fmt::format("EP{} {}: published {} GB/s, predicted {:.1f} ({:+.1f} %), {}", row.ranks,
                      direction == ExchangeDirection::dispatch ? "dispatch" : "combine", published,
                      counted, 100 * (counted / published - 1), result.binding));
      CHECK(result.grade == core::Grade::transferred);
      CHECK_THAT(counted, WithinRel(published, 0.15));
    }
}

TEST_CASE("DeepEP low latency on H800: time within 25 % of the published", "[validation][deepep]") {
  Fixture fixture;
  const Published rows[] = {{ExchangeKind::low_latency, 8, 77, 114},
                            {ExchangeKind::low_latency, 16, 118, 195},
                            {ExchangeKind::low_latency, 32, 155, 273},
                            {ExchangeKind::low_latency, 64, 173, 314},
                            {ExchangeKind::low_latency, 128, 192, 369},
                            {ExchangeKind::low_latency, 256, 194, 360}};  // us
  for (const Published& row : rows)
    for (const auto direction : {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
      const ExchangeResult result = fixture.model.run(request_of(row, direction));
      const double predicted = core::to_microseconds(result.time);
      const double published =
          direction == ExchangeDirection::dispatch ? row.dispatch : row.combine;
      UNSCOPED_INFO(
          fmt::format("EP{} {}: published {} us, predicted {:.1f} ({:+.1f} %), {}", row.ranks,
                      direction == ExchangeDirection::dispatch ? "dispatch" : "combine", published,
                      predicted, 100 * (predicted / published - 1), result.binding));
      CHECK_THAT(predicted, WithinRel(published, 0.25));
    }
}

}  // namespace
}  // namespace tessera::fabric
