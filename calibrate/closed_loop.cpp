#include "calibrate/closed_loop.hpp"

#include <algorithm>
#include <cassert>

namespace tessera::calibrate {

ClosedLoopTimes closed_loop(const ClosedLoop& loop) {
  assert(loop.requests >= 1 && loop.output >= 2 && "a loop has requests with later tokens");
  const double others = loop.requests - 1;
  const double prefill = loop.prefill.value(), decode = loop.decode.value();
  const double later = loop.output - 1;
  const double alone = std::max(0.0, later - (loop.mixes ? others : 0));
  const double cycle = loop.requests * prefill + alone * decode;
  return {loop.prefill, core::Seconds{std::max(decode, (cycle - prefill) / later)}};
}

}  // namespace tessera::calibrate
