#include "sim/app/inference_run.hpp"

#include <fmt/format.h>

#include <utility>

#include "reports/cost.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/app/result_parts.hpp"
#include "sim/app/surveyed_run.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

void add_bill(core::Result& result, const Scenario& scenario,
              const serving::InferenceResult& served) {
  // Power follows from the same kernels as time: what takes longer draws as much for longer.
  const core::Estimate& time = served.iteration;
  const double watts = served.joules_per_gpu / time.value;
  reports::TokenFigures tokens;
  tokens.tokens_per_second_per_gpu = *result.find("tokens_per_second_per_gpu");
  tokens.watts_per_gpu = {watts, watts, watts, "W",
                          core::worst(time.grade, core::Grade::transferred)};
  reports::add_token_cost(result, tokens, scenario.cost, scenario.cluster);
}

}  // namespace

core::Result run_inference(const Scenario& scenario, KernelSource& kernels,
                           const RunOptions& options, RunStatistics& statistics) {
  const serving::InferenceJob& job = scenario.inference();
  const core::Result head = result_head(scenario, kernels.fits());
  try {
    FabricNetworkTimer network{scenario.cluster, job.architecture.moe, job.routing,
                               options.unfold ? fabric::Folding::none : fabric::Folding::automatic};
    serving::InferenceResult served;
    const auto warning =
        run_with_kernels(scenario, kernels, options, statistics, [&](gpu::KernelTimer& timer) {
          served = serving::simulate_inference(job, timer, network);
        });
    core::Result result = std::move(served.result);
    if (warning) result.warnings.push_back(*warning);
    add_head(result, head);
    add_run_notes(result, scenario, kernels, network);
    if (!served.load.rows.empty()) add_routing(result, job.architecture, job.routing, served.load);
    add_bill(result, scenario, served);
    add_published(result, scenario);
    return result;
  } catch (const core::Refusal& refusal) {
    core::Result refused = head;
    refused.refused = fmt::format("{}: {}", core::to_string(refusal.kind()), refusal.what());
    if (refusal.kind() == core::RefusalKind::does_not_fit)
      refused.memory = serving::memory_rows(job);
    return refused;
  }
}

}  // namespace tessera::app
