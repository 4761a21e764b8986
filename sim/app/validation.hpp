#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/fitted_roofline.hpp"
#include "calibrate/scoreboard.hpp"
#include "models/gpu/kernel_result.hpp"

namespace tessera::app {

struct ValidationOptions {
  std::string measurements;  ///< Folder of measurement files.
  std::vector<std::string>
      files;         ///< Names without ending; empty: every kernel file of the folder.
  std::string fits;  ///< Folder of fits; empty: those that ship.
  std::vector<gpu::Fidelity> fidelities = {gpu::Fidelity::cycle};  ///< The first is reported.
  std::optional<calibrate::Half> half;
  std::vector<std::string> by = {"file", "gpu", "framework", "dtype"};
  std::size_t rows = 0;  ///< Of a file at most, spread by a hash; 0: all.
  int jobs = 1;
};

/// One measurement file with what was predicted.
struct ValidatedFile {
  calibrate::ScoredFile scored;                ///< At the first fidelity.
  std::vector<std::string> binding;            ///< Row by row; empty where not predicted.
  std::map<std::string, std::size_t> reasons;  ///< Of refusals, with the rows of each.
  /// At the second fidelity, if two were asked for.
  std::optional<calibrate::ScoredFile> other;
  std::map<std::string, calibrate::RooflineScore> rooflines;  ///< Of a GEMM file.
};

struct Validation {
  ValidationOptions options;
  std::vector<ValidatedFile> files;  ///< By name.
};

/// Predicts the measured rows and scores them. Throws core::ConfigError.
[[nodiscard]] Validation validate_kernels(const ValidationOptions& options);

/// Columns by which a family is grouped: options.by, and the routing where the file has one.
[[nodiscard]] std::vector<std::string> columns_of(const ValidatedFile& file,
                                                  const ValidationOptions& options);

/// The numbers of a file that bars apply to and that were predicted, the largest error first.
[[nodiscard]] std::vector<calibrate::Scored> worst_of(const ValidatedFile& file, std::size_t most);

/// A row's shape as NAME=VALUE.
[[nodiscard]] std::string shape_of(const calibrate::CsvTable& table, std::size_t row);

/// The whole scoreboard as text: families, their worst rows, every group, the fitted roofline,
/// reasons of refusal.
[[nodiscard]] std::string to_text(const Validation& validation);

/// A page with predicted over measured for every family, and the tables. Below `kMostPoints` rows a
/// family is drawn whole, else every n-th row.
[[nodiscard]] std::string to_html(const Validation& validation);

}  // namespace tessera::app
