#pragma once

#include <cstdint>
#include <vector>

#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/workload/operators.hpp"

/// Which tiles a library considers: rules of released code, so that a product runs as it would,
/// well or badly chosen.
namespace tessera::kernels {

/// Of `configurations`, those of `implementation` for `products` products like `gemm`, the one that
/// it launches on `sms` SMs, its tiles paired in clusters of two where the library pairs them; or,
/// where it times candidates, all that it times.
/// Source: DeepGEMM, csrc/jit_kernels/heuristics/common.hpp of 2025, sm90.hpp and sm100.hpp of
/// 2026;
/// TensorRT-LLM 1.3, cpp/include/tensorrt_llm/deep_gemm/jit_utils.cuh; FlashInfer 0.6,
/// csrc/trtllm_fused_moe_kernel_launcher.cu, computeSelectedTileN.
std::vector<GemmConfiguration> choose_tiles(const workload::Gemm& gemm, std::int64_t products,
                                            int sms, const Implementation& implementation,
                                            std::vector<GemmConfiguration> configurations);

}  // namespace tessera::kernels
