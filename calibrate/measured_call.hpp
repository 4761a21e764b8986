#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/csv_table.hpp"
#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"
#include "models/workload/operators.hpp"

/// From a row of a measurement file to the kernels that were timed, in the state in which they were
/// timed.
namespace tessera::calibrate {

/// Which way of a choice a kernel belongs to: a library that has timed several takes the fastest.
struct Way {
  int choice = 0;  ///< Of the call; 0: the kernel runs whatever is chosen.
  int way = 0;
};

/// One kernel of a timed call.
struct KernelQuery {
  workload::Operator op;
  gpu::ExecutionContext context;
  std::string implementation;
  Way way{};
};

/// Replays of its graph before a timed one, on average: aiconfigurator's collector warms up with
/// three and times six (collector/helper.py, num_warmups and num_runs).
inline constexpr double kCallsBefore = 6;

struct SettledCall;

struct MeasuredCall {
  std::vector<KernelQuery> kernels;  ///< One after another; of each choice, all its ways.
  std::string harness;  ///< Name of the constant that the harness adds: "harness.gemm.trtllm".
  std::string type;     ///< Of the call where a file has several: kernels of one type follow each
                        ///< other closer than those of another. Else empty.
  std::string residual_group;          ///< Calls that err alike: "gemm trtllm bfloat16".
  bool distrusted = false;             ///< As MeasuredAs::distrusted.
  bool eager = false;                  ///< Launched one by one: the host's time is a floor.
  double host_launches = 1;            ///< How often the host's constant falls on an eager call.
  double host_lead = 0;                ///< Part of it that an idle GPU waits for its main work.
  double calls_before = kCallsBefore;  ///< Like it, that the harness makes right before it.
  double tick_us = 0;        ///< The clock that timed it moves in such steps; 0: in fine ones.
  double tick_phase_us = 0;  ///< What readings leave when divided by a step.
  /// Rows that every call prepares with a CTA each: of weight scales that it expands and packs, of
  /// heads' activations that it casts.
  double prepared_rows = 0;
  /// Rows of the activation whose scales the call packs one after the other.
  double packed_rows = 0;

  /// One constant of the harness and how often it falls on the call.
  struct Constant {
    std::string name;
    double count;
  };
  /// As a library runs it that takes the fastest way of each choice. `answers` are of `kernels`, in
  /// their order; a kernel without one is refused.
  [[nodiscard]] SettledCall settle(
      const std::vector<std::optional<gpu::KernelResult>>& answers) const;
  /// All that harness, gaps between kernels and preparation of scales add. In microseconds; a
  /// ".row" is of a thousand rows.
  [[nodiscard]] std::vector<Constant> constants() const;
  /// Mean power of the call in watts: its kernels take `kernels_us` at `kernels_w`, and the GPU
  /// idles at `idle_w` while the harness adds `added_us`.
  [[nodiscard]] static double mean_watts(double kernels_us, double kernels_w, double added_us,
                                         double idle_w) {
    return (kernels_us * kernels_w + added_us * idle_w) / (kernels_us + added_us);
  }
  /// Name of the host's time for an eager call.
  [[nodiscard]] std::string host_floor() const { return harness + ".host"; }
  /// Their sum in microseconds; what `fits` do not hold counts as 0.
  [[nodiscard]] double added_us(const device::FitSet& fits) const;
  /// What the call takes, in microseconds, when the kernels take `kernels_us`.
  [[nodiscard]] double total_us(double kernels_us, const device::FitSet& fits) const;
  /// What is read off for a call that takes `total_us`: the nearest step of the clock.
  [[nodiscard]] double read_us(double total_us) const;
};

/// A call without choices, and what its kernels took.
struct SettledCall {
  MeasuredCall call;
  std::optional<std::vector<gpu::KernelResult>> results;  ///< None where a kernel is refused.
};

/// Whose scales a call rearranges row by row: the weights', expanded to rows and packed, or the
/// activations', packed.
enum class PreparedScales { none, activations, weights };

/// Which implementation a measured kernel is: a row of hw_configs/kernels/measured_as.yaml.
struct MeasuredAs {
  std::string file;
  std::string framework;  ///< "" matches any, as in all fields below.
  std::string version;    ///< Of the framework.
  std::string kernel;
  std::string dtype;
  std::string kv_dtype;
  std::string gpu;
  std::string generation;  ///< Of the GPU: a GPU that nobody measured runs the kernels of its own.
  std::int64_t num_heads = 0;   ///< 0: any.
  std::string implementation;   ///< "" : the device's default.
  std::string ungrouped;        ///< Decode: runs instead where too many query heads share a key
                                ///< head.
  bool groups_only = false;     ///< Decode: it also runs where none share one.
  bool fills_sms = false;       ///< Decode: and where its CTAs would leave most SMs idle.
  bool appends_itself = false;  ///< Decode: `implementation` writes the new token to the cache.
  std::string
      few_heads;  ///< Decode: runs instead where fewer than four query heads share a key head.
  bool multiplies_as_cached = false;  ///< Queries are quantised to the cache's type too.
  std::string odd_heads;       ///< Encoders: runs instead for heads that no tile of the other fits.
  bool keeps_queries = false;  ///< Decode: queries are not cast to a narrower cache's type.
  std::string attention;       ///< Of a module: runs its attention. "": the default.
  std::string indexer;         ///< Of a module: scores its index. "": the default.
  bool expands = false;        ///< A sparse module: attends to all keys and values, expanded.
  bool launches_eagerly = false;  ///< A module: the host enqueues kernel by kernel.
  bool schedules_on_gpu = false;  ///< The call also deals out its work in a kernel of one CTA.
  std::string quantisation{};     ///< Of the activation, before a GEMM; "": the device's default.
  double enqueue_us = 0;          ///< Of the host for a call that it launches eagerly; 0: none.
  double operand_activity = 1;    ///< Of its products: as gpu::ExecutionContext::operand_activity.
  bool distrusted = false;  ///< Its rows timed something else as well; nothing is fitted to them.
  PreparedScales prepares_scales = PreparedScales::none;
  std::string flow;       ///< Fused MoE: whose kernels run around the products.
  std::string gathering;  ///< Fused MoE: multiplies first, rows that it gathers; "": as second.
  std::string by_warps;   ///< Fused MoE: its tuner also times these products, by mma.sync,
  std::string summing;    ///< and these, which add their rows to the tokens' sums.
  /// Fused MoE: the framework pads the width of an expert to multiples of so many columns, of one
  /// without a gate to others, and what a token holds too.
  std::int64_t width_multiple = 1;
  std::int64_t ungated_width_multiple = 1;
  std::int64_t hidden_multiple = 1;
  std::int64_t fused_top_k = 0;  ///< Fused MoE: PyTorch's operations choose more experts a token
                                 ///< than so many; 0: a fused gate any number.
  std::string rotation;          ///< Prefill: rotates queries and keys before. "": the default.
};

/// The clock that timed short calls, where it moves in steps: a row of the same file's `clocks`.
struct TimingClock {
  std::string file;
  std::string framework;
  std::string generation;
  double tick_us = 0;
  double phase_us = 0;
};

class MeasurementMap {
 public:
  /// Reads hw_configs/kernels/measured_as.yaml. Throws core::ConfigError.
  static MeasurementMap load();

  /// The call that a row timed; `file` is the file's name without folder and ending. Throws
  /// core::Refusal with the reason when Tessera has no model of it.
  [[nodiscard]] MeasuredCall call(const std::string& file, const CsvTable& table, std::size_t row,
                                  const device::DeviceSpec& device) const;
  /// The call of moe.csv that a row describes, without its routing: the rank's experts have `rows`.
  [[nodiscard]] MeasuredCall experts(const CsvTable& table, std::size_t row,
                                     const device::DeviceSpec& device,
                                     const std::vector<std::int64_t>& rows) const;

 private:
  [[nodiscard]] const MeasuredAs& find(const std::string& file, const CsvTable& table,
                                       std::size_t row, const device::DeviceSpec& device) const;
  std::vector<MeasuredAs> rows_;
  std::vector<TimingClock> clocks_;
};

}  // namespace tessera::calibrate
