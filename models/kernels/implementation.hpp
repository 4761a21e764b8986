#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/workload/operators.hpp"
#include "sim/core/data_type.hpp"

namespace tessera::kernels {

/// How the warps of a GEMM CTA share the work.
enum class GemmSchedule {
  multistage,   ///< Every warp loads and multiplies; one tile a CTA (Ampere, Ada, sm_120).
  cooperative,  ///< One producer; all consumer warpgroups on one tile (Hopper).
  pingpong,     ///< One producer; two consumers on alternate tiles (Hopper).
  tmem,  ///< One producer, one MMA issuer, an epilogue that overlaps through TMEM (Blackwell).
};
[[nodiscard]] std::string to_string(GemmSchedule schedule);

/// How attention treats values that are narrower than queries and keys.
enum class ValueWidth {
  own,      ///< Multiplied as wide as they are.
  widened,  ///< Multiplied as wide as keys: tiles are filled with zeros as they are loaded.
  padded,   ///< Copied into memory as wide as keys, by kernels of their own.
};

/// How absorbed attention cuts the cached tokens of a sequence among CTAs.
enum class KeyPartition {
  whole,      ///< Not at all.
  even,       ///< Into equal parts, as many as fill the SMs (TensorRT-LLM's generated kernels).
  efficient,  ///< Into the fewest equal parts that waste at most 15 % more of the waves than the
              ///< best (FlashAttention-3).
  balanced,   ///< All sequences end to end, one equal range a CTA (FlashMLA).
};

/// Who adds the parts up.
enum class Combination {
  in_kernel,  ///< The last CTA of a sequence to finish.
  if_split,   ///< A second kernel, launched when there are parts.
  always,     ///< A second kernel, launched whether there are parts or not.
};

/// How a GEMM adds its product to what the output holds.
enum class Accumulation {
  loaded,          ///< The epilogue waits for the old values and stores their sum.
  reducing_store,  ///< The copy engine adds in L2; nothing waits.
};

/// How a library picks one of its tiles.
enum class TileChoice {
  fastest,       ///< As if it had timed them all: the best of the candidates is simulated.
  fewest_waves,  ///< Fewest waves, then the fullest last wave, then the least waste (DeepGEMM of
                 ///< 2025).
  paired_waves,  ///< One wave, or pairs of tiles, then as fewest_waves (DeepGEMM of 2026 on
                 ///< Blackwell).
  data_paths,    ///< The least time of L1 or L2, over how full the waves are; pairs of tiles where
                 ///< there is more than one wave (DeepGEMM of 2026 on Hopper).
  scored,        ///< The best score of filled tiles, filled waves and large tiles, for the power of
                 ///< two of rows below (FlashInfer's CuTe DSL products of 2026).
  near_planned,  ///< The fastest of those whose rows are about what the host plans for.
};

/// Which two tiles a library that counts waves gives to a cluster of two, to share an operand.
enum class Pairing {
  none,
  columns,  ///< Beside each other, where whole tile columns pair up (DeepGEMM's first release).
  longer,   ///< High tiles beside each other, others one above the other; the last tiles of an odd
            ///< number share nothing (DeepGEMM of 2025 on Hopper).
};

/// How the CTAs of a cluster lie.
enum class ClusterSide {
  rows,     ///< One above the other: they share B.
  columns,  ///< Beside each other: they share A.
};

/// For which decodes a library takes a tile.
enum class TileUse {
  any,
  whole,  ///< Where no keys may be cut.
  cut,    ///< Where they may.
};

/// How a decode kernel cuts the keys of a sequence over CTAs.
enum class KeySplit {
  none,
  fill,       ///< As many parts as the places of the machine hold at once.
  efficient,  ///< The fewest whose waves are nearly as full as they get (FlashAttention).
  cover,      ///< As few as give every SM one (TensorRT-LLM's masked kernel).
};

/// What only attention kernels for few queries a sequence have.
struct DecodeTraits {
  int packed_heads = 1;  ///< Query heads of a key head in one CTA, at most; 1: none share its keys.
  KeySplit split = KeySplit::none;
  int least_tiles = 1;  ///< Tiles of keys in a part.
  int most_splits = 64;
  int stages = 2;  ///< Tiles of keys in flight per CTA, at most.
  /// The loading warps turn FP8 values in shared memory, for products that take operands along keys
  /// only (wgmma).
  bool turns_values = false;
  int scanned_sequences = 0;  ///< Through which the tile scheduler looks at a time for the next
                              ///< tile's; 0: a tile's number tells.
};

/// In which order a grid of attention hands out its tiles of queries.
enum class TileOrder {
  longest_first,  ///< Heads that share L2 together, those with most keys first.
  by_sequence,    ///< The same, one sequence after the other.
  as_numbered,    ///< Head by head from a sequence's first queries, though a CTA takes a tile when
                  ///< it is done with the one before: the longest of the last head end alone.
};

/// What only attention over many queries has.
struct AttentionTraits {
  TileOrder order = TileOrder::longest_first;
  /// The product with the next keys is issued before that with the values; otherwise a warpgroup
  /// waits for each product, and frees keys and values together.
  bool overlaps_products = true;
  /// Heads are multiplied as wide as the next multiple of so many bytes, or the next power of two
  /// where that is less; 0: as they are.
  int head_granule_bytes = 0;
  /// Queries of the heads of one key head share tiles however long they are; otherwise where one
  /// head's do not fill a tile.
  bool packs_always = false;
};

/// Attention that a tile is for; of decode, `masked` has a window.
enum class TileMask { any, masked, unmasked };

/// What only attention kernels have whose warps each multiply and exponentiate (mma.sync).
struct WarpTraits {
  bool packs_queries = false;  ///< Query heads of a key head share a tile.
  bool plans_parts = false;    ///< The host cuts keys so that two CTAs an SM get work (FlashInfer).
  bool pads_heads = false;     ///< Products are as wide as the next power of two.
  double tensor_share = 1;     ///< Of the tensor rate, that mma.sync reaches on this generation.
};

/// One tile shape that an implementation can launch.
struct TileShape {
  int m = 128;
  int n = 128;
  int k_bytes = 128;  ///< Depth of a step, in bytes of the A operand.
  int cluster = 1;    ///< CTAs that share an operand.
  ClusterSide side = ClusterSide::rows;
  bool lone_rest = false;  ///< Tiles that do not fill a cluster make clusters that share nothing;
                           ///< otherwise a cluster's other CTAs idle.
  int ctas_per_sm = 1;
  bool swapped = false;  ///< The product is computed transposed: n on the instruction's m.
  int stages = 0;        ///< Steps of loads in flight; 0: as many as fit.
  int consumers = 0;  ///< Attention: groups of 128 threads that share the tile; 0: one for 64 rows.
  int rows_from = 0;  ///< Rows of the product, queries of a head, for which the library takes it,
  int rows_to = 0;    ///< up to these; 0: any.
  int head_from = 0;  ///< Attention: width of a head of queries for which the library takes it,
  int head_to = 0;    ///< up to this one; 0: any.
  int element_bits = 0;            ///< Of queries, for which it does; 0: any.
  std::set<core::DataType> types;  ///< Of products, for which it does; empty: any.
  TileMask mask = TileMask::any;
  int spilled = 0;          ///< Registers of a thread that it keeps in memory.
  int chunks = 1;           ///< Pieces in which operands of a step arrive, each behind a barrier.
  double chain_cycles = 0;  ///< ImplementationCosts::chain_cycles of this shape; 0: as of all.
  TileUse use = TileUse::any;  ///< Decode attention.
  GemmSchedule schedule = GemmSchedule::cooperative;
  friend auto operator<=>(const TileShape&, const TileShape&) = default;
};

/// Costs that no pipe of the machine shows; each is physical, in SM cycles, and fitted or assumed.
struct ImplementationCosts {
  double prologue_cycles = 0;   ///< CTA start to first load: barrier set-up, descriptors.
  double epilogue_cycles = 0;   ///< Latency of draining accumulators, beside pipes and stores.
  double step_cycles = 0;       ///< Tensor pipe cycles lost per main-loop step.
  double chain_cycles = 0;      ///< Least time of a main-loop step, however small: its MMAs add to
                                ///< one accumulator, one after another, after a barrier.
  double issue_cycles = 0;      ///< Copy engine, per load.
  double reduction_cycles = 0;  ///< Hand-over between CTAs of one split tile.
  double mma_latency_cycles = 0;  ///< From the end of an MMA to a waiting warpgroup.
  double tensor_scale = 1;        ///< Tensor pipe cycles per ideal cycle.
};

/// A kernel library's way to do an operator family on a generation: data, from hw_configs/kernels.
struct Implementation {
  std::string name;
  std::string
      library;  ///< cublas, cutlass, deepgemm, flash_attention_3, deepep, triton, trtllm, custom
  std::string family;  ///< gemm, grouped_gemm, attention, absorbed_attention, stream,
                       ///< exchange, index_scores, select_top_k
  std::set<device::Generation> generations;
  std::set<core::DataType> types;        ///< Empty: any (streams, exchanges).
  std::set<core::DataType> default_for;  ///< Types for which it is the generation's first choice.
  bool on_request = false;               ///< Never anyone's first choice.
  std::vector<TileShape> tiles;
  std::vector<int> splits = {1};  ///< Ways to cut k.
  bool persistent = false;
  int ctas_per_sm = 1;  ///< Of kernels without tile shapes; the default of those with.
  int threads = 384;
  int promotion_k = 0;  ///< k elements between promotions to FP32 on CUDA cores; 0: none.
  /// Types whose products are promoted: those with FP32 scales of blocks always need it.
  std::set<core::DataType> promoted_types = {core::DataType::fp8_block};
  Accumulation accumulation = Accumulation::loaded;
  ValueWidth values = ValueWidth::own;  ///< Attention with values narrower than keys.
  KeyPartition partition = KeyPartition::whole;
  Combination combination = Combination::in_kernel;
  TileChoice choice = TileChoice::fastest;
  bool swizzled_store = true;          ///< Tiles are staged for their store without bank conflicts.
  bool awaited_store = false;          ///< A warpgroup goes on when its store has arrived in L2.
  Pairing pairing = Pairing::none;     ///< Of a library that counts waves.
  int pairing_rows = 0;                ///< Rows of the product from which on it pairs tiles.
  std::optional<DecodeTraits> decode;  ///< Attention: a kernel for few queries a sequence.
  AttentionTraits attention;
  std::optional<WarpTraits> warps;  ///< Attention: forward by mma.sync.
  int group_rows = 0;  ///< Raster: tile rows visited together; 0: as square as the wave allows.
  ImplementationCosts costs;
  /// Raw parameters of the family beyond those above, by name.
  std::map<std::string, double> parameters;
  /// The implementation that its file extends, and the costs and parameters that the file states
  /// itself: fits of the other one hold for the rest.
  std::string base;
  std::set<std::string> stated;
  std::string text;  ///< Canonical text of all fields; part of cache keys.

  [[nodiscard]] bool can_run(const workload::Operator& op, const device::DeviceSpec& device) const;
  /// Whether it is what the device runs `op` with when nobody says otherwise.
  [[nodiscard]] bool is_default(const workload::Operator& op,
                                const device::DeviceSpec& device) const;
};

/// The parameter `name` of `implementation`. Throws core::Refusal naming it when it is missing.
[[nodiscard]] double parameter(const Implementation& implementation, const std::string& name);

/// The same of a parameter that not every implementation has.
[[nodiscard]] double parameter_or(const Implementation& implementation, const std::string& name,
                                  double otherwise);

/// Sets the cost or parameter that `name` ("cublas_hopper.prologue",
/// "flash_attention_3.softmax_scale") stands for; false when no implementation has it.
/// An implementation that extends this one takes the value too where its own file states none.
bool apply_cost(std::vector<Implementation>& implementations, const std::string& name,
                double value);

}  // namespace tessera::kernels
