#include "models/workload/part_work.hpp"

#include <numeric>

namespace tessera::workload {
namespace {

double sum(const std::vector<SavedTensor>& tensors) {
  return std::accumulate(tensors.begin(), tensors.end(), 0.0,
                         [](double s, const SavedTensor& t) { return s + t.bytes; });
}

}  // namespace

std::string to_string(Transfer::Kind kind) {
  switch (kind) {
    case Transfer::Kind::all_gather:
      return "all_gather";
    case Transfer::Kind::reduce_scatter:
      return "reduce_scatter";
    case Transfer::Kind::all_reduce:
      return "all_reduce";
    case Transfer::Kind::all_to_all:
      return "all_to_all";
    case Transfer::Kind::send:
      return "send";
  }
  return "all_gather";
}

std::string to_string(Transfer::Group group) {
  switch (group) {
    case Transfer::Group::tensor:
      return "tensor";
    case Transfer::Group::context:
      return "context";
    case Transfer::Group::expert_tensor:
      return "expert_tensor";
    case Transfer::Group::expert:
      return "expert";
  }
  return "tensor";
}

double PartWork::saved_bytes() const { return sum(saved); }
double PartWork::recomputed_bytes() const { return sum(recomputed); }
double PartWork::deferred_bytes() const { return sum(deferred); }

std::vector<const Steps*> PartWork::lists() const {
  return {&before_dispatch,  &experts,         &after_combine,           &start_gradient,
          &experts_gradient, &finish_gradient, &experts_weight_gradient, &finish_weight_gradient};
}

}  // namespace tessera::workload
