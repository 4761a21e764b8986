#pragma once

#include "models/workload/architecture.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/result.hpp"

namespace tessera::app {

/// What routing sends to ranks in every layer that `spec` draws, with experts in their order and,
/// where `spec` has a balancer, as it places them. `load` is what route() made of `spec`. Nothing
/// for uniform routing without a balancer.
void add_rank_loads(core::Result& result, const workload::Architecture& architecture,
                    const workload::RoutingSpec& spec, const workload::RoutedLoad& load);

}  // namespace tessera::app
