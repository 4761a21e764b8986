#pragma once

#include <string>
#include <utility>
#include <vector>

/// What the config.json of published models say about their layers, by the name of the shipped
/// architecture. Source: huggingface.co, the repository that heads
/// workloads/architectures/NAME.yaml. Fields that every import ignores are left out.
namespace tessera::workload {

/// `item` `count` times, in quotes, separated by commas.
inline std::string repeated(const std::string& item, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + item;
  return text;
}

inline std::vector<std::pair<std::string, std::string>> published_hf_configs() {
  return {
      {"deepseek_v3",
       R"({"attention_bias": false, "first_k_dense_replace": 3, "hidden_act": "silu",
"hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512,
"model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
"n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 128,
"num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
"num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
"qk_rope_head_dim": 64, "scoring_func": "sigmoid", "tie_word_embeddings": false,
"topk_group": 4, "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280})"},
      {"deepseek_v3.2",
       R"({"attention_bias": false, "first_k_dense_replace": 3, "hidden_act": "silu",
"hidden_size": 7168, "index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048,
"intermediate_size": 18432, "kv_lora_rank": 512, "model_type": "deepseek_v32",
"moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256,
"n_shared_experts": 1, "num_attention_heads": 128, "num_experts_per_tok": 8,
"num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
"q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
"scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 4,
"topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280})"},
      {"glm_5",
       R"({"attention_bias": false, "first_k_dense_replace": 3, "hidden_act": "silu", "head_dim": 64,
"hidden_size": 6144, "index_head_dim": 128, "index_n_heads": 32, "index_topk": 2048,
"intermediate_size": 12288, "kv_lora_rank": 512, "moe_intermediate_size": 2048,
"moe_layer_freq": 1, "model_type": "glm_moe_dsa", "n_group": 1, "n_routed_experts": 256,
"n_shared_experts": 1, "num_attention_heads": 64, "num_experts_per_tok": 8,
"num_hidden_layers": 78, "num_key_value_heads": 64, "num_nextn_predict_layers": 1,
"q_lora_rank": 2048, "qk_head_dim": 256, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64,
"rope_parameters": {"rope_type": "default"}, "scoring_func": "sigmoid",
"tie_word_embeddings": false, "topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 256,
"vocab_size": 154880})"},
      {"glm_5.2",
       R"({"attention_bias": false, "first_k_dense_replace": 3, "head_dim": 192, "hidden_act": "silu",
"hidden_size": 6144, "index_head_dim": 128, "index_n_heads": 32,
"index_share_for_mtp_iteration": true, "index_skip_topk_offset": 3, "index_topk": 2048,
"index_topk_freq": 4, "index_topk_pattern": null, "indexer_types": [)" +
           repeated("\"full\"", 2) + ", " +
           repeated("\"full\", \"shared\", \"shared\", \"shared\"", 19) +
           R"(], "intermediate_size": 12288, "kv_lora_rank": 512, "mlp_layer_types": [)" +
           repeated("\"dense\"", 3) + ", " + repeated("\"sparse\"", 75) +
           R"(], "model_type": "glm_moe_dsa", "moe_intermediate_size": 2048, "moe_layer_freq": 1,
"n_group": 1, "n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 64,
"num_experts_per_tok": 8, "num_hidden_layers": 78, "num_key_value_heads": 64,
"num_nextn_predict_layers": 1, "q_lora_rank": 2048, "qk_head_dim": 256,
"qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "rope_parameters": {"rope_type": "default"},
"scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 1,
"topk_method": "noaux_tc", "v_head_dim": 256, "vocab_size": 154880})"},
      {"gpt_oss_120b",
       R"({"attention_bias": true, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu",
"hidden_size": 2880, "intermediate_size": 2880, "layer_types": [)" +
           repeated("\"sliding_attention\", \"full_attention\"", 18) +
           R"(], "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4,
"num_hidden_layers": 36, "num_key_value_heads": 8, "num_local_experts": 128,
"sliding_window": 128, "tie_word_embeddings": false, "vocab_size": 201088})"},
      {"gpt_oss_20b",
       R"({"attention_bias": true, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu",
"hidden_size": 2880, "intermediate_size": 2880, "layer_types": [)" +
           repeated("\"sliding_attention\", \"full_attention\"", 12) +
           R"(], "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4,
"num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32,
"sliding_window": 128, "tie_word_embeddings": false, "vocab_size": 201088})"},
      {"kimi_k2",
       R"({"attention_bias": false, "first_k_dense_replace": 1, "hidden_act": "silu",
"hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512, "model_type": "kimi_k2",
"moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 384,
"n_shared_experts": 1, "num_attention_heads": 64, "num_experts_per_tok": 8,
"num_hidden_layers": 61, "num_key_value_heads": 64, "num_nextn_predict_layers": 0,
"q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
"scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 1,
"topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 163840})"},
      {"llama3.1_405b",
       R"({"attention_bias": false, "hidden_act": "silu", "hidden_size": 16384,
"intermediate_size": 53248, "mlp_bias": false, "model_type": "llama",
"num_attention_heads": 128, "num_hidden_layers": 126, "num_key_value_heads": 8,
"tie_word_embeddings": false, "vocab_size": 128256})"},
      {"llama3.1_70b",
       R"({"attention_bias": false, "hidden_act": "silu", "hidden_size": 8192,
"intermediate_size": 28672, "mlp_bias": false, "model_type": "llama",
"num_attention_heads": 64, "num_hidden_layers": 80, "num_key_value_heads": 8,
"tie_word_embeddings": false, "vocab_size": 128256})"},
      {"llama3.1_8b",
       R"({"attention_bias": false, "hidden_act": "silu", "hidden_size": 4096,
"intermediate_size": 14336, "mlp_bias": false, "model_type": "llama",
"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
"tie_word_embeddings": false, "vocab_size": 128256})"},
      {"llama4_maverick",
       R"({"model_type": "llama4", "text_config": {"attention_bias": false, "attention_chunk_size": 8192,
"head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "interleave_moe_layer_step": 2,
"intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_attention_heads": 40,
"num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8,
"num_local_experts": 128, "use_qk_norm": false, "vocab_size": 202048}})"},
      {"llama4_scout",
       R"({"model_type": "llama4", "text_config": {"attention_bias": false, "attention_chunk_size": 8192,
"head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "interleave_moe_layer_step": 1,
"intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_attention_heads": 40,
"num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8,
"num_local_experts": 16, "use_qk_norm": true, "vocab_size": 202048}})"},
      {"minimax_m2.5",
       R"({"model_type": "minimax_m2", "num_hidden_layers": 62, "hidden_size": 3072,
"num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
"intermediate_size": 1536, "vocab_size": 200064, "num_experts_per_tok": 8,
"num_local_experts": 256, "rotary_dim": 64, "hidden_act": "silu", "tie_word_embeddings": false,
"use_qk_norm": true, "qk_norm_type": "per_layer", "use_routing_bias": true, "use_mtp": true,
"mtp_transformer_layers": 1, "num_mtp_modules": 3, "shared_intermediate_size": 0,
"scoring_func": "sigmoid"})"},
      {"mixtral_8x22b",
       R"({"hidden_act": "silu", "hidden_size": 6144, "intermediate_size": 16384,
"model_type": "mixtral", "num_attention_heads": 48, "num_experts_per_tok": 2,
"num_hidden_layers": 56, "num_key_value_heads": 8, "num_local_experts": 8,
"sliding_window": null, "tie_word_embeddings": false, "vocab_size": 32000})"},
      {"mixtral_8x7b",
       R"({"hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
"model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
"num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
"sliding_window": null, "tie_word_embeddings": false, "vocab_size": 32000})"},
      {"qwen3_235b_a22b",
       R"({"attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128, "hidden_act": "silu",
"hidden_size": 4096, "intermediate_size": 12288, "max_window_layers": 94,
"mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 1536,
"num_attention_heads": 64, "num_experts": 128, "num_experts_per_tok": 8,
"num_hidden_layers": 94, "num_key_value_heads": 4, "sliding_window": null,
"tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936})"},
      {"qwen3_30b_a3b",
       R"({"attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128, "hidden_act": "silu",
"hidden_size": 2048, "intermediate_size": 6144, "max_window_layers": 48, "mlp_only_layers": [],
"model_type": "qwen3_moe", "moe_intermediate_size": 768, "num_attention_heads": 32,
"num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
"num_key_value_heads": 4, "sliding_window": null, "tie_word_embeddings": false,
"use_sliding_window": false, "vocab_size": 151936})"},
      {"qwen3_vl_235b_a22b",
       R"({"model_type": "qwen3_vl_moe", "text_config": {"attention_bias": false,
"decoder_sparse_step": 1, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
"intermediate_size": 12288, "mlp_only_layers": [], "moe_intermediate_size": 1536,
"num_attention_heads": 64, "num_experts": 128, "num_experts_per_tok": 8,
"num_hidden_layers": 94, "num_key_value_heads": 4, "vocab_size": 151936},
"tie_word_embeddings": false, "vision_config": {"deepstack_visual_indexes": [8, 16, 24],
"depth": 27, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1152, "in_channels": 3,
"intermediate_size": 4304, "model_type": "qwen3_vl_moe", "num_heads": 16,
"num_position_embeddings": 2304, "out_hidden_size": 4096, "patch_size": 16,
"spatial_merge_size": 2, "temporal_patch_size": 2}})"},
  };
}

}  // namespace tessera::workload
