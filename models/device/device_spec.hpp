#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// What a GPU is, as its vendor and its measurers describe it. Immutable after reading; no
/// defaults: every field comes from hw_configs/devices.
namespace tessera::device {

using core::Bytes;
using core::BytesPerSecond;
using core::Cycles;
using core::DataType;
using core::Hertz;
using core::Joules;
using core::SmClock;
using core::Time;
using core::Watts;

/// What the tensor cores and copy engines can be asked to do.
enum class Generation {
  ampere,            ///< sm_80: cp.async and mma.sync.
  ada,               ///< sm_89: as Ampere, with FP8.
  hopper,            ///< sm_90: TMA, clusters, wgmma.
  blackwell,         ///< sm_100, sm_103: tcgen05, 2-CTA pairs, TMEM.
  blackwell_client,  ///< sm_120: mma.sync with block-scaled types, no TMEM.
};
[[nodiscard]] std::string to_string(Generation generation);

struct SmSpec {
  int count;                    ///< Enabled SMs.
  std::vector<int> gpc_sizes;   ///< SMs of each GPC; sums to count. Clusters stay inside one.
  Bytes registers;              ///< Register file.
  Bytes shared_memory;          ///< Usable by all CTAs of an SM.
  Bytes shared_memory_per_cta;  ///< Usable by one CTA.
  Bytes tensor_memory;          ///< TMEM; 0 before Blackwell.
  int max_warps;
  int max_ctas;
  int fp32_lanes;             ///< FMA per cycle.
  int sfu_lanes;              ///< ex2, rsqrt, ... per cycle.
  int conversion_lanes;       ///< FP32 to 16- or 8-bit conversions per cycle.
  double shared_memory_rate;  ///< Bytes per cycle.
  std::map<DataType, double>
      tensor_flops;  ///< Dense FLOP per cycle per SM; a missing type has no tensor path.
};

struct ClockSpec {
  Hertz boost;    ///< The highest SM clock.
  Hertz minimum;  ///< Below this the power limit cannot push it.
  Hertz quoted;   ///< The clock behind the vendor's peak rates.
  Hertz memory;   ///< L2 and crossbar.
};

struct L2Spec {
  Bytes size;
  int partitions;  ///< Each SM is near one; a far hit crosses.
  int slices;
  double bytes_per_cycle;  ///< All slices, per cycle of `ClockSpec::memory`.
  Cycles<SmClock> near_latency;
  Cycles<SmClock> far_latency;
};

struct HbmSpec {
  Bytes size;  ///< Visible to programs.
  BytesPerSecond peak_rate;
  double reachable;         ///< Part of peak_rate that a copy reaches, (0, 1].
  Cycles<SmClock> latency;  ///< Added to an L2 miss on an idle device.
};

struct NvlinkSpec {
  BytesPerSecond rate;  ///< Per GPU and direction; 0 without NVLink.
  double reachable;     ///< Part of `rate` that payload reaches, (0, 1].
  Time latency;         ///< One remote store to visible.
};

/// Dynamic energy per operation at the boost clock's voltage.
struct PowerSpec {
  Watts limit;    ///< TDP.
  Time response;  ///< That load has to last before the limit acts on it.
  Watts idle;
  std::map<DataType, double> tensor_pj_per_flop;
  double fp32_pj_per_flop;
  double shared_memory_pj_per_byte;
  double l2_pj_per_byte;
  double hbm_pj_per_byte;
  double nvlink_pj_per_byte;
  double voltage_exponent;  ///< Dynamic energy scales with (clock / boost)^voltage_exponent.
};

struct DieSpec {
  std::optional<double> area_mm2;  ///< All dies; empty when nothing is known of it.
  int count;
  double transistors;
  std::string process;
  bool area_confirmed = false;  ///< Whether a public source states the area.
};

struct DeviceSpec {
  std::string name;
  Generation generation;
  SmSpec sm;
  ClockSpec clock;
  L2Spec l2;
  HbmSpec hbm;
  NvlinkSpec nvlink;
  PowerSpec power;
  DieSpec die;
  /// Per direction, of the link to the host; empty when not described. Export rules count it;
  /// traffic goes by the node's `pcie_rate`.
  std::optional<BytesPerSecond> host_link;

  /// Peak FLOP/s of a type at the quoted clock; what MFU is against. Throws Refusal when there is
  /// no tensor path.
  [[nodiscard]] core::FlopsPerSecond peak(DataType type) const;
};

/// One calibrated number, with how it came about.
struct Parameter {
  double value = 0;
  double standard_error = 0;
  core::Grade grade = core::Grade::assumed;
  std::string unit;
  std::string source;
  std::string fitted_on;  ///< The calibration's stage that moved it last; empty: none did.
};

/// A file of calibrate/fits: parameters by name ("hbm.reachable", "gemm.prologue_cycles"), and what
/// they were fitted to.
struct FitSet {
  std::string name;  ///< File stem, for example "h100_sxm".
  std::string hash;  ///< SHA-256 of the file's bytes, hexadecimal; part of cache keys and results.
  std::map<std::string, Parameter> parameters;

  /// The parameter, or throws std::out_of_range naming it.
  [[nodiscard]] const Parameter& at(const std::string& parameter) const;
};

}  // namespace tessera::device
