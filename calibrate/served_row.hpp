#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "calibrate/csv_table.hpp"
#include "sim/core/data_type.hpp"

/// Rows of e2e_serving.csv: what was served, and on how many GPUs.
namespace tessera::calibrate {

/// How a model is cut. The GPUs are attention_ranks x tensor, and expert x expert_tensor.
struct ServedLayout {
  int attention_ranks = 1;  ///< Data-parallel replicas of attention.
  int tensor = 1;           ///< Of attention and dense layers.
  int expert = 1;
  int expert_tensor = 1;

  [[nodiscard]] int gpus() const { return attention_ranks * tensor; }
  friend bool operator==(const ServedLayout&, const ServedLayout&) = default;
};

/// The layout columns of a row as they stand; attn_dp is 1 where empty.
struct LayoutColumns {
  int gpus = 1, tensor = 1, attention_ranks = 1, expert_tensor = 1, expert = 1;
  bool states_ranks = true;  ///< attn_dp is not empty.
};

/// The layout that the columns mean, and why where it is not what they say:
/// - n_gpus = moe_tp x moe_ep with equal factors above 1 counts a server of moe_ep GPUs once for
///   its tensor and once for its expert parallelism (fourteen such rows are in the file a second
///   time, equal in TTFT and TPOT, with moe_tp 1 and n_gpus = moe_ep), in the collection that
///   states attn_dp; attention replicas as many as n_gpus then mean one a GPU;
/// - the same with n_gpus = tp x attn_dp = moe_ep and tp = attn_dp: one attention replica a GPU;
/// - moe_tp x moe_ep above n_gpus: as many GPUs as experts are cut over.
struct ReadLayout {
  ServedLayout layout;
  std::string note;  ///< Empty where the columns are taken as they are.
};
[[nodiscard]] ReadLayout read_layout(const LayoutColumns& columns);

/// One pool that prefills and decodes, at a constant number of requests.
struct ServedRow {
  std::size_t row = 0;
  std::string gpu, model, framework, version, gemm_quant;
  ServedLayout layout;
  std::string layout_note;
  std::int64_t prompt = 0;     ///< Nominal tokens.
  std::int64_t output = 0;     ///< Nominal tokens.
  bool drawn_lengths = false;  ///< Each request's lengths are drawn up to the nominal ones.
  int concurrency = 1;         ///< Requests in the server.
  double ttft_ms = 0, tpot_ms = 0;
  Half half = Half::fit;

  /// "trtllm 1.2.0rc2", or the framework alone where the version is blank.
  [[nodiscard]] std::string version_name() const;
  [[nodiscard]] std::int64_t mean_prompt() const;
  [[nodiscard]] double mean_output() const;
  /// Requests of an attention replica, the fullest one.
  [[nodiscard]] std::int64_t batch() const;
};

/// Whether a row is of line 2's selection: mode agg, `batch` at most `most`.
[[nodiscard]] bool covered(const CsvTable& table, std::size_t row, double most);

/// Throws core::Refusal where a column cannot be read as what it should be.
[[nodiscard]] ServedRow read_served_row(const CsvTable& table, std::size_t row);

}  // namespace tessera::calibrate
