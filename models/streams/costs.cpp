#include "models/streams/costs.hpp"

namespace tessera::streams {

Family family_of(const workload::Operator& op) {
  struct Visitor {
    Family operator()(const workload::Gemm&) const { return Family::gemm; }
    Family operator()(const workload::GroupedGemm&) const { return Family::grouped_gemm; }
    Family operator()(const workload::Attention&) const { return Family::attention; }
    Family operator()(const workload::AbsorbedAttention&) const { return Family::attention; }
    Family operator()(const workload::Stream&) const { return Family::stream; }
    Family operator()(const workload::Exchange&) const { return Family::exchange; }
    Family operator()(const workload::IndexScores&) const { return Family::attention; }
    Family operator()(const workload::SelectTopK&) const { return Family::stream; }
  };
  return std::visit(Visitor{}, op);
}

core::Time TimeRange::at(const Variation& variation) const {
  if (variation.side == Variation::Side::nominal || variation.family != family) return value;
  return variation.side == Variation::Side::lower ? lower : upper;
}

}  // namespace tessera::streams
