#pragma once

#include <string>

namespace tessera::app {

/// A study as an array of Slurm tasks, each a shard with a store of its own.
struct SlurmArray {
  std::string partition;
  int tasks = 1;
  int jobs = 1;          ///< Worker processes of a task, and its cores.
  std::string study;     ///< As the user named it.
  std::string name;      ///< Of the study.
  std::string fidelity;  ///< Empty: the study's own.
};

/// The array's script. `program` and the stores' `folder` are absolute paths.
[[nodiscard]] std::string sbatch_script(const SlurmArray& array, const std::string& program,
                                        const std::string& folder);
/// The command that makes one store of the shards'.
[[nodiscard]] std::string merge_command(const SlurmArray& array, const std::string& program,
                                        const std::string& folder);

/// Submits the array and a job that merges after it, and says so; writes sweep.sbatch into `out`
/// when that is not empty, even when nothing can be submitted. Throws core::ConfigError for names
/// that Slurm cannot take or an unusable `out`, core::Refusal when sbatch is not there and `out` is
/// empty, or when it refuses the job.
void submit(const SlurmArray& array, const std::string& out);

}  // namespace tessera::app
