#include "sim/app/gpu_timer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

#include "sim/app/kernel_cache.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {
namespace {

/// Kernels that one piece of work of a worker process simulates: few enough to balance, many enough
/// to hide the pipe.
constexpr std::size_t kBatch = 64;

std::string identity(const calibrate::KernelQuery& query) {
  const gpu::ExecutionContext& c = query.context;
  return fmt::format("{}|{}|{} {} {} {} {} {} {} {} {} {} {}", workload::describe(query.op),
                     query.implementation, c.sms, c.warm_activations, c.warm_weights,
                     c.activation_reuse_bytes, c.weight_reuse_bytes, c.launches_before,
                     c.operand_activity, c.hbm_share, c.l2_share, c.enqueue_us, c.exact);
}

/// Answers as length-prefixed texts: "R" and an encoded result, or "N" and the reason of a refusal.
std::string pack(const std::vector<std::string>& answers) {
  std::string bytes;
  for (const std::string& answer : answers) bytes += fmt::format("{}:{}", answer.size(), answer);
  return bytes;
}

std::vector<std::string> unpack(const std::string& bytes) {
  std::vector<std::string> answers;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t colon = bytes.find(':', at);
    const std::size_t size = std::stoul(bytes.substr(at, colon - at));
    answers.push_back(bytes.substr(colon + 1, size));
    at = colon + 1 + size;
  }
  return answers;
}

std::string simulate(gpu::Gpu& gpu, const calibrate::KernelQuery& query) {
  try {
    return "R" + encode(gpu.run(query.op, query.context, query.implementation));
  } catch (const core::Refusal& refusal) {
    return std::string("N") + refusal.what();
  }
}

}  // namespace

std::vector<KernelAnswer> run_kernels(
    gpu::Gpu& gpu, const std::vector<calibrate::KernelQuery>& queries, int jobs,
    const std::function<void(std::size_t, std::size_t)>& progress) {
  std::map<std::string, std::size_t> index;
  std::vector<std::size_t> distinct;  // queries to answer
  std::vector<std::size_t> which;     // for each query its place in `distinct`
  std::map<std::string, std::size_t> simulations;
  std::vector<std::vector<std::size_t>> alike;  // places in `distinct` that share a simulation
  for (std::size_t i = 0; i < queries.size(); ++i) {
    calibrate::KernelQuery seen = queries[i];
    seen.context = gpu.as_seen(seen.context);
    const auto [found, inserted] = index.emplace(identity(seen), distinct.size());
    which.push_back(found->second);
    if (!inserted) continue;
    seen.context = gpu.as_simulated(seen.context);
    const auto [group, is_first] = simulations.emplace(identity(seen), alike.size());
    if (is_first) alike.emplace_back();
    alike[group->second].push_back(distinct.size());
    distinct.push_back(i);
  }
  // Interleaved, so that each piece of work has large and small kernels.
  const std::size_t pieces = (alike.size() + kBatch - 1) / kBatch;
  const auto for_each_of = [&](std::size_t piece, const auto& answer) {
    for (std::size_t group = piece; group < alike.size(); group += pieces)
      for (const std::size_t at : alike[group]) answer(at);
  };
  std::size_t done = 0;
  const auto outcomes = work_in_processes(
      pieces, jobs,
      [&](std::size_t piece) {
        std::vector<std::string> answers;
        for_each_of(piece, [&](std::size_t at) {
          answers.push_back(simulate(gpu, queries[distinct[at]]));
        });
        return pack(answers);
      },
      [&](std::size_t piece, const WorkOutcome&) {
        for_each_of(piece, [&](std::size_t) { ++done; });
        if (progress) progress(done, distinct.size());
      });
  std::vector<KernelAnswer> unique(distinct.size());
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const std::vector<std::string> answers = unpack(outcomes[piece].get());
    std::size_t next = 0;
    for_each_of(piece, [&](std::size_t at) {
      const std::string& answer = answers[next++];
      if (answer.front() == 'R') {
        unique[at].result = decode(std::string_view{answer}.substr(1));
      } else {
        unique[at].refusal = answer.substr(1);
      }
    });
  }
  std::vector<KernelAnswer> result;
  result.reserve(queries.size());
  for (const std::size_t at : which) result.push_back(unique[at]);
  return result;
}

const std::vector<KernelAnswer>& RepeatedKernels::run(
    gpu::Gpu& gpu, const device::FitSet& fits, gpu::Fidelity fidelity,
    const std::vector<calibrate::KernelQuery>& queries, int jobs) {
  std::string question;
  for (const auto& [name, parameter] : fits.parameters)
    if (!name.starts_with("harness.")) question += fmt::format("{}={}\n", name, parameter.value);
  for (const calibrate::KernelQuery& query : queries) question += identity(query) + "\n";
  Answered& last = last_[fidelity];
  if (last.question != question) {
    last.answers = run_kernels(gpu, queries, jobs);
    last.question = std::move(question);
  }
  return last.answers;
}

std::function<void(std::size_t, std::size_t)> progress_on_terminal(const std::string& what) {
  if (isatty(STDERR_FILENO) == 0) return {};
  const auto start = std::chrono::steady_clock::now();
  return [what, start](std::size_t done, std::size_t all) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double rate = static_cast<double>(done) / std::max(seconds, 1e-3);
    fmt::print(stderr, "\r{}: {} of {}, {:.0f}/s, {:.0f} s left   {}", what, done, all, rate,
               static_cast<double>(all - done) / std::max(rate, 1e-3), done == all ? "\n" : "");
  };
}

}  // namespace tessera::app
