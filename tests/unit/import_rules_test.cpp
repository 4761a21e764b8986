#include "calibrate/import_rules.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "models/device/device_file.hpp"
#include "sim/core/config.hpp"

namespace tessera::calibrate {
namespace {

TEST_CASE("kernels are told apart by their names", "[import]") {
  const ImportRules rules = ImportRules::load();
  using enum KernelFamily;
  const std::vector<std::pair<const char*, KernelFamily>> kNames = {
      {"nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN", gemm},
      {"ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn", gemm},
      {"void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_64x64_64x6>()", gemm},
      {"void deep_gemm::sm90_fp8_gemm_1d2d_impl<0u, 2112u, 7168u>()", gemm},
      {"void cublasLt::splitKreduce_kernel<32, 16, int, float>()", gemm},
      {"triton_tem_fused_mm_3", gemm},
      {"void gemv2T_kernel_val<int, int, __nv_bfloat16>()", gemm},
      {"bmm_E4m3_E4m3E4m3_Fp32_t128x8x128_s7_et64x8_m64x8x32", gemm},
      {"void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 64, 64, 4>>()", attention},
      {"void flash_fwd_splitkv_combine_kernel<cutlass::gemm::GemmShape<1, 1, 1>>()", attention},
      {"fmhaSm100fKernel_QkvBfloat16OBfloat16H128PagedKvCausalP64VarSeqQ128Kv128", attention},
      {"void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<X>>>()", attention},
      {"cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3", attention},
      {"void vllm::paged_attention_v2_kernel<float>()", attention},
      {"fused_moe_kernel", moe},
      {"void vllm::moe::topkGating<8, 256, 4>()", moe},
      {"void moe_align_block_size_kernel<int>()", moe},
      {"ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", nccl},
      {"ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", nccl},
      {"void per_token_group_quant_8bit_kernel<c10::BFloat16>()", cast},
      {"void vllm::scaled_fp8_quant_kernel<c10::BFloat16>()", cast},
      {"void at::native::bfloat16_copy_kernel_cuda(at::TensorIteratorBase&)", cast},
      {"void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>()",
       other},
      {"void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>()", other},
      {"triton_red_fused_rms_norm_0", other},
      {"", other}};
  for (const auto& [name, family] : kNames) {
    INFO(name);
    CHECK(to_string(rules.family(name)) == to_string(family));
  }
}

TEST_CASE("drivers' names of GPUs are exact and lead to devices", "[import]") {
  const ImportRules rules = ImportRules::load();
  CHECK(rules.gpu("NVIDIA H100 80GB HBM3") == "h100_sxm");
  CHECK(rules.gpu("NVIDIA H100 PCIe") == "unknown");
  for (const std::string& device : core::names_in("hw_configs/devices")) {
    INFO(device);
    CHECK(device::load_device(device).name == device);
  }
  for (const char* name : {"NVIDIA H20", "NVIDIA GB300", "NVIDIA L40S", "A100-SXM4-40GB"})
    CHECK_NOTHROW(device::load_device(rules.gpu(name)));
}

TEST_CASE("mistakes in the rules are reported where they are", "[import]") {
  const std::string rest =
      "gpus: {}\ntypes: {}\ncollectives: {}\ncollective_types: []\nncu_details: []\n";
  const auto mistake = [](const std::string& text) {
    try {
      (void)ImportRules::from_text(text, "rules.yaml");
    } catch (const core::ConfigError& error) {
      return std::string{error.what()};
    }
    return std::string{};
  };
  CHECK_THAT(mistake("families: [{family: gem, names: [a]}]\noperators: []\n" + rest),
             Catch::Matchers::ContainsSubstring("rules.yaml:1:21: error: families.0.family: found "
                                                "'gem'"));
  CHECK_THAT(
      mistake("families: []\noperators:\n  - {operator: f, kind: gemm, a: 0, c: 1}\n" + rest),
      Catch::Matchers::ContainsSubstring("operators.0.c: found an unknown key") &&
          Catch::Matchers::ContainsSubstring("operators.0.b"));
}

}  // namespace
}  // namespace tessera::calibrate
