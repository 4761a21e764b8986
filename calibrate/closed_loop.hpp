#pragma once

#include "sim/core/units.hpp"

/// A server with a constant number of requests: whenever one ends, the next one comes.
namespace tessera::calibrate {

struct ClosedLoop {
  int requests = 1;         ///< In the server, of one attention replica.
  double output = 2;        ///< Tokens that a request makes, mean; the first one by its prefill.
  core::Seconds decode{};   ///< One token of every request.
  core::Seconds prefill{};  ///< A prompt; nobody decodes meanwhile, but for one token each where
                            ///< `mixes`.
  bool mixes = false;       ///< An iteration that holds a prompt also decodes.
};

struct ClosedLoopTimes {
  core::Seconds ttft{};  ///< From a request's arrival to its first token, mean.
  core::Seconds tpot{};  ///< Of its other tokens, mean.
};

/// Steady state of requests that have drifted apart (lengths vary). A prompt goes first, and a
/// request ends, so that the next one comes, only as tokens are made: nobody comes while a prompt
/// is worked on, and none waits for another's but where several end at once, which is left out.
/// Between two of a request's arrivals lie one prefill of every request and output - 1 iterations
/// that make a token of it, requests - 1 of them within other prefills where these mix. So its
/// cycle takes requests x prefill + (output - 1 [- (requests - 1)]) x decode, and what is not its
/// own prefill is tpot's. Requires: requests >= 1, output >= 2.
[[nodiscard]] ClosedLoopTimes closed_loop(const ClosedLoop& loop);

}  // namespace tessera::calibrate
