#pragma once

/// The instructions that kernels of probes are written in, by their PTX. A CPU that takes the part
/// of a CTA provides the same names (tests/unit/simt.hpp), so that a kernel's arithmetic and
/// addressing are tested where there is no GPU.
#ifdef __CUDACC__

#define TESSERA_UNROLL _Pragma("unroll")
#define TESSERA_UNROLL_4 _Pragma("unroll 4")

#include <cuda_fp4.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace tessera::calibrate::probes {

/// Value of lane (own lane ^ mask).
__device__ inline float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}

/// d[16,8] += a[16,16] b[16,8] in BF16 with FP32 sums, operands spread over a warp as PTX's
/// mma.m16n8k16 wants: with g = lane / 4 and t = lane % 4, a = rows g, g + 8, g, g + 8 at columns
/// 2t, 2t, 2t + 8, 2t + 8 (pairs); b = rows 2t, 2t + 8 (pairs) of column g; d = row g at columns
/// 2t, 2t + 1, then row g + 8.
__device__ inline void multiply_tile(float (&d)[4], const std::uint32_t (&a)[4],
                                     const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// The b of multiply_tile from 16 rows of 8 BF16 in shared memory: lane l < 16 gives row l.
__device__ inline void load_transposed(std::uint32_t (&b)[2], const std::uint16_t* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(b[0]), "=r"(b[1])
               : "r"(address)
               : "memory");
}

/// 16 bytes from global to shared memory in the background; zeros when not `valid`.
__device__ inline void copy_async(void* to, const void* from, bool valid) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Until at most `pending` groups of this thread's copies are on their way.
template <int pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// The CTA's dynamic shared memory.
__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  return shared_bytes;
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Two BF16 in a word, the first in the low half.
__device__ inline std::uint32_t bf16_pair(float first, float second) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
__device__ inline float bf16_first(std::uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float bf16_second(std::uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000U);
}

/// Two E4M3 in a half word, two E2M1 in a byte, saturating; the first in the low part.
__device__ inline std::uint32_t e4m3_pair(float first, float second) {
  return __nv_cvt_float2_to_fp8x2(make_float2(first, second), __NV_SATFINITE, __NV_E4M3);
}
__device__ inline std::uint32_t e2m1_pair(float first, float second) {
  return __nv_cvt_float2_to_fp4x2(make_float2(first, second), __NV_E2M1, cudaRoundNearest);
}

/// Raises *at to `value`, both not negative.
__device__ inline void atomic_raise(float* at, float value) {
  atomicMax(reinterpret_cast<int*>(at), __float_as_int(value));
}

}  // namespace tessera::calibrate::probes

#else

#define TESSERA_UNROLL
#define TESSERA_UNROLL_4

#endif
