#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/measured_call.hpp"
#include "models/gpu/gpu.hpp"

namespace tessera::app {

/// One kernel's answer, or why there is none.
struct KernelAnswer {
  std::optional<gpu::KernelResult> result;
  std::string refusal;
};

/// Runs every query on `gpu` in up to `jobs` worker processes; answers in the order of the queries.
/// Equal queries are simulated once. `progress` is told how many distinct kernels are done, of how
/// many.
std::vector<KernelAnswer> run_kernels(
    gpu::Gpu& gpu, const std::vector<calibrate::KernelQuery>& queries, int jobs,
    const std::function<void(std::size_t, std::size_t)>& progress = {});

/// A line on stderr with done, rate and time left, redrawn in place; silent when stderr is no
/// terminal.
std::function<void(std::size_t, std::size_t)> progress_on_terminal(const std::string& what);

}  // namespace tessera::app
