#include "models/gpu/activity_recorder.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tessera::gpu {

ActivityRecorder::ActivityRecorder(std::size_t sms) : tensor_(sms), l2_(1), hbm_(1) {
  for (auto& series : pipes_) series.resize(sms);
  for (auto& series : waits_) series.resize(sms);
}

/// Doubles the width of all bins until `end` lies in one.
void ActivityRecorder::widen(double end) {
  const auto halve = [](std::vector<Series>& all) {
    for (Series& series : all) {
      for (std::size_t bin = 0; bin < kBins / 2; ++bin)
        series[bin] = series[2 * bin] + series[2 * bin + 1];
      std::fill(series.begin() + kBins / 2, series.end(), 0.0F);
    }
  };
  while (end > width_ * kBins) {
    width_ *= 2;
    halve(tensor_);
    for (auto& series : pipes_) halve(series);
    for (auto& series : waits_) halve(series);
    halve(l2_);
    halve(hbm_);
  }
}

void ActivityRecorder::add(Series& series, double start, double end) {
  widen(end);
  for (auto bin = static_cast<std::size_t>(start / width_); bin < kBins; ++bin) {
    const double from = std::max(start, static_cast<double>(bin) * width_);
    const double until = std::min(end, static_cast<double>(bin + 1) * width_);
    if (until <= from) return;
    series[bin] += static_cast<float>(until - from);
  }
}

void ActivityRecorder::tensor(std::size_t sm, double start, double end) {
  add(tensor_[sm], start, end);
}
void ActivityRecorder::pipe(std::size_t sm, kernels::Pipe which, double start, double end) {
  add(pipes_[static_cast<std::size_t>(which)][sm], start, end);
}
void ActivityRecorder::waited(std::size_t sm, Resource cause, double start, double end) {
  add(waits_[static_cast<std::size_t>(cause)][sm], start, end);
}
void ActivityRecorder::l2(double start, double end) { add(l2_[0], start, end); }
void ActivityRecorder::hbm(double start, double end) { add(hbm_[0], start, end); }

core::ActivityTrack ActivityRecorder::track(std::string name, std::string unit,
                                            const std::vector<Series>& series,
                                            double cycles) const {
  core::ActivityTrack made{.name = std::move(name), .unit = std::move(unit)};
  const auto bins =
      std::min<std::size_t>(kBins, static_cast<std::size_t>(std::ceil(cycles / width_)));
  for (const Series& part : series) {
    std::vector<float>& shares = made.parts.emplace_back(bins);
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const auto covered = std::min(width_, cycles - static_cast<double>(bin) * width_);
      shares[bin] = part[bin] / static_cast<float>(covered);
    }
  }
  return made;
}

core::Activity ActivityRecorder::activity(double cycles) const {
  core::Activity all{.cycles = cycles, .bin_cycles = width_};
  const auto add_track = [&](std::string name, std::string unit, const std::vector<Series>& from) {
    core::ActivityTrack made = track(std::move(name), std::move(unit), from, cycles);
    const auto idle = [](const std::vector<float>& part) {
      return std::all_of(part.begin(), part.end(), [](float share) { return share == 0; });
    };
    if (!std::all_of(made.parts.begin(), made.parts.end(), idle))
      all.tracks.push_back(std::move(made));
  };
  add_track("tensor pipe", "of its cycles", tensor_);
  const std::pair<kernels::Pipe, const char*> pipes[] = {
      {kernels::Pipe::fp32, "FP32 pipe"},
      {kernels::Pipe::sfu, "SFU pipe"},
      {kernels::Pipe::conversion, "conversion pipe"},
      {kernels::Pipe::shared_memory, "shared memory"}};
  for (const auto& [which, name] : pipes)
    add_track(name, "of its cycles", pipes_[static_cast<std::size_t>(which)]);
  add_track("L2", "of what it can move", l2_);
  add_track("HBM", "of what it can move", hbm_);
  for (std::size_t cause = 0; cause < kResources; ++cause)
    add_track("waiting for " + to_string(static_cast<Resource>(cause)), "warp roles per SM",
              waits_[cause]);
  return all;
}

}  // namespace tessera::gpu
