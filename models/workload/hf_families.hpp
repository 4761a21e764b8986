#pragma once

#include "models/workload/hf_config.hpp"
#include "models/workload/hf_fields.hpp"

/// What the fields of each family of configurations mean. What a family's class fixes without a
/// field is taken from transformers' models/<model_type>/modeling_*.py.
namespace tessera::workload {

void read_hf_llama(HfFields& fields, HfImport& import);  ///< llama, mistral, qwen2, qwen3: dense
void read_hf_mixtral(HfFields& fields, HfImport& import);
void read_hf_qwen3_moe(HfFields& fields, HfImport& import);  ///< and the language half of Qwen3-VL
void read_hf_llama4(HfFields& fields, HfImport& import);
void read_hf_gpt_oss(HfFields& fields, HfImport& import);
void read_hf_minimax_m2(HfFields& fields, HfImport& import);
void read_hf_glm4_moe(HfFields& fields, HfImport& import);
/// DeepSeek-V2, V3, V3.2, Kimi-K2, GLM-5: latent attention, sparse where it has an indexer.
void read_hf_deepseek(HfFields& fields, HfImport& import);

}  // namespace tessera::workload
