#include "models/serving/disaggregation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>

#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using core::Estimate;
using core::Time;
using std::int64_t;

/// GPU-seconds of a pool for one request.
double work(double tokens, double rate) { return tokens / rate; }

/// Tokens of a request that the decode pool generates.
double decoded(const RequestShape& request) { return request.output_tokens - 1; }

double requests(const PoolRate& pool, int64_t instances, double tokens) {
  const double rate = pool.tokens_per_second_per_gpu.value;
  return static_cast<double>(instances * pool.instance_gpus) / work(tokens, rate);
}

/// a / b of independent errors, which add in quadrature of logarithms.
Estimate ratio(const Estimate& a, const Estimate& b, double scale) {
  const double value = scale * a.value / b.value;
  const double below = std::hypot(std::log(a.value / a.lower), std::log(b.upper / b.value));
  const double above = std::hypot(std::log(a.upper / a.value), std::log(b.value / b.lower));
  return {value, value * std::exp(-below), value * std::exp(above), "1",
          core::worst(a.grade, b.grade)};
}

}  // namespace

Time exposed_transfer(const CacheTransfer& transfer, Time prefill, TransferOverlap overlap) {
  assert(transfer.layers > 0 && "a model has layers");
  if (overlap == TransferOverlap::after_prefill) return transfer.whole;
  const Time computed = prefill / transfer.layers;
  return transfer.layer + std::max(Time{}, transfer.layer - computed) * (transfer.layers - 1);
}

Estimate balancing_ratio(const PoolRate& prefill, const PoolRate& decode,
                         const RequestShape& request) {
  // Prefill GPU-seconds over decode GPU-seconds of a request.
  return ratio(decode.tokens_per_second_per_gpu, prefill.tokens_per_second_per_gpu,
               request.new_prompt_tokens / decoded(request));
}

PoolSizes size_pools(const PoolRate& prefill, const PoolRate& decode, const RequestShape& request,
                     const PoolRoom& room) {
  const auto require = [](int64_t gpus, int64_t least, const std::string& what) {
    if (gpus < least)
      throw core::Refusal(
          core::RefusalKind::does_not_fit,
          fmt::format("{} GPUs hold no {}; expected at least {}", gpus, what, least));
  };
  require(room.prefill, prefill.instance_gpus, "prefill instance");
  require(room.decode, decode.instance_gpus, "decode instance");
  require(room.both, prefill.instance_gpus + decode.instance_gpus,
          fmt::format("prefill instance of {} beside a decode instance of {}",
                      prefill.instance_gpus, decode.instance_gpus));
  const int64_t most =
      std::min(room.prefill, room.both - decode.instance_gpus) / prefill.instance_gpus;
  const double one = requests(decode, 1, decoded(request));
  PoolSizes best;
  for (int64_t p = 1; p <= most; ++p) {
    const double prefilled = requests(prefill, p, request.new_prompt_tokens);
    const int64_t left =
        std::min(room.decode, room.both - p * prefill.instance_gpus) / decode.instance_gpus;
    // No more decode instances than this prefill pool keeps busy.
    const int64_t d =
        std::clamp<int64_t>(static_cast<int64_t>(std::ceil(prefilled / one)), 1, left);
    const double decodable = one * static_cast<double>(d);
    const double rate = std::min(prefilled, decodable);
    if (rate <= best.requests_per_second) continue;
    best = {.prefill_instances = p,
            .decode_instances = d,
            .requests_per_second = rate,
            .prefill_binds = prefilled <= decodable,
            .prefill_busy = rate / prefilled,
            .decode_busy = rate / decodable};
  }
  return best;
}

}  // namespace tessera::serving
