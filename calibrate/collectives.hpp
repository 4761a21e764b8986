#pragma once

#include <string>
#include <vector>

#include "calibrate/collective_rows.hpp"
#include "calibrate/robust_fit.hpp"
#include "models/fabric/fabric_parameters.hpp"

/// Fits of communication: NCCL inside a node, DeepEP inside and across nodes.
namespace tessera::calibrate {

/// Errors of one kind of row on one half: quoted beside every fit.
struct ResidualSummary {
  std::string gpu;
  std::string family;
  std::string group;
  Half half;
  std::size_t rows;
  double median;  ///< Of |predicted / measured - 1|.
  double p90;
  double bias;    ///< Median of predicted / measured - 1.
  double inside;  ///< Part of measured times inside the 90 % interval.
};

struct FabricFit {
  device::Generation generation;
  fabric::FabricParameters parameters;
  device::FitSet fit;  ///< What is written: fitted and transferred parameters.
  std::vector<ResidualSummary> residuals;
};

/// Fits Ampere, Hopper and Blackwell to the fit half of comm_nccl.csv, comm_deepep_normal.csv and
/// comm_deepep_ll.csv in a folder. What a generation has no rows for is taken from Hopper and
/// graded transferred. Throws core::ConfigError when a file is missing or malformed.
[[nodiscard]] std::vector<FabricFit> fit_collectives(const std::string& measurements);

/// calibrate/fits/fabric_GENERATION.yaml: parameters with errors and grades, residuals of both
/// halves, provenance. No measured row.
[[nodiscard]] std::string to_yaml(const FabricFit& fit);

}  // namespace tessera::calibrate
