#pragma once

#include <functional>
#include <map>
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
/// Queries that the GPU cannot tell apart are simulated once. `progress` is told how many distinct
/// kernels are done, of how many.
std::vector<KernelAnswer> run_kernels(
    gpu::Gpu& gpu, const std::vector<calibrate::KernelQuery>& queries, int jobs,
    const std::function<void(std::size_t, std::size_t)>& progress = {});

/// Runs kernels for fits that follow each other, and remembers the last answers of each fidelity:
/// while only what harnesses add differs, no kernel runs again.
class RepeatedKernels {
 public:
  /// As run_kernels. `gpu` has `fits` and `fidelity`.
  const std::vector<KernelAnswer>& run(gpu::Gpu& gpu, const device::FitSet& fits,
                                       gpu::Fidelity fidelity,
                                       const std::vector<calibrate::KernelQuery>& queries,
                                       int jobs);

 private:
  struct Answered {
    std::string question;
    std::vector<KernelAnswer> answers;
  };
  std::map<gpu::Fidelity, Answered> last_;
};

/// A line on stderr with done, rate and time left, redrawn in place; silent when stderr is no
/// terminal.
std::function<void(std::size_t, std::size_t)> progress_on_terminal(const std::string& what);

}  // namespace tessera::app
