#pragma once

#include <string>
#include <variant>
#include <vector>

#include "models/workload/operators.hpp"

namespace tessera::workload {

/// One kernel of a layer.
struct Work {
  std::string name;  ///< "q_up", "q_up weight_gradient", ...
  Operator op;
  Pass pass = Pass::forward;
  /// Where tensor cores add FP8 products in few bits (Hopper: about 14), sums are promoted to FP32
  /// every 128 of k.
  bool promoted = false;
  std::string implementation{};  ///< A file of hw_configs/kernels; "": the device's default.
  /// It runs on a stream beside other kernels: it adds what its bytes take of HBM or its products
  /// of the tensor cores, whichever is longer, none of its latency.
  bool beside = false;
  /// It runs when the micro-batch's activations are gone.
  bool after_backward = false;
  int launches = 1;     ///< Kernels that the host launches for it.
  bool module = false;  ///< The first kernel of a module's forward or backward pass.
};

/// One collective or message that every GPU of a group takes part in.
struct Transfer {
  enum class Kind { all_gather, reduce_scatter, all_reduce, all_to_all, send };
  /// Which ranks beside this one; the job's layout knows their GPUs.
  enum class Group { tensor, context, expert_tensor, expert };
  std::string name;  ///< "qkv input gather", ...
  Kind kind = Kind::all_gather;
  Group group = Group::tensor;
  /// all_gather: of the gathered tensor. reduce_scatter, all_reduce: of the tensor that every GPU
  /// brings. all_to_all: of the tensor that every GPU cuts up, its own piece included. send: of the
  /// message to the next GPU of the ring.
  double bytes = 0;
  Pass pass = Pass::forward;
  /// Kernels of the same list, after it, that may run before it has ended. 0: the next one reads
  /// what it brings.
  int behind = 0;
  bool copy_engines = false;  ///< Moved by copy engines: takes no SMs.
};
[[nodiscard]] std::string to_string(Transfer::Kind kind);
[[nodiscard]] std::string to_string(Transfer::Group group);

/// A kernel or a transfer.
struct Step {
  std::variant<Work, Transfer> what;
  /// In lists of weight gradients: it may run after this many steps of the list that it follows.
  int ready = 0;

  [[nodiscard]] const Work* work() const { return std::get_if<Work>(&what); }
  [[nodiscard]] const Transfer* transfer() const { return std::get_if<Transfer>(&what); }
};
using Steps = std::vector<Step>;

/// A tensor that the forward pass leaves for the backward pass.
struct SavedTensor {
  std::string name;
  double bytes = 0;
  std::string format;  ///< "bf16", "fp8_block", ...; "e5m6": 12 bits; "mask": a byte an element.
};

/// Everything that one GPU does for one part of a stage (a layer, the embedding, the head, an MTP
/// module) and one micro-batch, in order of execution. Between the lists lie the exchanges of a
/// mixture-of-experts layer:
///   forward:         before_dispatch | dispatch | experts | combine | after_combine
///   input gradient:  start | gradient of combine | experts | gradient of dispatch | finish
/// A part that does not exchange uses the same lists without the exchanges. Weight gradients may
/// run any time after the list they follow: experts_weight_gradient follows start and experts
/// together, finish_weight_gradient follows finish. `Step::ready` says how early they may.
struct PartWork {
  std::string name;  ///< "layer 7", "embedding", ...
  bool exchanges = false;
  /// The whole forward pass, exchanges included, runs again before the input gradient.
  bool recomputes_forward = false;
  Steps before_dispatch, experts, after_combine;
  Steps start_gradient, experts_gradient, finish_gradient;
  Steps experts_weight_gradient, finish_weight_gradient;
  std::vector<SavedTensor> saved;       ///< From forward to the end of the input gradient.
  std::vector<SavedTensor> recomputed;  ///< While the gradients of this part run.
  std::vector<SavedTensor> deferred;    ///< From the input gradient to the weight gradient.

  [[nodiscard]] double saved_bytes() const;
  [[nodiscard]] double recomputed_bytes() const;
  [[nodiscard]] double deferred_bytes() const;
  /// All eight lists, forward ones first.
  [[nodiscard]] std::vector<const Steps*> lists() const;
};

}  // namespace tessera::workload
