/// y[m,n] = x[m,k] w[n,k]^T through cuBLASLt in each type that the GPU has; the quantisation of x
/// is not part of it (probe_casts).
#include <cublasLt.h>

#include <cstdio>

#include "calibrate/probes/cublaslt_gemm.cuh"
#include "calibrate/probes/probe_session.cuh"

namespace tessera::calibrate::probes {
namespace {

std::string label(const GemmTypeTraits& traits, const GemmShape& shape) {
  return std::string{"gemm "} + traits.dtype + " M=" + std::to_string(shape.m) +
         " N=" + std::to_string(shape.n) + " K=" + std::to_string(shape.k);
}

void measure_shape(ProbeSession& session, MeasurementFile& file, CublasLt& library,
                   const GemmTypeTraits& traits, const GemmShape& shape) {
  const LtGemm gemm{library, traits, shape};
  std::vector<GemmOperands> operands;
  const int sets = session.sets(gemm_bytes(traits, shape.m, shape.n, shape.k));
  for (int set = 0; set < sets; ++set)
    operands.emplace_back(traits, shape, gemm_seeds(set), session.timer().stream());
  const TimedRun run =
      session.timer().time(session.options().replay, sets, [&](int set, cudaStream_t stream) {
        gemm.enqueue(operands[static_cast<std::size_t>(set)], stream);
      });
  session.record(file, {.op = "gemm",
                        .dtype = traits.dtype,
                        .kernel = "cublaslt",
                        .columns = {{"M", number_text(shape.m)},
                                    {"N", number_text(shape.n)},
                                    {"K", number_text(shape.k)}},
                        .library = library.version(),
                        .timing = run,
                        .error = operands[0].error(traits, shape, gemm_seeds(0)),
                        .allowed_error = traits.allowed_error});
}

void list(const SizeLimits& limits) {
  for (const GemmTypeTraits& traits : gemm_types())
    for (const GemmShape& shape : gemm_shapes(limits))
      if (shape.k % traits.k_multiple == 0) std::printf("%s\n", label(traits, shape).c_str());
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "gemm", .shape = {"M", "N", "K"}});
  CublasLt library;
  for (const GemmTypeTraits& traits : gemm_types())
    for (const GemmShape& shape : gemm_shapes(session.limits()))
      if (shape.k % traits.k_multiple == 0)
        session.attempt(label(traits, shape),
                        [&] { measure_shape(session, file, library, traits, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe({"probe_gemm", "GEMM through cuBLASLt in each type", list, measure}, count,
                   arguments);
}
