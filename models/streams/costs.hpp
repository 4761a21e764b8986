#pragma once

#include <optional>
#include <utility>

#include "models/gpu/kernel_timer.hpp"
#include "models/streams/network_timer.hpp"
#include "models/workload/operators.hpp"

/// What runs on the streams of one GPU, and how long each piece takes when nothing is beside it.
namespace tessera::streams {

/// What an uncertain time belongs to: errors inside a family go together, between families they are
/// independent.
enum class Family {
  gemm,
  grouped_gemm,
  attention,
  stream,
  exchange,
  network,
  parts  ///< How far GPUs of one kind differ: of every time that the slowest one sets.
};
inline constexpr Family kFamilies[] = {Family::gemm,   Family::grouped_gemm, Family::attention,
                                       Family::stream, Family::exchange,     Family::network,
                                       Family::parts};

[[nodiscard]] Family family_of(const workload::Operator& op);

/// Which end of its interval one family is moved to; the others stay at their best value.
struct Variation {
  enum class Side { nominal, lower, upper };
  Side side = Side::nominal;
  Family family = Family::gemm;
};

/// A time with its 90 % interval.
struct TimeRange {
  core::Time value{};
  core::Time lower{};
  core::Time upper{};
  Family family = Family::stream;
  /// Where the slowest GPU sets the time: it where GPUs differ least and most.
  std::optional<std::pair<core::Time, core::Time>> parts{};

  [[nodiscard]] core::Time at(const Variation& variation) const;
  /// Makes all of it `factor` times as long.
  void scale(double factor);
};

/// Tiles that are dealt out before a launch to CTAs that fill an SM each: Hopper's persistent
/// GEMMs. CTAs that find their SM taken begin when one is free, with all their tiles before them
/// ("the matmuls take 2x as long", pytorch issue 143988; CUTLASS issue 2471).
struct DealtTiles {
  int ctas = 0;
  double alone = 1;  ///< Time of a CTA's tiles when few others run, at boost clock, over its time
                     ///< beside all of them.
};

/// One kernel on a given number of SMs.
struct KernelCost {
  workload::Operator op;
  int sms = 0;  ///< As asked; 0: all.
  gpu::KernelResult result;
  TimeRange time;
  std::optional<DealtTiles> dealt{};  ///< None: SMs take tiles as they come free.
  bool beside = false;                ///< `time` is what it adds to kernels that it runs beside.
};

/// One dispatch or combine: SMs and wire work at the same time, the slower one decides. The kernel
/// also tells what the exchange asks of HBM.
struct ExchangeCost {
  gpu::KernelResult kernel;  ///< On the communication SMs.
  NetworkCost network;
  TimeRange time;
  double hbm_bytes = 0;
};

/// An exchange whose SMs copy while the wire carries; `kernel` is the copying alone.
[[nodiscard]] ExchangeCost exchange_cost(const NetworkCost& network, gpu::KernelResult kernel);

}  // namespace tessera::streams
