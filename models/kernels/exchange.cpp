#include "models/kernels/exchange.hpp"

#include "models/kernels/row_kernel.hpp"

namespace tessera::kernels {

using workload::Exchange;

std::unique_ptr<TileKernel> make_exchange(const Exchange& exchange,
                                          const device::DeviceSpec& device,
                                          const Implementation& implementation,
                                          const Residency& residency,
                                          const std::vector<int>& gpc_sizes) {
  const double element =
      core::activation_bits(exchange.type) / 8.0 + core::activation_scale_bytes(exchange.type);
  RowWork work;
  work.units = static_cast<double>(exchange.tokens);
  work.unit_elements = static_cast<double>(exchange.hidden);
  // The part of the copies that leaves at once; the rest waits in send buffers for the NIC.
  const double remote = parameter(implementation, "remote_share") * exchange.copies;
  if (exchange.direction == Exchange::Direction::dispatch) {
    work.name = "dispatch";
    work.facts = {.read_bytes = element, .write_bytes = (exchange.copies - remote) * element};
    work.remote_write_bytes = remote * element;
  } else {
    // Partial sums arrived in receive buffers; each is unpacked and added.
    work.name = "combine";
    work.facts = {.read_bytes = exchange.copies * element,
                  .write_bytes = element,
                  .fp32 = 2 * exchange.copies,
                  .conversions = 1};
  }
  work.facts.row_steps = 1;  // the token's slot at each destination
  work.facts.whole_rows = true;
  return make_row_kernel(work, device, implementation, residency, gpc_sizes);
}

}  // namespace tessera::kernels
