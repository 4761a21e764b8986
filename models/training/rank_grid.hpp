#pragma once

#include <string>
#include <vector>

namespace tessera::training {

/// Which GPUs form an expert-parallel group.
enum class Placement {
  expert_first,    ///< Consecutive GPUs: pipeline ranks are blocks of data-parallel GPUs.
  pipeline_first,  ///< Pipeline ranks lie side by side, tensor ranks closer still.
};

/// How many GPUs share each kind of work.
struct Degrees {
  int tensor = 1;
  int context = 1;
  int data = 1;  ///< Replicas that read different sequences.
  int pipeline = 1;
  int expert = 1;
  int expert_tensor = 1;

  friend auto operator<=>(const Degrees&, const Degrees&) = default;
};

/// Who is in which group. The GPUs of one pipeline rank are numbered twice: for everything but
/// experts with tensor fastest, then context, then data; for experts, over the same GPUs, with
/// expert_tensor fastest, then expert, then expert data (Megatron-Core's "tp-cp-ep-dp-pp" with
/// parallel folding: megatron/core/parallel_state.py, RankGenerator; arXiv 2504.14960, section 3).
/// Pipeline ranks are slowest, unless the placement puts them beside each other.
///
/// A group is a list of GPUs in the order of their rank in it. `member` is a place in a pipeline
/// rank, [0, members()).
class RankGrid {
 public:
  /// Requires: every degree >= 1; expert * expert_tensor divides tensor * context * data.
  RankGrid(const Degrees& degrees, Placement placement);

  [[nodiscard]] const Degrees& degrees() const { return degrees_; }
  [[nodiscard]] int gpus() const { return members() * degrees_.pipeline; }
  /// GPUs of one pipeline rank.
  [[nodiscard]] int members() const { return degrees_.tensor * degrees_.context * degrees_.data; }
  /// Replicas of each expert in a pipeline rank.
  [[nodiscard]] int expert_data() const {
    return members() / (degrees_.expert * degrees_.expert_tensor);
  }

  /// GPU of the cluster.
  [[nodiscard]] int gpu(int pipeline_rank, int member) const;

  /// Share each layer's matrices.
  [[nodiscard]] std::vector<int> tensor_group(int pipeline_rank, int member) const;
  /// Share one sequence.
  [[nodiscard]] std::vector<int> context_group(int pipeline_rank, int member) const;
  /// Hold the same parameters and read different sequences.
  [[nodiscard]] std::vector<int> data_group(int pipeline_rank, int member) const;
  /// Hold the same parameters outside of experts: gradients are summed over them.
  [[nodiscard]] std::vector<int> data_context_group(int pipeline_rank, int member) const;
  /// Split the experts of a layer.
  [[nodiscard]] std::vector<int> expert_group(int pipeline_rank, int member) const;
  /// Share each expert's matrices.
  [[nodiscard]] std::vector<int> expert_tensor_group(int pipeline_rank, int member) const;
  /// Hold the same experts: their gradients are summed over them.
  [[nodiscard]] std::vector<int> expert_data_group(int pipeline_rank, int member) const;
  /// Pass activations on, first stage first.
  [[nodiscard]] std::vector<int> pipeline_group(int member) const;
  /// First and last pipeline rank, which sum the gradient of a matrix that embedding and head
  /// share.
  [[nodiscard]] std::vector<int> embedding_group(int member) const;

 private:
  /// Members that differ from `member` only in one digit, which has `count` values `stride` apart.
  [[nodiscard]] std::vector<int> along(int pipeline_rank, int member, int stride, int count) const;

  Degrees degrees_;
  Placement placement_;
};

}  // namespace tessera::training
