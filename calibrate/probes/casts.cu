/// Casts of activations to FP8, block-scaled FP8, MXFP8 and NVFP4: the quantisation that calls of
/// narrow GEMMs begin with.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/cast_kernels.cuh"
#include "calibrate/probes/cast_reference.hpp"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

__global__ void fill(std::uint64_t seed, std::int64_t count, std::uint16_t* values) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    values[i] = static_cast<std::uint16_t>(cast_input_bits(seed, i));
}

struct CastOperands {
  CastOperands(std::uint64_t seed, std::int64_t count, float first_scale)
      : from(count), to(count), scale(1), block_scales(count / 16 + 4) {
    fill<<<1024, 256>>>(seed, count, from.data());
    check_launch();
    to.poison();
    block_scales.poison();
    scale.upload({first_scale});
  }
  [[nodiscard]] CastArguments arguments() const {
    return {.from = reinterpret_cast<const std::uint32_t*>(from.data()),
            .count = from.size(),
            .to = to.data(),
            .scale = scale.data(),
            .block_scales = block_scales.data()};
  }
  DeviceBuffer<std::uint16_t> from;
  DeviceBuffer<unsigned char> to;
  DeviceBuffer<float> scale;
  DeviceBuffer<unsigned char> block_scales;
};

void enqueue(CastKind kind, const CastArguments& arguments, int ctas, cudaStream_t stream) {
  switch (kind) {
    case CastKind::fp8:
      cast_tensor<<<ctas, kCastThreads, 0, stream>>>(arguments);
      break;
    case CastKind::fp8_amax:
      raise_amax<<<ctas, kCastThreads, 0, stream>>>(arguments);
      break;
    case CastKind::fp8_block:
      cast_groups<CastKind::fp8_block><<<ctas, kCastThreads, 0, stream>>>(arguments);
      break;
    case CastKind::mxfp8:
      cast_groups<CastKind::mxfp8><<<ctas, kCastThreads, 0, stream>>>(arguments);
      break;
    case CastKind::nvfp4:
      cast_groups<CastKind::nvfp4><<<ctas, kCastThreads, 0, stream>>>(arguments);
      break;
  }
  check_launch();
}

/// The value that element `index` of the result stands for.
double result_at(CastKind kind, const CastOperands& operands, std::int64_t index) {
  const std::int64_t group = index / cast_group(kind);
  float scale = kTensorScale;
  if (kind == CastKind::fp8_block)
    check(cudaMemcpy(&scale, operands.block_scales.data() + 4 * group, 4, cudaMemcpyDeviceToHost));
  if (kind == CastKind::mxfp8) scale = decode_e8m0(operands.block_scales.read(group));
  if (kind == CastKind::nvfp4) scale = decode(e4m3_format(), operands.block_scales.read(group));
  if (kind == CastKind::nvfp4)
    return scale * decode(e2m1_format(), operands.to.read(index / 2) >> (4 * (index % 2)) & 0xFU);
  return scale * decode(e4m3_format(), operands.to.read(index));
}

double error_of(CastKind kind, const CastOperands& operands) {
  RelativeError error;
  if (kind == CastKind::fp8_amax) {
    double largest = 0;
    for (std::int64_t i = 0; i < operands.from.size(); ++i)
      largest = std::max(largest, cast_result(kind, 0, i));
    error.add(operands.scale.read(0), largest);
    return error.value();
  }
  for (const Place& place : sampled_places(1, operands.from.size(), 64, 3))
    error.add(result_at(kind, operands, place.column), cast_result(kind, 0, place.column));
  return error.value();
}

std::string label(const CastTraits& traits, const CastShape& shape) {
  return std::string{traits.op} + " " + traits.dtype + " M=" + std::to_string(shape.rows) +
         " K=" + std::to_string(shape.columns);
}

void measure_shape(ProbeSession& session, MeasurementFile& file, const CastTraits& traits,
                   const CastShape& shape) {
  if (session.compute_capability() < traits.capability)
    throw NotSupported("this GPU has no conversion to it");
  const std::int64_t count = shape.rows * shape.columns;
  const int sets = session.sets(3 * count + count / 16);
  std::vector<CastOperands> operands;
  for (int set = 0; set < sets; ++set)
    operands.emplace_back(static_cast<std::uint64_t>(set), count,
                          traits.kind == CastKind::fp8_amax ? 0.0F : kTensorScale);
  check(cudaDeviceSynchronize());
  constexpr std::int64_t kCtasPerSm = 8;  // 2,048 threads
  const std::int64_t needed = (count + 4 * kCastThreads - 1) / (4 * kCastThreads);
  const auto ctas =
      static_cast<int>(std::min(needed, kCtasPerSm * session.device().multiProcessorCount));
  const TimedRun run =
      session.timer().time(session.options().replay, sets, [&](int set, cudaStream_t stream) {
        enqueue(traits.kind, operands[static_cast<std::size_t>(set)].arguments(), ctas, stream);
      });
  session.record(file,
                 {.op = traits.op,
                  .dtype = traits.dtype,
                  .kernel = "probe_cast",
                  .columns = {{"M", number_text(shape.rows)}, {"K", number_text(shape.columns)}},
                  .timing = run,
                  .error = error_of(traits.kind, operands[0]),
                  .allowed_error = 1e-6});
}

void list(const SizeLimits& limits) {
  for (const CastTraits& traits : cast_kinds())
    for (const CastShape& shape : cast_shapes(limits))
      std::printf("%s\n", label(traits, shape).c_str());
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "quantize", .shape = {"M", "K"}});
  for (const CastTraits& traits : cast_kinds())
    for (const CastShape& shape : cast_shapes(session.limits()))
      session.attempt(label(traits, shape), [&] { measure_shape(session, file, traits, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe({"probe_casts", "Casts of activations to narrow types", list, measure}, count,
                   arguments);
}
