#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <numeric>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
#include "models/fabric/collectives.hpp"

/// Time and memory of one collective, the cluster's wiring included, against GPUs. Compare: 8.6 s
/// for ASTRA-sim's 1 GiB all-reduce on 4,096 GPUs.
namespace {

using namespace tessera;

/// Largest memory of this process so far, MiB.
double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

fabric::TopologySpec cluster(benchmark::State& state, const char* fabric) {
  return fabric::topology_of(
      device::load_cluster("h100_sxm_" + std::to_string(state.range(0)) + "_" + fabric));
}

void run(benchmark::State& state, const fabric::TopologySpec& spec, fabric::CollectiveKind kind,
         fabric::Folding folding, int stride) {
  const fabric::FabricParameters parameters =
      fabric::load_parameters(device::load_device("h100_sxm"));
  fabric::CollectiveRequest request{.kind = kind, .bytes = core::Bytes{1LL << 30}};
  for (int gpu = 0; gpu < spec.domains * spec.gpus_per_domain; gpu += stride)
    request.ranks.push_back(gpu);
  request.tiled = true;
  fabric::CollectiveResult result;
  for (auto _ : state) {
    const fabric::Topology topology{spec};
    fabric::CollectiveModel model{topology, parameters, folding};
    result = model.run(request);
  }
  state.counters["predicted_ms"] = core::to_microseconds(result.time) * 1e-3;
  state.counters["peak_MiB"] = peak_memory();
}

void all_reduce_folded(benchmark::State& state) {
  run(state, cluster(state, "multiplane"), fabric::CollectiveKind::all_reduce,
      fabric::Folding::automatic, 1);
}
void all_reduce_unfolded(benchmark::State& state) {
  run(state, cluster(state, "multiplane"), fabric::CollectiveKind::all_reduce,
      fabric::Folding::none, 1);
}
void all_reduce_unfolded_ecmp(benchmark::State& state) {
  fabric::TopologySpec spec = cluster(state, "fat_tree");
  spec.routing = fabric::Routing::ecmp;
  run(state, spec, fabric::CollectiveKind::all_reduce, fabric::Folding::none, 1);
}
/// Eight groups a node at once, over one GPU of every node each.
void data_parallel_unfolded_ecmp(benchmark::State& state) {
  fabric::TopologySpec spec = cluster(state, "fat_tree");
  spec.routing = fabric::Routing::ecmp;
  run(state, spec, fabric::CollectiveKind::all_reduce, fabric::Folding::none, 8);
}
void all_to_all_unfolded(benchmark::State& state) {
  run(state, cluster(state, "multiplane"), fabric::CollectiveKind::all_to_all,
      fabric::Folding::none, 1);
}

BENCHMARK(all_reduce_folded)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(16384)
    ->Arg(98304)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(all_reduce_unfolded)->Arg(512)->Arg(4096)->Arg(16384)->Unit(benchmark::kMillisecond);
BENCHMARK(all_reduce_unfolded_ecmp)->Arg(512)->Arg(4096)->Arg(16384)->Unit(benchmark::kMillisecond);
BENCHMARK(data_parallel_unfolded_ecmp)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(16384)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(all_to_all_unfolded)->Arg(64)->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);

}  // namespace
