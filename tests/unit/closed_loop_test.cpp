#include "calibrate/closed_loop.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <deque>
#include <random>
#include <vector>

namespace tessera::calibrate {
namespace {

using Catch::Approx;

/// The same server, iteration by iteration: prompts go first and alone, in their order; outputs
/// are drawn evenly from 0.8 to 1 of `longest`.
ClosedLoopTimes simulated(const ClosedLoop& loop, double longest) {
  struct Request {
    double arrived = 0, first = 0;
    int made = 0, wanted = 0;
  };
  constexpr int kCompleted = 4000, kWarm = 400;
  std::mt19937_64 generator{7};
  const auto draw = [&] {
    const double part = static_cast<double>(generator() >> 11) / 9007199254740992.0;
    return static_cast<int>(longest * (0.8 + 0.2 * part));
  };
  std::deque<Request> waiting;
  std::vector<Request> decoding;
  for (int i = 0; i < loop.requests; ++i) waiting.push_back({.wanted = draw()});
  double now = 0, ttft = 0, tpot = 0;
  int done = 0, counted = 0;
  const auto decode_all = [&] {
    std::vector<Request> left;
    for (Request& request : decoding) {
      if (++request.made < request.wanted) {
        left.push_back(request);
        continue;
      }
      if (++done > kWarm) {
        ++counted;
        ttft += request.first - request.arrived;
        tpot += (now - request.first) / (request.made - 1);
      }
      waiting.push_back({.arrived = now, .wanted = draw()});
    }
    decoding = left;
  };
  while (done < kCompleted) {
    if (waiting.empty()) {
      now += loop.decode.value();
      decode_all();
      continue;
    }
    Request next = waiting.front();
    waiting.pop_front();
    now += loop.prefill.value();
    if (loop.mixes) decode_all();
    next.first = now;
    next.made = 1;
    decoding.push_back(next);
  }
  return {core::Seconds{ttft / counted}, core::Seconds{tpot / counted}};
}

TEST_CASE("a request alone waits for nobody", "[closed_loop]") {
  const ClosedLoopTimes times = closed_loop(
      {.requests = 1, .output = 101, .decode = core::Seconds{0.01}, .prefill = core::Seconds{0.1}});
  CHECK(times.ttft.value() == Approx(0.1));
  CHECK(times.tpot.value() == Approx(0.01));
}

TEST_CASE("prompts of others lengthen a token by their part of the cycle", "[closed_loop]") {
  // Seven prompts of 0.1 s fall into a request's 1,000 later tokens.
  const ClosedLoopTimes times = closed_loop({.requests = 8,
                                             .output = 1001,
                                             .decode = core::Seconds{0.01},
                                             .prefill = core::Seconds{0.1}});
  CHECK(times.tpot.value() == Approx(0.01 + 0.7 / 1000));
  CHECK(times.ttft.value() == Approx(0.1));
}

TEST_CASE("the closed form is what an explicit simulation gives", "[closed_loop]") {
  for (const bool mixes : {false, true})
    for (const int requests : {2, 4, 8})
      for (const double prefill : {0.02, 0.1, 0.4}) {
        const ClosedLoop loop{.requests = requests,
                              .output = 0.9 * 500,
                              .decode = core::Seconds{0.01},
                              .prefill = core::Seconds{prefill},
                              .mixes = mixes};
        const ClosedLoopTimes form = closed_loop(loop), explicitly = simulated(loop, 500);
        INFO(requests << " requests, prefill " << prefill << (mixes ? ", mixed" : ""));
        CHECK(form.tpot.value() == Approx(explicitly.tpot.value()).epsilon(0.03));
        CHECK(form.ttft.value() == Approx(explicitly.ttft.value()).epsilon(0.03));
      }
}

}  // namespace
}  // namespace tessera::calibrate
