#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "sim/core/event_kernel.hpp"
#include "sim/core/timing_wheel.hpp"

/// What one event costs: in the timing wheel inside a GPU, and in the system's event kernel.
namespace tessera::core {
namespace {

/// Cycles from an event to the one that it causes, as tile instructions spread them: most within a
/// few thousand, every 64th beyond the wheel's ring.
std::int64_t delay(std::uint64_t& state) {
  state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX generator
  const auto random = static_cast<std::int64_t>(state >> 40);
  return random % 64 == 0 ? 20'000 : 1 + random % 2'000;
}

struct Pending {
  Pending* next = nullptr;
};

/// Range: events pending at any time.
void timing_wheel(benchmark::State& state) {
  TimingWheel<Pending> wheel;
  std::vector<Pending> events(static_cast<std::size_t>(state.range(0)));
  std::uint64_t random = 1;
  for (Pending& event : events) wheel.schedule(delay(random), event);
  for ([[maybe_unused]] auto _ : state) {
    Pending& event = wheel.pop();
    wheel.schedule(wheel.now() + delay(random), event);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(timing_wheel)->Arg(100)->Arg(1'000)->Arg(10'000);

/// Range: processes, each of which wakes itself a thousand times.
void event_kernel(benchmark::State& state) {
  constexpr int kWakes = 1'000;
  const auto count = static_cast<std::size_t>(state.range(0));
  std::uint64_t events = 0;
  for ([[maybe_unused]] auto _ : state) {
    Simulation simulation;
    std::vector<Process*> processes(count);
    std::vector<int> left(count, kWakes);
    for (std::size_t i = 0; i < count; ++i)
      processes[i] = &simulation.add_process("p", [&, i] {
        if (left[i]-- > 0)
          processes[i]->wake_at(simulation.now() + Time{static_cast<std::int64_t>(1'000 + i)});
      });
    simulation.run();
    events += simulation.statistics().events;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
}
BENCHMARK(event_kernel)->Arg(10)->Arg(100)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera::core
