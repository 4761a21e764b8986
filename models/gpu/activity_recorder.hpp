#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "models/gpu/kernel_result.hpp"
#include "models/kernels/tile_program.hpp"
#include "sim/core/activity.hpp"

namespace tessera::gpu {

/// Follows one launch: how busy every pipe of every SM is, what its warp roles wait for, and what
/// L2 and HBM move, in some hundred bins of equal width that double as time goes on. The engine
/// calls it with intervals [start, end) in SM cycles; a resource that serves several in one cycle
/// has fractions of it.
class ActivityRecorder {
 public:
  explicit ActivityRecorder(std::size_t sms);

  void tensor(std::size_t sm, double start, double end);
  void pipe(std::size_t sm, kernels::Pipe which, double start, double end);
  /// A warp role of the SM waited, and `cause` is what ended the wait.
  void waited(std::size_t sm, Resource cause, double start, double end);
  void l2(double start, double end);
  void hbm(double start, double end);

  /// What was seen up to `cycles`; tracks on which nothing happened are left out.
  [[nodiscard]] core::Activity activity(double cycles) const;

 private:
  static constexpr std::size_t kBins = 256;
  static constexpr std::size_t kResources = static_cast<std::size_t>(Resource::power) + 1;
  using Series = std::array<float, kBins>;  ///< Cycles in each bin.

  void add(Series& series, double start, double end);
  void widen(double end);
  [[nodiscard]] core::ActivityTrack track(std::string name, std::string unit,
                                          const std::vector<Series>& series, double cycles) const;

  double width_ = 1;  ///< Cycles of a bin.
  std::vector<Series> tensor_;
  std::array<std::vector<Series>, kernels::kPipes> pipes_;
  std::array<std::vector<Series>, kResources> waits_;
  std::vector<Series> l2_, hbm_;
};

}  // namespace tessera::gpu
