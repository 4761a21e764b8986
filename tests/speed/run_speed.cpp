#include <benchmark/benchmark.h>

#include <cstdint>

#include "models/device/device_file.hpp"
#include "sim/app/scenario.hpp"
#include "tests/unit/fake_timers.hpp"

/// What a run costs beside its kernels: reading its files, and every rank's timeline.
namespace tessera {
namespace {

constexpr const char* kScenario = "deepseek_v3_pretrain_h800";

void read_device(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(device::load_device("h800_sxm"));  // extends another
}
BENCHMARK(read_device)->Unit(benchmark::kMillisecond);

void read_scenario(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(app::read_scenario(kScenario));
}
BENCHMARK(read_scenario)->Unit(benchmark::kMillisecond);

/// DualPipe on 16 ranks and a step of 15,360 sequences; kernels and exchanges cost nothing to ask.
void pipeline_timeline(benchmark::State& state) {
  const app::Scenario scenario = app::read_scenario(kScenario);
  std::uint64_t events = 0;
  for ([[maybe_unused]] auto _ : state) {
    training::RooflineTimer kernels;
    training::FixedRateNetwork network;
    events += training::simulate_training(scenario.training(), kernels, network).pipeline_events;
  }
  state.counters["events/s"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
}
BENCHMARK(pipeline_timeline)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera
