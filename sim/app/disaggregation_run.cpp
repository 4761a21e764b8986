#include "sim/app/disaggregation_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/serving/memory.hpp"
#include "models/workload/kv_cache.hpp"
#include "reports/bill.hpp"
#include "sim/app/any_scenario.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::Estimate;
using serving::PoolRate;
using std::int64_t;

constexpr const char* kPrefill = "prefill";
constexpr const char* kDecode = "decode";

/// A pool's scenario with what it came to.
struct Pool {
  const Scenario& scenario;
  core::Result result;

  [[nodiscard]] const serving::InferenceJob& job() const { return scenario.inference(); }
  [[nodiscard]] const Estimate& quantity(const char* name) const { return *result.find(name); }
  [[nodiscard]] PoolRate rate() const {
    return {job().instance_gpus(), quantity("tokens_per_second_per_gpu")};
  }
};

/// What follows from shapes, or is chosen by what a grade tells.
Estimate counted(double value, std::string unit, core::Grade grade = core::Grade::transferred) {
  return {value, value, value, std::move(unit), grade};
}

/// All bounds and the value times `factor`, which is without error.
Estimate scaled(Estimate estimate, double factor, std::string unit) {
  estimate.value *= factor;
  estimate.lower *= factor;
  estimate.upper *= factor;
  estimate.unit = std::move(unit);
  return estimate;
}

Estimate seconds(const streams::NetworkCost& cost) {
  return {core::to_seconds(cost.time).value(), core::to_seconds(cost.lower).value(),
          core::to_seconds(cost.upper).value(), "s", cost.grade};
}

/// The sum of two independent estimates: errors add in quadrature.
Estimate sum(const Estimate& a, const Estimate& b) {
  return {a.value + b.value, a.value + b.value - std::hypot(a.value - a.lower, b.value - b.lower),
          a.value + b.value + std::hypot(a.upper - a.value, b.upper - b.value), a.unit,
          core::worst(a.grade, b.grade)};
}

/// Bytes that the decode GPUs of one request get, each tensor rank what it will hold.
double request_bytes(const serving::InferenceJob& decode, double prompt) {
  const serving::MemoryJob memory = serving::memory_job(decode);
  const workload::KvCache cache(
      memory.architecture,
      {.format = memory.cache, .tensor = memory.tensor, .block = memory.block, .mtp = memory.mtp});
  return static_cast<double>(memory.tensor) * cache.bytes(prompt);
}

/// One GPU's message to a GPU of another NVLink domain, of the slower of both pools' fabrics, with
/// all of their GPUs sending.
class CacheWire {
 public:
  CacheWire(const Pool& prefill, const Pool& decode)
      : sender_(network(prefill)),
        receiver_(network(decode)),
        from_peer_(peer(prefill)),
        to_peer_(peer(decode)) {}

  streams::NetworkCost send(double bytes) {
    const core::Bytes size{std::llround(std::ceil(bytes))};
    const streams::NetworkCost a = sender_.send(0, from_peer_, size);
    const streams::NetworkCost b = receiver_.send(0, to_peer_, size);
    return a.time < b.time ? b : a;
  }

 private:
  static FabricNetworkTimer network(const Pool& pool) {
    return {pool.scenario.cluster, pool.job().architecture.moe, pool.job().routing};
  }
  static int peer(const Pool& pool) {
    const device::ClusterSpec& cluster = pool.scenario.cluster;
    if (cluster.domains < 2)
      throw core::Refusal(core::RefusalKind::illegal_combination,
                          fmt::format("{} is one NVLink domain; pools on GPUs of their own need "
                                      "two",
                                      cluster.name));
    return cluster.gpus_per_domain;
  }

  FabricNetworkTimer sender_, receiver_;
  int from_peer_, to_peer_;
};

/// Both pools at the size that was asked for, or that keeps a decode instance busy.
struct Pools {
  PoolRate prefill, decode;
  serving::RequestShape request;
  Estimate ratio;  ///< Prefill GPUs a decode GPU.
  serving::PoolSizes sizes;

  [[nodiscard]] double prefill_gpus() const {
    return static_cast<double>(sizes.prefill_instances * prefill.instance_gpus);
  }
  [[nodiscard]] double decode_gpus() const {
    return static_cast<double>(sizes.decode_instances * decode.instance_gpus);
  }
  /// `value` of the pool that binds, as uncertain as its rate.
  [[nodiscard]] Estimate by_binding(double value, std::string unit) const {
    const Estimate& rate = (sizes.prefill_binds ? prefill : decode).tokens_per_second_per_gpu;
    return scaled(rate, value / rate.value, std::move(unit));
  }
};

/// A decode instance and the fewest prefill instances that keep it busy.
int64_t least_gpus(const Pools& pools) {
  const double wanted = pools.ratio.value * static_cast<double>(pools.decode.instance_gpus);
  const auto instances =
      static_cast<int64_t>(std::ceil(wanted / static_cast<double>(pools.prefill.instance_gpus)));
  return std::max<int64_t>(1, instances) * pools.prefill.instance_gpus + pools.decode.instance_gpus;
}

Pools sized_pools(const DisaggregationScenario& scenario, const Pool& prefill, const Pool& decode) {
  Pools pools{.prefill = prefill.rate(),
              .decode = decode.rate(),
              .request = {static_cast<double>(scenario.prompt - prefill.job().prefix),
                          static_cast<double>(scenario.output)}};
  pools.ratio = serving::balancing_ratio(pools.prefill, pools.decode, pools.request);
  serving::PoolRoom room = scenario.room();
  room.both = std::min(room.both, scenario.gpus.value_or(least_gpus(pools)));
  pools.sizes = serving::size_pools(pools.prefill, pools.decode, pools.request, room);
  return pools;
}

/// What the cache's way costs.
struct Transfer {
  double bytes_per_request = 0;
  double bytes_per_gpu = 0;  ///< That a prefill GPU sends after one iteration.
  Estimate whole;            ///< All layers' caches at once.
  Estimate exposed;          ///< After the prefill.
  Estimate network_share;    ///< Used of the NICs of the pool that needs more of its own.
};

/// Share of the NICs of `gpus` GPUs that `bytes` a second need.
double nic_share(const Pool& pool, double gpus, double bytes) {
  const device::NicSpec& nic = pool.scenario.cluster.node.nic;
  return bytes / gpus * nic.gpus_per_nic / (nic.rate.value() * nic.efficiency);
}

/// Throws core::Refusal (saturated) when caches are made faster than the network takes them.
Estimate network_share(const Pool& prefill, const Pool& decode, const Pools& pools, double bytes) {
  const double moved = pools.sizes.requests_per_second * bytes;
  const double share = std::max(nic_share(prefill, pools.prefill_gpus(), moved),
                                nic_share(decode, pools.decode_gpus(), moved));
  if (share > 1)
    throw core::Refusal(
        core::RefusalKind::saturated,
        fmt::format("{:.0f} requests a second have caches of {:.3g} GB, {:.1f} times what the "
                    "NICs of {:.0f} prefill and {:.0f} decode GPUs carry",
                    pools.sizes.requests_per_second, bytes / 1e9, share, pools.prefill_gpus(),
                    pools.decode_gpus()));
  return pools.by_binding(share, "1");
}

Transfer transfer_of(const DisaggregationScenario& scenario, const Pool& prefill,
                     const Pool& decode, const Pools& pools) {
  const serving::InferenceJob& job = prefill.job();
  Transfer t;
  t.bytes_per_request = request_bytes(decode.job(), static_cast<double>(scenario.prompt));
  const int64_t fresh = scenario.prompt - job.prefix;
  const int64_t requests = std::max<int64_t>(1, job.tokens / fresh);
  t.bytes_per_gpu =
      t.bytes_per_request * static_cast<double>(requests) / static_cast<double>(job.split.tensor);
  CacheWire wire(prefill, decode);
  const int64_t layers = job.architecture.layers;
  const streams::NetworkCost whole = wire.send(t.bytes_per_gpu);
  const streams::NetworkCost layer = wire.send(t.bytes_per_gpu / static_cast<double>(layers));
  t.whole = seconds(whole);
  const core::Time computed = core::to_time(core::Seconds{prefill.quantity("ttft").value});
  const auto exposed = [&](core::Time one, core::Time all) {
    return core::to_seconds(
               serving::exposed_transfer({one, all, layers}, computed, scenario.transfer))
        .value();
  };
  t.exposed = {exposed(layer.time, whole.time), exposed(layer.lower, whole.lower),
               exposed(layer.upper, whole.upper), "s", whole.grade};
  t.network_share = network_share(prefill, decode, pools, t.bytes_per_request);
  return t;
}

/// Share of a pool's rate that is used; of the pool that waits it is as uncertain as the balance.
Estimate busy(double share, const Estimate& balance) {
  if (share == 1) return counted(1, "1", balance.grade);
  return {share, share * balance.lower / balance.value,
          std::min(1.0, share * balance.upper / balance.value), "1", balance.grade};
}

void add_pools(core::Result& result, const Pools& pools) {
  const auto add = [&](const char* name, Estimate value) {
    result.quantities.emplace_back(name, std::move(value));
  };
  const serving::PoolSizes& sizes = pools.sizes;
  const serving::RequestShape& request = pools.request;
  const Estimate& ratio = pools.ratio;
  add("prefill_gpus_per_decode_gpu", ratio);
  add("prefill_gpus", counted(pools.prefill_gpus(), "GPU", ratio.grade));
  add("decode_gpus", counted(pools.decode_gpus(), "GPU", ratio.grade));
  add("prefill_busy", busy(sizes.prefill_busy, ratio));
  add("decode_busy", busy(sizes.decode_busy, ratio));
  add("requests_per_second", pools.by_binding(sizes.requests_per_second, "1/s"));
  add("tokens_per_second_per_gpu",
      pools.by_binding(sizes.requests_per_second * request.output_tokens /
                           (pools.prefill_gpus() + pools.decode_gpus()),
                       "tokens/s"));
  add("prefill_tokens_per_second_per_gpu", pools.prefill.tokens_per_second_per_gpu);
  add("decode_tokens_per_second_per_gpu", pools.decode.tokens_per_second_per_gpu);
}

/// The bills of both pools, and what each of them adds to a million tokens of output.
void add_bill(core::Result& result, const Pool& prefill, const Pool& decode, const Pools& pools) {
  const std::string dollars = "dollars_per_million_tokens";
  const Estimate *of_prefill = prefill.result.find(dollars),
                 *of_decode = decode.result.find(dollars);
  if (of_prefill == nullptr || of_decode == nullptr) return;
  for (const auto& [name, pool] : {std::pair{kPrefill, &prefill}, {kDecode, &decode}}) {
    for (core::CostRow row : pool->result.cost) {
      row.item = fmt::format("{}: {}", name, row.item);
      result.cost.push_back(std::move(row));
    }
    for (core::CostRow row : pool->result.energy) {
      row.item = fmt::format("{} at work: {}", name, row.item);
      result.energy.push_back(std::move(row));
    }
  }
  // Every pool is paid for whether it works or waits.
  const double output = pools.request.output_tokens;
  const double prompt = pools.request.new_prompt_tokens;
  const Estimate prompts = scaled(*of_prefill, prompt / output / pools.sizes.prefill_busy, "USD");
  const Estimate outputs =
      scaled(*of_decode, (output - 1) / output / pools.sizes.decode_busy, "USD");
  result.quantities.emplace_back(dollars, sum(prompts, outputs));
  result.quantities.emplace_back(reports::part_of_rank(dollars, kPrefill), prompts);
  result.quantities.emplace_back(reports::part_of_rank(dollars, kDecode), outputs);
  result.cost.push_back(
      {"prefill of a million output tokens", prompts,
       fmt::format("prefill's million x {:.4g} new prompt tokens an output token / {:.3g} busy",
                   prompt / output, pools.sizes.prefill_busy)});
  result.cost.push_back({"decode of a million output tokens", outputs,
                         fmt::format("decode's million, less the first token of each request, "
                                     "/ {:.3g} busy",
                                     pools.sizes.decode_busy)});
  result.cost.push_back({"a million output tokens", *result.find(dollars), "sum of the two above"});
}

void add_rows(core::Result& result, const char* rank, const core::Result& pool) {
  for (core::PhaseRow row : pool.phases) {
    row.rank = rank;
    result.phases.push_back(std::move(row));
  }
  for (core::MemoryRow row : pool.memory) {
    row.rank = rank;
    result.memory.push_back(std::move(row));
  }
  for (const std::string& warning : pool.warnings)
    result.warnings.push_back(fmt::format("{}: {}", rank, warning));
  for (const std::string& assumption : pool.assumptions) {
    const std::string text = fmt::format("{}: {}", rank, assumption);
    result.assumptions.push_back(text);
  }
}

void add_transfer(core::Result& result, const DisaggregationScenario& scenario,
                  const Transfer& transfer) {
  const auto add = [&](const char* name, Estimate value) {
    result.quantities.emplace_back(name, std::move(value));
  };
  add("kv_transfer_bytes", counted(transfer.bytes_per_request, "B"));
  add("kv_transfer_time", transfer.whole);
  add("kv_transfer_exposed", transfer.exposed);
  add("kv_transfer_network_share", transfer.network_share);
  result.network.push_back({.operation = "kv_transfer",
                            .fabric = "rdma",
                            .bytes_per_rank = transfer.bytes_per_gpu,
                            .time = transfer.whole,
                            .bus_bandwidth = transfer.bytes_per_gpu / transfer.whole.value,
                            .exposed_seconds = transfer.exposed.value});
  result.assumptions.push_back(
      scenario.transfer == serving::TransferOverlap::layer_wise
          ? "Each layer's cache leaves as soon as it has been computed; a prefill's layers take "
            "equally long."
          : "Caches leave when the whole prompt is done.");
  result.assumptions.push_back(
      "The first token comes with the prefill and passes with the cache. All prefill GPUs send at "
      "once, to GPUs of other domains, on a network without other traffic; no request waits for "
      "either pool.");
  if (serving::memory_job(scenario.decode.inference()).mtp)
    result.assumptions.push_back(
        "The cache of MTP modules is sent too; what the prefill computes for it is not counted.");
  result.assumptions.push_back(
      fmt::format("Decode holds prompt and half of the output, {} tokens a sequence, on average.",
                  scenario.decode.inference().context));
}

/// "does_not_fit: decode: ...": the kind first, as in every refusal.
std::optional<std::string> refusal_of(const Pool& prefill, const Pool& decode) {
  for (const auto& [name, pool] : {std::pair{kPrefill, &prefill}, {kDecode, &decode}})
    if (std::string refused = pool->result.refused.value_or(""); !refused.empty())
      return refused.insert(refused.find(": ") + 2, fmt::format("{}: ", name));
  return std::nullopt;
}

/// The machine of both pools; of two, what they do not have in common is left open.
core::MachineRow machine_of(const core::MachineRow& prefill, const core::MachineRow& decode) {
  if (prefill.cluster == decode.cluster) return decode;
  core::MachineRow both;
  both.cluster = prefill.cluster + " and " + decode.cluster;
  both.device =
      prefill.device == decode.device ? decode.device : prefill.device + " and " + decode.device;
  both.gpus = prefill.gpus + decode.gpus;
  if (prefill.device != decode.device) return both;
  both.peak_flops = decode.peak_flops;
  both.hbm_rate = decode.hbm_rate;
  both.hbm_bytes = decode.hbm_bytes;
  return both;
}

core::Result headed(const DisaggregationScenario& scenario, const Pool& prefill,
                    const Pool& decode) {
  core::Result result;
  result.job = kDisaggregation;
  result.title = scenario.title;
  result.tessera_version = decode.result.tessera_version;
  result.fits = decode.result.fits;
  result.scenario_json = scenario.resolved;
  result.machine = machine_of(prefill.result.machine, decode.result.machine);
  return result;
}

}  // namespace

core::Result run_disaggregation(const DisaggregationScenario& scenario, const RunOptions& options,
                                RunStatistics& statistics) {
  const Pool prefill{scenario.prefill, run_scenario(scenario.prefill, options, statistics)};
  const Pool decode{scenario.decode, run_scenario(scenario.decode, options, statistics)};
  core::Result result = headed(scenario, prefill, decode);
  result.refused = refusal_of(prefill, decode);
  if (result.refused) return result;
  try {
    const Pools pools = sized_pools(scenario, prefill, decode);
    const Transfer transfer = transfer_of(scenario, prefill, decode, pools);
    result.quantities.emplace_back("ttft", sum(prefill.quantity("ttft"), transfer.exposed));
    result.quantities.emplace_back("tpot", decode.quantity("tpot"));
    result.quantities.emplace_back("tokens_per_second_per_user",
                                   decode.quantity("tokens_per_second_per_user"));
    add_pools(result, pools);
    add_bill(result, prefill, decode, pools);
    add_transfer(result, scenario, transfer);
    add_rows(result, kPrefill, prefill.result);
    add_rows(result, kDecode, decode.result);
  } catch (const core::Refusal& refusal) {
    core::Result refused = headed(scenario, prefill, decode);
    refused.refused = fmt::format("{}: {}", core::to_string(refusal.kind()), refusal.what());
    return refused;
  }
  return result;
}

}  // namespace tessera::app
