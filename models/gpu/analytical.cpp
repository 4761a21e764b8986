#include "models/gpu/analytical.hpp"

#include <algorithm>
#include <cmath>

namespace tessera::gpu {

using kernels::LaunchPlan;
using kernels::Pipe;

namespace {

/// HBM traffic of the whole launch.
struct HbmTraffic {
  double read = 0;
  double write = 0;
  /// SM cycles that HBM takes for it.
  [[nodiscard]] double cycles(const Machine& machine) const {
    return read / machine.hbm_bytes + write / machine.hbm_write_bytes;
  }
};

HbmTraffic hbm_traffic(const Machine& machine, const LaunchPlan& plan) {
  const double lost =
      plan.reuse_distance <= 0
          ? 0.0
          : std::clamp((plan.reuse_distance - machine.l2_capacity) / plan.reuse_distance * 2, 0.0,
                       1.0);
  const double warm = std::min(plan.warm_bytes, machine.l2_capacity);
  // What was written last stays. Over outputs that an earlier replay left there all is written back
  // once they outgrow their place, over half of which the change is spread.
  const double beyond = std::max(0.0, plan.write_bytes - machine.l2_dirty);
  const double written =
      plan.overwrites ? plan.write_bytes * std::min(1.0, 2 * beyond / machine.l2_dirty) : beyond;
  return {.read = plan.read_bytes - warm + plan.reread_bytes * lost, .write = written};
}

double sum_of_pipes(const kernels::TileWork& work) {
  return work.fp32 + work.sfu + work.conversion + work.shared_memory;
}

double longest_pipe(const kernels::TileWork& work) {
  return std::max({work.tensor, work.fp32, work.sfu, work.conversion, work.shared_memory});
}

/// Bytes per step that the slices of L2 answer when `active` CTAs run: of boxes that several of
/// them read at once, the merged part is read once.
double sliced_bytes(const Machine& machine, const LaunchPlan& plan, double active) {
  const double all = active * plan.step.load_bytes;
  if (plan.shared_rows <= 0) return all;
  const auto parts = static_cast<double>(plan.shared_parts);
  const double tiles = std::max(1.0, active / plan.cluster / parts);
  const double patch =
      plan.shared_tiles > 0 ? std::min(tiles, static_cast<double>(plan.shared_tiles)) : tiles;
  const double rows = std::min(patch, static_cast<double>(plan.shared_rows));
  const double distinct =
      parts * tiles / patch *
      (rows * plan.shared_row_bytes + std::ceil(patch / rows) * plan.shared_column_bytes);
  return all - machine.l2_merged * std::max(0.0, all - distinct);
}

/// SM cycles per step of one CTA, when `active` CTAs run on the machine and `resident` on each SM.
double step_cycles(const Machine& machine, const LaunchPlan& plan, double active, double resident,
                   const HbmTraffic& hbm_step, double tensor_cycles) {
  kernels::TileWork work = plan.step;
  work.tensor = tensor_cycles;
  // The SM with most CTAs ends last.
  const double pipes = std::ceil(resident - 1e-9) * longest_pipe(work);
  const double waited = work.tensor * (1 - plan.unwaited_tensor / std::max(1.0, plan.step.tensor));
  const double neighbours = plan.takes_turns ? (resident - 1) * work.tensor : 0.0;
  const double chain = plan.serial_step
                           ? (waited + sum_of_pipes(work)) / plan.lanes + work.waiting + neighbours
                           : 0.0;
  const double issue = resident * work.loads * plan.issue_cycles;
  // Stores of the tile before leave by a port of their own and share L2 with the loads.
  const double stored = plan.overlapped_epilogue ? plan.store_bytes / plan.steps : 0.0;
  const double arriving = work.load_bytes + work.multicast_bytes;
  const double port = resident * std::max(arriving, stored) / machine.sm_port_bytes;
  const double l2 = (sliced_bytes(machine, plan, active) + active * (work.filled_bytes + stored)) /
                    machine.l2_bytes;
  const double hbm = active * hbm_step.cycles(machine);
  const double miss = hbm_step.read > 0.25 * work.load_bytes ? machine.hbm_latency : 0.0;
  // A stage is held from its request until its step is done.
  const double latency =
      (machine.l2_latency + miss + arriving / machine.sm_port_bytes + chain) / plan.stages +
      plan.switch_cycles / plan.steps;
  const double turning =
      plan.turned_cycles > 0 ? machine.l2_latency + miss + plan.turned_cycles : 0.0;
  return std::max({pipes, chain, issue, port, l2, hbm, latency, turning, plan.least_step, 1e-3});
}

}  // namespace

LaunchTotals estimate_launch(const Machine& machine, const LaunchPlan& plan) {
  const double cluster = plan.cluster;
  const double slots = cluster_slots(machine.gpc_sizes, plan.cluster, plan.ctas_per_sm);
  const auto tiles = static_cast<double>(plan.tiles);
  const double tensor_step = plan.step.tensor * machine.tensor_scale;
  const HbmTraffic traffic = hbm_traffic(machine, plan);
  const double steps_total = std::max(1.0, tiles * cluster * plan.steps);
  const HbmTraffic hbm_step{traffic.read / steps_total, traffic.write / steps_total};

  // Full waves, then what is left with fewer neighbours.
  // Tiles of different depth make no waves: whoever is done takes the next.
  const bool uneven = plan.trailing_steps > 0 && tiles > slots;
  const double full_waves = uneven ? tiles / slots : std::floor(tiles / slots);
  const double rest = uneven ? 0 : tiles - full_waves * slots;
  const auto tile_cycles = [&](double active_clusters) {
    const double active = active_clusters * cluster;
    const double resident = std::max(
        1.0, std::min(static_cast<double>(plan.ctas_per_sm), active / std::max(1, machine.sms)));
    const double step = step_cycles(machine, plan, active, resident, hbm_step, tensor_step);
    const double epilogue_pipes = sum_of_pipes(plan.epilogue) + plan.epilogue.tensor;
    // A wave stores at once; what L2 does not hold back waits for HBM.
    const double spilt = traffic.write / std::max(1.0, plan.write_bytes);
    const double store =
        std::max({plan.store_bytes / machine.sm_port_bytes,
                  active * (plan.store_bytes + plan.epilogue.filled_bytes) / machine.l2_bytes,
                  active * plan.store_bytes * spilt / machine.hbm_write_bytes});
    const double tail = plan.epilogue_cycles + std::max(epilogue_pipes, store) +
                        std::max(plan.epilogue.load_bytes / machine.sm_port_bytes,
                                 active * plan.epilogue.load_bytes * spilt / machine.hbm_bytes);
    // All at once, the longest tile decides; in many waves others fill the SMs beside it.
    const double deepest = full_waves > 0 ? plan.steps : std::max(plan.steps, plan.longest_steps);
    const double main_loop = deepest * step;
    double cycles = main_loop;
    if (plan.overlapped_epilogue) {
      cycles = std::max(main_loop, tail);
    } else {
      // Another CTA of the SM fills the pipes meanwhile.
      cycles += tail / resident;
    }
    return std::pair{cycles, tail};
  };
  // A CTA that follows another one in its slot; the others of the SM run on meanwhile.
  const double follow =
      plan.persistent ? 0.0
                      : (machine.cta_launch_cycles + plan.prologue_cycles + machine.l2_latency) /
                            plan.ctas_per_sm;
  double cycles = plan.prologue_cycles + plan.walk_cycles + machine.l2_latency +
                  (traffic.read > 0 ? machine.hbm_latency : 0.0);
  double tail = 0;
  if (full_waves > 0) {
    const auto [wave, wave_tail] = tile_cycles(slots);
    cycles += full_waves * wave + (full_waves - 1) * follow;
    if (uneven) cycles += plan.trailing_steps / plan.steps * wave;
    tail = wave_tail;
  }
  if (rest > 0) {
    const auto [wave, wave_tail] = tile_cycles(rest);
    cycles += wave + (full_waves > 0 ? follow : 0.0);
    tail = wave_tail;
  }
  if (!uneven && full_waves > 0 && plan.longest_steps > plan.steps)
    cycles += (plan.longest_steps - plan.steps) * std::max(tensor_step, 1.0) / 2;
  if (plan.overlapped_epilogue) cycles += tail;
  cycles += machine.l2_latency / 2;
  cycles = std::max(cycles, traffic.cycles(machine));

  LaunchTotals totals;
  totals.cycles = cycles;
  totals.tensor_cycles = steps_total * tensor_step;
  const double ctas = tiles * cluster;
  const auto pipe = [&](Pipe which, double step, double epilogue) {
    totals.pipe_cycles[static_cast<std::size_t>(which)] = steps_total * step + ctas * epilogue;
  };
  pipe(Pipe::fp32, plan.step.fp32, plan.epilogue.fp32);
  pipe(Pipe::sfu, plan.step.sfu, plan.epilogue.sfu);
  pipe(Pipe::conversion, plan.step.conversion, plan.epilogue.conversion);
  pipe(Pipe::shared_memory, plan.step.shared_memory, plan.epilogue.shared_memory);
  const double active = std::min(tiles, slots) * cluster;
  totals.l2_read_bytes =
      steps_total * sliced_bytes(machine, plan, active) / active + ctas * plan.epilogue.load_bytes;
  totals.l2_write_bytes = ctas * plan.store_bytes;
  totals.hbm_read_bytes = traffic.read;
  totals.hbm_write_bytes = traffic.write;
  totals.l2_hit_bytes = std::max(0.0, totals.l2_read_bytes - traffic.read);
  totals.shared_memory_bytes = 2 * totals.l2_read_bytes + totals.l2_write_bytes;
  totals.loads = steps_total * plan.step.loads;
  totals.ctas = ctas;
  return totals;
}

}  // namespace tessera::gpu
