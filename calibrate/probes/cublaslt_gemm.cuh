#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/probes/cuda_status.cuh"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/gemm_reference.hpp"
#include "calibrate/probes/sizes.hpp"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {

inline void check(cublasStatus_t status,
                  std::source_location where = std::source_location::current()) {
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) throw NotSupported("cuBLAS has no kernel for it");
  if (status != CUBLAS_STATUS_SUCCESS)
    throw CudaFailure(std::string{where.file_name()} + ":" + std::to_string(where.line()) + ": " +
                      cublasLtGetStatusString(status));
}

/// The library's handle and workspace.
class CublasLt {
 public:
  CublasLt() : workspace_(kWorkspaceBytes) { check(cublasLtCreate(&handle_)); }
  ~CublasLt() { cublasLtDestroy(handle_); }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  [[nodiscard]] cublasLtHandle_t handle() const { return handle_; }
  [[nodiscard]] unsigned char* workspace() const { return workspace_.data(); }
  [[nodiscard]] std::size_t workspace_bytes() const { return workspace_.bytes(); }
  [[nodiscard]] std::string version() const {
    const std::size_t number = cublasLtGetVersion();  // major 10000 + minor 100 + patch
    return "cublasLt " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
           "." + std::to_string(number % 100);
  }

 private:
  static constexpr std::int64_t kWorkspaceBytes = 32LL << 20;  // what cuBLAS advises for Hopper
  cublasLtHandle_t handle_ = nullptr;
  DeviceBuffer<unsigned char> workspace_;
};

namespace gemm_kernels {

/// Elements of a [rows, columns] operand in the type's storage: FP4 two to a byte, the first in the
/// low half; TF32 as FP32.
__global__ void fill_elements(GemmType type, std::uint64_t seed, std::int64_t rows,
                              std::int64_t columns, void* elements) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t units = type == GemmType::nvfp4 ? rows * columns / 2 : rows * columns;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < units; i += step) {
    const auto at = [&](std::int64_t element) {
      return element_bits_at(type, seed, element / columns, element % columns, columns);
    };
    switch (type) {
      case GemmType::bf16:
      case GemmType::fp16:
        static_cast<std::uint16_t*>(elements)[i] = static_cast<std::uint16_t>(at(i));
        break;
      case GemmType::tf32:
        static_cast<float*>(elements)[i] = element_value(type, at(i));
        break;
      case GemmType::nvfp4:
        static_cast<std::uint8_t*>(elements)[i] =
            static_cast<std::uint8_t>(at(2 * i) | at(2 * i + 1) << 4);
        break;
      default:
        static_cast<std::uint8_t*>(elements)[i] = static_cast<std::uint8_t>(at(i));
    }
  }
}

/// One thread a scale of [rows, groups]; padding was zeroed before.
__global__ void fill_scales(ScaleKind kind, std::uint64_t seed, std::int64_t rows,
                            std::int64_t columns, void* scales) {
  const std::int64_t row_step = kind == ScaleKind::block128 ? 128 : 1;
  const std::int64_t column_step = kind == ScaleKind::vector16_e4m3   ? 16
                                   : kind == ScaleKind::vector32_e8m0 ? 32
                                                                      : 128;
  const std::int64_t groups = (columns + column_step - 1) / column_step;
  const std::int64_t lines = (rows + row_step - 1) / row_step;
  const std::int64_t count = kind == ScaleKind::tensor ? 1 : lines * groups;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const ScalePlace place =
        scale_place(kind, i / groups * row_step, i % groups * column_step, rows, columns);
    const int exponent = scale_exponent(seed, static_cast<std::uint64_t>(place.block));
    if (kind == ScaleKind::vector32_e8m0)
      static_cast<std::uint8_t*>(scales)[place.offset] = static_cast<std::uint8_t>(127 + exponent);
    else if (kind == ScaleKind::vector16_e4m3)
      static_cast<std::uint8_t*>(scales)[place.offset] =
          static_cast<std::uint8_t>(encode(e4m3_format(), ldexpf(1.0F, exponent)));
    else
      static_cast<float*>(scales)[place.offset] = ldexpf(1.0F, exponent);
  }
}

}  // namespace gemm_kernels

/// One operand of a GEMM, filled with its pattern.
class GemmOperand {
 public:
  GemmOperand(GemmType type, int element_bits, ScaleKind kind, std::uint64_t seed,
              std::int64_t rows, std::int64_t columns, cudaStream_t stream)
      : elements_(rows * columns * element_bits / 8),
        scales_(scale_count(kind, rows, columns) * scale_bytes(kind)) {
    gemm_kernels::fill_elements<<<2048, 256, 0, stream>>>(type, seed, rows, columns,
                                                          elements_.data());
    check_launch();
    if (kind == ScaleKind::none) return;
    check(cudaMemsetAsync(scales_.data(), 0, scales_.bytes(), stream));
    gemm_kernels::fill_scales<<<256, 256, 0, stream>>>(kind, seed, rows, columns, scales_.data());
    check_launch();
  }
  [[nodiscard]] const void* elements() const { return elements_.data(); }
  [[nodiscard]] const void* scales() const { return scales_.data(); }

 private:
  DeviceBuffer<unsigned char> elements_;
  DeviceBuffer<unsigned char> scales_;
};

/// x, w and y of one GEMM.
class GemmOperands {
 public:
  GemmOperands(const GemmTypeTraits& traits, const GemmShape& shape, const GemmSeeds& seeds,
               cudaStream_t stream)
      : activation_(traits.type, traits.element_bits, traits.activation, seeds.activation, shape.m,
                    shape.k, stream),
        weight_(traits.type, traits.element_bits, traits.weight, seeds.weight, shape.n, shape.k,
                stream),
        result_(shape.m * shape.n * output_bytes(traits)) {
    check(cudaMemsetAsync(result_.data(), 0xFF, result_.bytes(), stream));  // NaN until written
    check(cudaStreamSynchronize(stream));
  }
  [[nodiscard]] const GemmOperand& activation() const { return activation_; }
  [[nodiscard]] const GemmOperand& weight() const { return weight_; }
  [[nodiscard]] void* result() const { return result_.data(); }

  /// Of sampled elements of y against the CPU.
  [[nodiscard]] double error(const GemmTypeTraits& traits, const GemmShape& shape,
                             const GemmSeeds& seeds) const {
    constexpr int kPlaces = 32;
    RelativeError error;
    for (const Place& place : sampled_places(shape.m, shape.n, kPlaces, seeds.weight))
      error.add(result_at(traits, place.row * shape.n + place.column),
                gemm_element(traits, seeds, shape.m, shape.n, shape.k, place.row, place.column));
    return error.value();
  }

 private:
  [[nodiscard]] double result_at(const GemmTypeTraits& traits, std::int64_t index) const {
    std::uint32_t bits = 0;
    const int bytes = output_bytes(traits);
    check(cudaMemcpy(&bits, result_.data() + index * bytes, static_cast<std::size_t>(bytes),
                     cudaMemcpyDeviceToHost));
    if (traits.type == GemmType::int8) return static_cast<std::int32_t>(bits);
    if (traits.type == GemmType::tf32) return __builtin_bit_cast(float, bits);
    return decode(traits.type == GemmType::fp16 ? fp16_format() : bf16_format(), bits);
  }

  GemmOperand activation_;
  GemmOperand weight_;
  DeviceBuffer<unsigned char> result_;
};

namespace lt {

template <typename T, auto destroy>
struct Delete {
  void operator()(T* object) const { destroy(object); }
};
/// An object that cuBLASLt created.
template <typename T, auto destroy>
using Owned = std::unique_ptr<T, Delete<T, destroy>>;

struct Types {
  cudaDataType_t operand, result, scale;
  cublasComputeType_t compute;
};

inline Types types_of(GemmType type) {
  switch (type) {
    case GemmType::bf16:
      return {CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case GemmType::fp16:
      return {CUDA_R_16F, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case GemmType::tf32:
      return {CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
    case GemmType::fp8:
    case GemmType::fp8_block:
    case GemmType::mxfp8:
      return {CUDA_R_8F_E4M3, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case GemmType::nvfp4:
      return {CUDA_R_4F_E2M1, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case GemmType::int8:
      return {CUDA_R_8I, CUDA_R_32I, CUDA_R_32I, CUBLAS_COMPUTE_32I};
  }
  throw NotSupported("a type that cuBLASLt does not know");
}

inline cublasLtMatmulMatrixScale_t scale_mode(ScaleKind kind) {
  switch (kind) {
    case ScaleKind::none:
    case ScaleKind::tensor:
      return CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
    case ScaleKind::vector128:
      return CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
    case ScaleKind::block128:
      return CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
    case ScaleKind::vector32_e8m0:
      return CUBLASLT_MATMUL_MATRIX_SCALE_VEC32_UE8M0;
    case ScaleKind::vector16_e4m3:
      return CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3;
  }
  throw NotSupported("a scale that cuBLASLt does not know");
}

inline Owned<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy> layout(
    cudaDataType_t type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t created = nullptr;
  check(cublasLtMatrixLayoutCreate(&created, type, static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), rows));
  return Owned<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy>{created};
}

inline Owned<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy> operation(const Types& types) {
  cublasLtMatmulDesc_t created = nullptr;
  check(cublasLtMatmulDescCreate(&created, types.compute, types.scale));
  return Owned<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy>{created};
}

}  // namespace lt

/// A GEMM that cuBLASLt has chosen a kernel for, by its own heuristic, as frameworks call it.
///
/// Row-major y = x w^T is column-major y^T = w x^T: w is cuBLAS's A (transposed), x its B.
class LtGemm {
 public:
  /// Throws NotSupported when the library has no kernel for the type and shape on this GPU.
  LtGemm(CublasLt& library, const GemmTypeTraits& traits, const GemmShape& shape);

  void enqueue(const GemmOperands& operands, cudaStream_t stream) const;

 private:
  void choose(const GemmTypeTraits& traits);
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) const {
    check(cublasLtMatmulDescSetAttribute(operation_.get(), attribute, &value, sizeof(value)));
  }

  CublasLt& library_;
  bool integer_;
  bool scaled_;
  lt::Owned<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy> operation_;
  lt::Owned<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy> a_, b_, d_;
  cublasLtMatmulHeuristicResult_t chosen_{};
};

inline LtGemm::LtGemm(CublasLt& library, const GemmTypeTraits& traits, const GemmShape& shape)
    : library_(library),
      integer_(traits.type == GemmType::int8),
      scaled_(traits.weight != ScaleKind::none) {
  const lt::Types types = lt::types_of(traits.type);
  a_ = lt::layout(types.operand, shape.k, shape.n);
  b_ = lt::layout(types.operand, shape.k, shape.m);
  d_ = lt::layout(types.result, shape.n, shape.m);
  operation_ = lt::operation(types);
  choose(traits);
}

inline void LtGemm::choose(const GemmTypeTraits& traits) {
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  if (scaled_) {
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, lt::scale_mode(traits.weight));
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, lt::scale_mode(traits.activation));
  }
  // Frameworks accumulate per-tensor FP8 in the tensor cores alone; blocks are promoted.
  if (traits.type == GemmType::fp8) set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference));
  const std::size_t workspace = library_.workspace_bytes();
  check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof(workspace)));
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library_.handle(), operation_.get(), a_.get(), b_.get(),
                                     d_.get(), d_.get(), preference, 1, &chosen_, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0)
    throw NotSupported("cuBLASLt has no kernel for it");
}

inline void LtGemm::enqueue(const GemmOperands& operands, cudaStream_t stream) const {
  if (scaled_) {
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.weight().scales());
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.activation().scales());
  }
  const float one = 1, zero = 0;
  const std::int32_t whole_one = 1, whole_zero = 0;
  const void* alpha = integer_ ? static_cast<const void*>(&whole_one) : &one;
  const void* beta = integer_ ? static_cast<const void*>(&whole_zero) : &zero;
  check(cublasLtMatmul(library_.handle(), operation_.get(), alpha, operands.weight().elements(),
                       a_.get(), operands.activation().elements(), b_.get(), beta,
                       operands.result(), d_.get(), operands.result(), d_.get(), &chosen_.algo,
                       library_.workspace(), library_.workspace_bytes(), stream));
}

}  // namespace tessera::calibrate::probes
