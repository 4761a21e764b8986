#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/served_row.hpp"
#include "models/device/device_spec.hpp"
#include "models/workload/engine_kernels.hpp"
#include "sim/core/config.hpp"

/// What servers run, as data: calibrate/served_as.yaml.
namespace tessera::calibrate {

/// Types that a checkpoint's products multiply in.
struct ServedPrecision {
  core::DataType gemm = core::DataType::bf16;             ///< Dense layers, shared experts.
  core::DataType query_key_value = core::DataType::bf16;  ///< Projections into attention.
  core::DataType output = core::DataType::bf16;           ///< The projection out of it.
  core::DataType experts = core::DataType::bf16;
  core::DataType cache = core::DataType::bf16;
};

/// A kernel by the names that measured files have for it (MeasuredAs).
struct NamedKernel {
  std::string framework;
  std::string kernel;
};

/// Tokens that a server drafts for each sequence and iteration.
struct ServedDrafts {
  std::int64_t tokens = 0;
  double acceptance = 0;  ///< Chance that a draft is right when those before it were.
};

/// The weights that a row's server holds.
struct ServedCheckpoint {
  std::string architecture;
  ServedPrecision precision;
};

/// What decides whose kernels a server runs.
struct ServerQuestion {
  std::string framework;
  std::string version;  ///< "": not stated.
  device::Generation generation{};
  std::string architecture;
  core::DataType linear = core::DataType::bf16;
  core::DataType experts = core::DataType::bf16;
  bool replicas = false;    ///< Attention is replicated.
  std::int64_t tensor = 1;  ///< GPUs of an attention replica.
};

/// What a server runs, fuses, and how it schedules.
struct ServerKernels {
  std::string name;  ///< Framework and version.
  std::string framework;
  NamedKernel attention, latent_attention, latent_prefill, experts;
  workload::EngineFusions fusions;
  bool prefill_with_decode = false;    ///< An iteration holds prompts and decoding requests.
  bool eager = false;                  ///< The host launches kernels one by one, not as graphs.
  std::optional<ServedDrafts> drafts;  ///< Where it speculates; none: nobody said how.
};

class ServedMap {
 public:
  /// Throws core::ConfigError.
  [[nodiscard]] static ServedMap load();

  /// Throws core::Refusal for models that are refused by name, and for what no row describes.
  [[nodiscard]] ServedCheckpoint checkpoint(const ServedRow& row,
                                            device::Generation generation) const;
  /// Throws core::Refusal for an unknown framework, or kernels that nobody named.
  [[nodiscard]] ServerKernels server(const ServerQuestion& question) const;
  /// Whose kernel multiplies in `type`.
  [[nodiscard]] NamedKernel gemm(const std::string& framework, device::Generation generation,
                                 core::DataType type) const;

 private:
  struct Model {
    std::string name, architecture, refused;
  };
  struct PrecisionRow {
    std::string framework, architecture, generation;
    std::string gemm_quant;
    ServedPrecision precision;
  };
  struct KernelRow {
    std::string framework, generation, type;
    std::vector<std::string> versions;  ///< Empty: any.
    bool replicas = false;              ///< Only where attention is replicated.
    std::int64_t tensor_below = 0;      ///< Only where fewer GPUs share attention; 0: anywhere.
    NamedKernel named;
  };
  struct DraftRow {
    std::string framework;
    bool replicas = false;  ///< Only where attention is replicated.
    ServedDrafts drafts;
  };
  /// What one row of `servers` states.
  struct Server {
    std::string framework, generation, architecture;
    std::vector<std::string> versions;  ///< Empty: any; "unstated": a blank one.
    bool replicas = false;              ///< Only where attention is replicated.
    std::optional<bool> sum_normalises;
    std::optional<std::vector<core::DataType>> sum_casts, norm_casts, activation_casts;
    std::optional<bool> joint_qk_norm, rotation_apart;
    std::optional<std::int64_t> shared_beside_tokens;
    std::optional<bool> prefill_with_decode, eager;

    /// Takes what it does not state from a later row.
    void complete(const Server& later);
  };
  [[nodiscard]] static Server read_server(const core::ConfigNode& node);
  /// What a kernel is looked up by.
  struct Asking {
    std::string framework, version, generation;
    bool replicas = false;
    std::int64_t tensor = 1;
  };
  [[nodiscard]] static const NamedKernel& find(const std::vector<KernelRow>& rows,
                                               const Asking& asking, core::DataType type,
                                               const char* what);

  [[nodiscard]] std::optional<ServedDrafts> drafts(const ServerQuestion& question) const;
  /// What the rows that hold for the question state together, earlier ones first.
  [[nodiscard]] Server habits(const ServerQuestion& question) const;

  std::vector<Model> models_;
  std::vector<PrecisionRow> precisions_;
  std::vector<KernelRow> gemms_, attentions_, latent_attentions_, latent_prefills_, experts_;
  std::vector<DraftRow> drafts_;
  std::vector<Server> servers_;
};

}  // namespace tessera::calibrate
