/// The products of the experts of one GPU: groups of rows that each meet a weight of their own, in
/// BF16 through cuBLAS's grouped GEMM.
#include <cublas_v2.h>

#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/gemm_reference.hpp"
#include "calibrate/probes/grouped_sizes.hpp"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

void check_cublas(cublasStatus_t status,
                  std::source_location where = std::source_location::current()) {
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) throw NotSupported("cuBLAS has no kernel for it");
  if (status != CUBLAS_STATUS_SUCCESS)
    throw CudaFailure(std::string{where.file_name()} + ":" + std::to_string(where.line()) + ": " +
                      cublasGetStatusString(status));
}

class Cublas {
 public:
  Cublas() { check_cublas(cublasCreate(&handle_)); }
  ~Cublas() { cublasDestroy(handle_); }
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;
  [[nodiscard]] cublasHandle_t handle() const { return handle_; }
  [[nodiscard]] std::string version() const {
    int number = 0;
    check_cublas(cublasGetVersion(handle_, &number));  // major 10000 + minor 100 + patch
    return "cublas " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
           "." + std::to_string(number % 100);
  }

 private:
  cublasHandle_t handle_ = nullptr;
};

__global__ void fill(std::uint64_t seed, std::int64_t columns, std::int64_t count,
                     std::uint16_t* values) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    values[i] = static_cast<std::uint16_t>(
        element_bits_at(GemmType::bf16, seed, i / columns, i % columns, columns));
}

DeviceBuffer<std::uint16_t> filled(std::uint64_t seed, std::int64_t rows, std::int64_t columns) {
  DeviceBuffer<std::uint16_t> values{rows * columns};
  fill<<<2048, 256>>>(seed, columns, rows * columns, values.data());
  check_launch();
  return values;
}

/// x [all rows, k], w [experts, n, k], y [all rows, n], and where each expert's part begins.
struct Operands {
  Operands(const GroupedShape& shape, const GemmSeeds& seeds)
      : x(filled(seeds.activation, shape.rows, shape.k)),
        w(filled(seeds.weight, shape.experts * shape.n, shape.k)),
        y(shape.rows * shape.n) {
    y.poison();
    std::vector<const void*> x_parts, w_parts;
    std::vector<void*> y_parts;
    std::int64_t row = 0;
    const std::vector<std::int64_t> rows = balanced_rows(shape);
    for (std::int64_t expert = 0; expert < shape.experts; ++expert) {
      const std::int64_t own = rows[static_cast<std::size_t>(expert)];
      if (own == 0) continue;
      x_parts.push_back(x.data() + row * shape.k);
      w_parts.push_back(w.data() + expert * shape.n * shape.k);
      y_parts.push_back(y.data() + row * shape.n);
      row += own;
    }
    const auto groups = static_cast<std::int64_t>(x_parts.size());
    x_at = DeviceBuffer<const void*>{groups};
    w_at = DeviceBuffer<const void*>{groups};
    y_at = DeviceBuffer<void*>{groups};
    x_at.upload(x_parts);
    w_at.upload(w_parts);
    y_at.upload(y_parts);
  }
  DeviceBuffer<std::uint16_t> x, w, y;
  DeviceBuffer<const void*> x_at, w_at;
  DeviceBuffer<void*> y_at;
};

/// Sizes of each group as cuBLAS wants them; column-major, so that w is its A and x its B.
struct Groups {
  explicit Groups(const GroupedShape& shape) {
    for (const std::int64_t own : balanced_rows(shape)) {
      if (own == 0) continue;
      rows.push_back(static_cast<int>(own));
      m.push_back(static_cast<int>(shape.n));
      k.push_back(static_cast<int>(shape.k));
    }
    ones.assign(rows.size(), 1.0F);
    zeros.assign(rows.size(), 0.0F);
    one_each.assign(rows.size(), 1);
    transposed.assign(rows.size(), CUBLAS_OP_T);
    plain.assign(rows.size(), CUBLAS_OP_N);
  }
  std::vector<int> rows, m, k, one_each;
  std::vector<float> ones, zeros;
  std::vector<cublasOperation_t> transposed, plain;
};

void enqueue(const Cublas& library, const Groups& groups, const Operands& operands,
             cudaStream_t stream) {
  check_cublas(cublasSetStream(library.handle(), stream));
  check_cublas(cublasGemmGroupedBatchedEx(
      library.handle(), groups.transposed.data(), groups.plain.data(), groups.m.data(),
      groups.rows.data(), groups.k.data(), groups.ones.data(), operands.w_at.data(), CUDA_R_16BF,
      groups.k.data(), operands.x_at.data(), CUDA_R_16BF, groups.k.data(), groups.zeros.data(),
      operands.y_at.data(), CUDA_R_16BF, groups.m.data(), static_cast<int>(groups.rows.size()),
      groups.one_each.data(), CUBLAS_COMPUTE_32F));
}

/// Of sampled elements; row and expert of w follow from the row of y.
double error_of(const GroupedShape& shape, const Operands& operands) {
  const GemmSeeds seeds = gemm_seeds(0);
  const std::vector<std::int64_t> rows = balanced_rows(shape);
  RelativeError error;
  for (const Place& place : sampled_places(shape.rows, shape.n, 32, 5)) {
    const std::int64_t weight_row = expert_of(rows, place.row) * shape.n + place.column;
    error.add(decode(bf16_format(), operands.y.read(place.row * shape.n + place.column)),
              gemm_element(gemm_types().front(), seeds, shape.rows, shape.experts * shape.n,
                           shape.k, place.row, weight_row));
  }
  return error.value();
}

std::string label(const GroupedShape& shape) {
  return "grouped_gemm bfloat16 experts=" + std::to_string(shape.experts) +
         " rows=" + std::to_string(shape.rows) + " N=" + std::to_string(shape.n) +
         " K=" + std::to_string(shape.k);
}

void measure_shape(ProbeSession& session, MeasurementFile& file, const Cublas& library,
                   const GroupedShape& shape) {
  const Groups groups{shape};
  const int sets =
      session.sets(2 * (shape.rows * (shape.k + shape.n) + shape.experts * shape.n * shape.k));
  std::vector<Operands> operands;
  for (int set = 0; set < sets; ++set) operands.emplace_back(shape, gemm_seeds(set));
  check(cudaDeviceSynchronize());
  const TimedRun run =
      session.timer().time(session.options().replay, sets, [&](int set, cudaStream_t stream) {
        enqueue(library, groups, operands[static_cast<std::size_t>(set)], stream);
      });
  session.record(file, {.op = "grouped_gemm",
                        .dtype = "bfloat16",
                        .kernel = "cublas_grouped",
                        .columns = {{"experts", number_text(shape.experts)},
                                    {"rows", number_text(shape.rows)},
                                    {"N", number_text(shape.n)},
                                    {"K", number_text(shape.k)},
                                    {"routing", "balanced"}},
                        .library = library.version(),
                        .timing = run,
                        .error = error_of(shape, operands[0]),
                        .allowed_error = gemm_types().front().allowed_error});
}

void list(const SizeLimits& limits) {
  for (const GroupedShape& shape : grouped_shapes(limits))
    std::printf("%s\n", label(shape).c_str());
}

void measure(ProbeSession& session) {
  MeasurementFile file =
      session.open({.file = "grouped_gemm", .shape = {"experts", "rows", "N", "K", "routing"}});
  const Cublas library;
  for (const GroupedShape& shape : grouped_shapes(session.limits()))
    session.attempt(label(shape), [&] { measure_shape(session, file, library, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_grouped_gemm", "Products of the experts of one GPU through cuBLAS", list, measure},
      count, arguments);
}
