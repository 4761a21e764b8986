#include "models/gpu/kernel_result.hpp"

namespace tessera::gpu {

std::string to_string(Resource resource) {
  switch (resource) {
    case Resource::tensor:
      return "tensor";
    case Resource::fp32:
      return "fp32";
    case Resource::sfu:
      return "sfu";
    case Resource::shared_memory:
      return "shared_memory";
    case Resource::issue:
      return "issue";
    case Resource::l2:
      return "l2";
    case Resource::hbm:
      return "hbm";
    case Resource::latency:
      return "latency";
    case Resource::launch:
      return "launch";
    case Resource::power:
      return "power";
  }
  return "latency";
}

}  // namespace tessera::gpu
