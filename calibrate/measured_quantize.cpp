#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using workload::Stream;
using workload::StreamKind;

/// The second launch of an amax pass: from the maximum of each CTA to one scale.
KernelQuery scale_of_maxima(const device::DeviceSpec& device) {
  gpu::ExecutionContext context;
  context.warm_activations = true;
  return {Stream{.kind = StreamKind::compute_scale, .rows = 1, .columns = device.sm.count},
          context,
          {}};
}

MeasuredCall quantize_call(const MeasuredRow& row, const device::DeviceSpec& device,
                           const MeasuredAs& as) {
  Stream stream{.rows = row.size("M"), .columns = row.size("K")};
  stream.kind =
      row.text("op") == "compute_scale" ? StreamKind::compute_scale : StreamKind::quantize;
  if (stream.kind == StreamKind::quantize) stream.output = row.type("dtype");
  MeasuredCall call;
  const double touched = row.operand_sets() * bytes_of(stream.rows, stream.columns, 24);
  call.kernels.push_back({stream, replayed(touched, device), as.implementation});
  if (stream.kind == StreamKind::compute_scale && !row.probed())
    call.kernels.push_back(scale_of_maxima(device));
  return call;
}

}  // namespace tessera::calibrate
