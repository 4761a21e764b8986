#pragma once

#include <algorithm>
#include <cmath>

#include "models/gpu/kernel_timer.hpp"
#include "models/streams/network_timer.hpp"
#include "models/training/training.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/parameters.hpp"

/// Stand-ins for the GPU and the fabric: a roofline without overheads, and fixed rates. Both are
/// simple enough to predict by hand.
namespace tessera::training {

using streams::ExpertExchange;
using streams::NetworkCost;

inline core::Time seconds_to_time(double seconds) {
  return core::Time{std::llround(seconds * core::kPicosecondsPerSecond)};
}

/// FLOPs over a rate, bytes over another, the larger; rates scale with the SMs given.
class RooflineTimer : public gpu::KernelTimer {
 public:
  double bf16_rate = 1e15;  ///< FLOP/s with all SMs.
  double fp8_rate = 2e15;
  double hbm_rate = 3e12;  ///< Bytes/s whatever the SMs.
  int sms = 132;
  double spread = 0.1;  ///< The interval is the time times 1 - spread and 1 + spread.

  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                        const std::string&) override {
    const double part = context.sms > 0 ? static_cast<double>(context.sms) / sms : 1;
    const Work work = std::visit(Measure{}, op);
    const double rate = work.fp8 ? fp8_rate : bf16_rate;
    const double flops = workload::flops(op).value();
    const double seconds = std::max(flops / rate / part, work.bytes / hbm_rate);
    gpu::KernelResult result;
    result.time = seconds_to_time(seconds);
    result.lower = seconds_to_time(seconds * (1 - spread));
    result.upper = seconds_to_time(seconds * (1 + spread));
    result.grade = core::Grade::transferred;
    result.flops = flops;
    result.hbm_bytes = work.bytes;
    result.binding =
        flops / rate / part > work.bytes / hbm_rate ? gpu::Resource::tensor : gpu::Resource::hbm;
    result.implementation = "roofline";
    ++asked;
    return result;
  }
  int asked = 0;

 private:
  struct Work {
    double bytes = 0;
    bool fp8 = false;
  };
  struct Measure {
    static double size(core::DataType type) { return core::activation_bits(type) / 8.0; }
    Work operator()(const workload::Gemm& g) const {
      const auto m = static_cast<double>(g.m), n = static_cast<double>(g.n),
                 k = static_cast<double>(g.k);
      return {(m * k + n * k) * size(g.type) + m * n * size(g.output) * (g.accumulate ? 2 : 1),
              g.type == core::DataType::fp8_block};
    }
    Work operator()(const workload::GroupedGemm& g) const {
      double rows = 0;
      for (const auto s : g.sizes) rows += static_cast<double>(s);
      const double n = static_cast<double>(g.n), k = static_cast<double>(g.fixed);
      const double groups = static_cast<double>(g.sizes.size());
      const bool depth = g.varying == workload::GroupedGemm::Varying::depth;
      return {rows * (n + k) * size(g.type) + groups * n * k * (depth ? 8 : size(g.type)),
              g.type == core::DataType::fp8_block};
    }
    Work operator()(const workload::Attention& a) const {
      return {static_cast<double>(a.batch * a.heads * a.q_length * 2 * (a.qk_dim + a.v_dim)) * 2,
              false};
    }
    Work operator()(const workload::AbsorbedAttention& a) const {
      const double queries = static_cast<double>(a.batch * a.heads * a.q_length);
      const double tokens = static_cast<double>(a.batch * a.kv_length);
      const auto width = static_cast<double>(a.latent + a.rotary);
      return {2 * queries * (width + static_cast<double>(a.latent)) +
                  tokens * width * size(a.cache_type),
              false};
    }
    Work operator()(const workload::Stream& s) const {
      const double elements = static_cast<double>(s.rows) * static_cast<double>(s.columns);
      const double width = s.kind == workload::StreamKind::adamw
                               ? 8 + size(s.input) + 4 * size(s.state) + size(s.output)
                               : size(s.input) + size(s.output);
      return {elements * width, false};
    }
    Work operator()(const workload::IndexScores& s) const {
      return {workload::index_pairs(s) * 4 +
                  static_cast<double>(s.batch * (s.q_length * s.heads + s.kv_length) * s.dim),
              false};
    }
    Work operator()(const workload::SelectTopK& s) const {
      return {static_cast<double>(s.rows * (s.columns + s.selected)) * 4, false};
    }
    Work operator()(const workload::Exchange& e) const {
      return {static_cast<double>(e.tokens * e.hidden) * (1 + e.copies) * size(e.type), false};
    }
  };
};

/// Every GPU sends at one rate; nothing has latency.
class FixedRateNetwork : public NetworkTimer {
 public:
  double rate = 50e9;  ///< Bytes/s of one GPU.
  double spread = 0.2;

  NetworkCost exchange(const ExpertExchange& e) override {
    const double row = static_cast<double>(e.hidden) * workload_bytes(e.type);
    return cost(static_cast<double>(e.tokens_per_rank) * row * (e.load->nodes_per_token - 1));
  }
  NetworkCost send(int, int, core::Bytes size) override {
    return cost(static_cast<double>(size.value()));
  }
  NetworkCost ring_shift(const std::vector<int>& gpus, core::Bytes size) override {
    return cost(gpus.size() > 1 ? static_cast<double>(size.value()) : 0.0);
  }
  NetworkCost all_reduce(const std::vector<int>& gpus, core::Bytes size) override {
    const auto n = static_cast<double>(gpus.size());
    return cost(2 * static_cast<double>(size.value()) * (n - 1) / n);
  }
  NetworkCost reduce_scatter(const std::vector<int>& gpus, core::Bytes size) override {
    const auto n = static_cast<double>(gpus.size());
    return cost(static_cast<double>(size.value()) * (n - 1) / n);
  }
  NetworkCost all_gather(const std::vector<int>& gpus, core::Bytes size) override {
    return reduce_scatter(gpus, size);
  }
  NetworkCost all_to_all(const std::vector<int>& gpus, core::Bytes size) override {
    return reduce_scatter(gpus, size);
  }

 private:
  static double workload_bytes(core::DataType type) {
    return core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type);
  }
  NetworkCost cost(double bytes) const {
    const double seconds = bytes / rate;
    NetworkCost result;
    result.time = seconds_to_time(seconds);
    result.lower = seconds_to_time(seconds * (1 - spread));
    result.upper = seconds_to_time(seconds * (1 + spread));
    result.grade = core::Grade::fitted;
    result.rdma_bytes = bytes;
    return result;
  }
};

/// A GPU with nothing but what training reads.
inline device::DeviceSpec plain_device() {
  device::DeviceSpec d{};
  d.name = "plain";
  d.sm.count = 132;
  d.sm.tensor_flops = {{core::DataType::bf16, 4096}, {core::DataType::fp8_block, 8192}};
  d.clock.boost = d.clock.quoted = core::Hertz{1.83e9};
  d.hbm.size = core::Bytes{80LL << 30};
  d.hbm.peak_rate = core::BytesPerSecond{3.35e12};
  d.hbm.reachable = 0.9;
  d.power.idle = core::Watts{100};
  return d;
}

/// DeepSeek-V3's pre-training (arXiv 2412.19437, sections 3.2 and 4.2) on the plain GPU.
inline TrainingJob deepseek_job() {
  TrainingJob job;
  job.name = "deepseek_v3";
  job.architecture = workload::load_architecture("deepseek_v3");
  job.precision = workload::PrecisionRecipe::fp8_block();
  job.recompute = {.rms_norm = true, .mla_up_projection = true, .swiglu = true};
  job.routing.node_limit = 4;
  job.device = plain_device();
  job.gpus = 2048;
  job.gpus_per_node = 8;
  job.sequences = 15360;
  job.sequence_length = 4096;
  job.pipeline = 16;
  job.expert = 64;
  job.tokens = 14.8e12;
  return job;
}

}  // namespace tessera::training
