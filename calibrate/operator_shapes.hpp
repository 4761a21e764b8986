#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/imported_rows.hpp"

/// From the inputs that PyTorch's profiler records for an operator to the shape columns of the
/// measurements.
namespace tessera::calibrate {

/// How an operator's arguments make a shape: an entry of calibrate/import_rules.yaml, which
/// explains the kinds. Positions count from 0; -1 where a kind has no such argument.
struct OperatorRule {
  enum class Kind { gemm, batched_gemm, scaled_gemm, attention, cast, static_quantize, fused_moe };
  Kind kind = Kind::gemm;
  int a = -1, b = -1;
  bool b_transposed = false;
  int scale_a = -1, scale_b = -1;
  bool heads_first = false;  ///< Layout bhsd.
  std::vector<std::int64_t> absent, window;
  int causal = -1;
  int from = -1, to = -1, scale = -1;
  int tokens = -1, weights = -1;
};

using Extents = std::vector<std::int64_t>;

/// What the profiler recorded of one call of an operator.
struct OperatorInputs {
  std::vector<Extents> dims;           ///< "Input Dims"; empty for what is no tensor.
  std::vector<std::string> types;      ///< "Input type", as the measurements name them.
  std::vector<std::string> concretes;  ///< "Concrete Inputs"; "" for tensors and what is not given.

  /// Reads the three lists from their JSON; absent ones are empty text.
  static OperatorInputs parse(const std::string& dims, const std::string& types,
                              const std::string& concretes,
                              const std::map<std::string, std::string, std::less<>>& type_names);
};

struct OperatorShape {
  std::string file;  ///< As ImportedRow::file.
  KernelFamily family = KernelFamily::other;
  std::string op;
  std::string dtype{kUnknown};
  Fields shape;             ///< `unknown` where the inputs do not say.
  std::string why_unknown;  ///< "" when the shape is complete.
};

/// The shape of a call. What the inputs do not say is `unknown`, with the reason.
[[nodiscard]] OperatorShape shape_of(const OperatorRule& rule, const OperatorInputs& inputs);

/// The columns that a family's shape has, all unknown.
[[nodiscard]] Fields unknown_shape(KernelFamily family);

}  // namespace tessera::calibrate
