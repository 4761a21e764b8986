#include "sim/app/disaggregation_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/serving/memory.hpp"
#include "models/workload/kv_cache.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::Estimate;
using serving::PoolRate;
using std::int64_t;

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

Estimate exact(double value, std::string unit) {
  return {value, value, value, std::move(unit), core::Grade::measured};
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

/// What the cache's way costs.
struct Transfer {
  double bytes_per_request = 0;
  double bytes_per_gpu = 0;  ///< That a prefill GPU sends after one iteration.
  Estimate whole;            ///< All layers' caches at once.
  Estimate exposed;          ///< After the prefill.
  double network_share = 0;  ///< Of a prefill GPU's part of its NIC, in steady state.
};

Transfer transfer_of(const DisaggregationScenario& scenario, const Pool& prefill,
                     const Pool& decode) {
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
  const device::NicSpec& nic = prefill.scenario.cluster.node.nic;
  const double sent = prefill.rate().tokens_per_second_per_gpu.value / static_cast<double>(fresh) *
                      t.bytes_per_request;
  t.network_share = sent * nic.gpus_per_nic / (nic.rate.value() * nic.efficiency);
  return t;
}

/// Share of a pool's rate that is used; of the pool that waits it is as uncertain as the balance.
Estimate busy(double share, const Estimate& balance) {
  if (share == 1) return exact(1, "1");
  return {share, share * balance.lower / balance.value,
          std::min(1.0, share * balance.upper / balance.value), "1", balance.grade};
}

/// A decode instance and the fewest prefill instances that keep it busy.
int64_t least_gpus(const PoolRate& prefill, const PoolRate& decode, double ratio) {
  const double wanted = ratio * static_cast<double>(decode.instance_gpus);
  const auto instances =
      static_cast<int64_t>(std::ceil(wanted / static_cast<double>(prefill.instance_gpus)));
  return std::max<int64_t>(1, instances) * prefill.instance_gpus + decode.instance_gpus;
}

void add_pools(core::Result& result, const DisaggregationScenario& scenario, const Pool& prefill,
               const Pool& decode) {
  const auto add = [&](const char* name, Estimate value) {
    result.quantities.emplace_back(name, std::move(value));
  };
  const PoolRate p = prefill.rate(), d = decode.rate();
  const serving::RequestShape request{static_cast<double>(scenario.prompt - prefill.job().prefix),
                                      static_cast<double>(scenario.output)};
  const Estimate ratio = serving::balancing_ratio(p, d, request);
  const serving::PoolSizes sizes =
      serving::size_pools(p, d, request, scenario.gpus.value_or(least_gpus(p, d, ratio.value)));
  const Estimate& binding = (sizes.prefill_binds ? p : d).tokens_per_second_per_gpu;
  const auto by_binding = [&](double value, std::string unit) {
    return scaled(binding, value / binding.value, std::move(unit));
  };
  const auto gpus = static_cast<double>(sizes.gpus(p, d));
  add("prefill_gpus_per_decode_gpu", ratio);
  add("prefill_gpus", exact(static_cast<double>(sizes.prefill_instances * p.instance_gpus), "GPU"));
  add("decode_gpus", exact(static_cast<double>(sizes.decode_instances * d.instance_gpus), "GPU"));
  add("prefill_busy", busy(sizes.prefill_busy, ratio));
  add("decode_busy", busy(sizes.decode_busy, ratio));
  add("requests_per_second", by_binding(sizes.requests_per_second, "1/s"));
  add("tokens_per_second_per_gpu",
      by_binding(sizes.requests_per_second * request.output_tokens / gpus, "tokens/s"));
  add("prefill_tokens_per_second_per_gpu", p.tokens_per_second_per_gpu);
  add("decode_tokens_per_second_per_gpu", d.tokens_per_second_per_gpu);
  // Every pool is paid for whether it works or waits.
  const auto bill = [&](const char* name, const char* unit) {
    const Estimate* of_prefill = prefill.result.find(name);
    const Estimate* of_decode = decode.result.find(name);
    if (of_prefill == nullptr || of_decode == nullptr) return;
    const Estimate prompt =
        scaled(*of_prefill, request.new_prompt_tokens / sizes.prefill_busy, unit);
    const Estimate output =
        scaled(*of_decode, (request.output_tokens - 1) / sizes.decode_busy, unit);
    add(name, scaled(sum(prompt, output), 1 / request.output_tokens, unit));
  };
  bill("dollars_per_million_tokens", "USD");
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
  add("kv_transfer_bytes", exact(transfer.bytes_per_request, "B"));
  add("kv_transfer_time", transfer.whole);
  add("kv_transfer_exposed", transfer.exposed);
  add("kv_transfer_network_share", exact(transfer.network_share, "1"));
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

std::optional<std::string> refusal_of(const Pool& prefill, const Pool& decode) {
  if (prefill.result.refused) return "prefill: " + *prefill.result.refused;
  if (decode.result.refused) return "decode: " + *decode.result.refused;
  return std::nullopt;
}

core::Result headed(const DisaggregationScenario& scenario, const Pool& decode) {
  core::Result result;
  result.job = "disaggregation";
  result.title = scenario.title;
  result.tessera_version = decode.result.tessera_version;
  result.fits = decode.result.fits;
  result.scenario_json = scenario.resolved;
  result.machine = decode.result.machine;
  return result;
}

}  // namespace

core::Result run_disaggregation(const DisaggregationScenario& scenario, const RunOptions& options,
                                RunStatistics& statistics) {
  const Pool prefill{scenario.prefill, run_scenario(scenario.prefill, options, statistics)};
  const Pool decode{scenario.decode, run_scenario(scenario.decode, options, statistics)};
  core::Result result = headed(scenario, decode);
  result.refused = refusal_of(prefill, decode);
  if (result.refused) return result;
  try {
    const Transfer transfer = transfer_of(scenario, prefill, decode);
    result.quantities.emplace_back("ttft", sum(prefill.quantity("ttft"), transfer.exposed));
    result.quantities.emplace_back("tpot", decode.quantity("tpot"));
    result.quantities.emplace_back("tokens_per_second_per_user",
                                   decode.quantity("tokens_per_second_per_user"));
    add_pools(result, scenario, prefill, decode);
    add_transfer(result, scenario, transfer);
    add_rows(result, "prefill", prefill.result);
    add_rows(result, "decode", decode.result);
  } catch (const core::Refusal& refusal) {
    core::Result refused = headed(scenario, decode);
    refused.refused = fmt::format("{}: {}", core::to_string(refusal.kind()), refusal.what());
    return refused;
  }
  return result;
}

}  // namespace tessera::app
