#include "models/training/assumptions.hpp"

#include <fmt/format.h>

#include <cmath>

namespace tessera::training {
namespace {

using Sentences = std::vector<std::string>;

std::string stage_list(const std::vector<Stage>& stages) {
  Sentences texts;
  for (const Stage& stage : stages) {
    Sentences entries;
    for (const StageEntry& entry : stage) entries.push_back(to_string(entry));
    texts.push_back(fmt::format("[{}]", fmt::join(entries, " ")));
  }
  return fmt::format("{}", fmt::join(texts, " "));
}

void of_layout(const TrainingJob& job, const Layout& layout, Sentences& list) {
  if (job.stages.empty() && layout.placement().stages() > 1) {
    list.push_back(
        "Layers per pipeline stage are Tessera's choice: " + stage_list(layout.stages()) + ".");
  }
  const bool experts = job.architecture.has_experts();
  list.push_back(fmt::format(
      "Parameters are reduced over every GPU that holds them: {}{}.", layout.dense_group(0).size(),
      experts ? fmt::format(" for dense ones, {} for experts{}", layout.routed_group(0).size(),
                            layout.placement().copies() > 1
                                ? " (a stage and its mirror hold the same under DualPipe)"
                                : "")
              : ""));
}

void of_gradients(const TrainingJob& job, Sentences& list) {
  const auto wire = core::to_string(job.reduce_in.value_or(job.precision.gradients));
  if (shards_gradients(job.sharding)) {
    list.push_back(fmt::format(
        "Gradients are reduced in {} after every layer of every micro-batch, beside the layers "
        "that follow.",
        wire));
    return;
  }
  switch (job.reduction) {
    case ReductionOverlap::exposed:
      list.push_back(fmt::format(
          "Gradients are reduced in {} after a rank's last chunk; that is not overlapped.", wire));
      break;
    case ReductionOverlap::overlapped:
      list.push_back(fmt::format(
          "Gradients are reduced in {} a stage at a time; that overlaps with the chunks that "
          "follow and slows none.",
          wire));
      break;
    case ReductionOverlap::bucketed:
      list.push_back(fmt::format(
          "Gradients are reduced in {} a bucket at a time beside the last backward chunk of each "
          "stage; what is left then slows no chunk that follows.",
          wire));
      break;
  }
}

void of_weights(const TrainingJob& job, Sentences& list) {
  if (job.sharding == Sharding::none) return;
  const bool low = job.gather_low_precision && job.precision.linear != core::DataType::bf16;
  list.push_back(fmt::format("Weights are gathered in {}.",
                             low ? fmt::format("{} (norms, gates, embedding and head in bf16)",
                                               core::to_string(job.precision.linear))
                                 : "bf16"));
  if (shards_weights(job.sharding)) {
    list.push_back(fmt::format(
        "Every layer's weights are gathered before its forward{}, {}; embedding and head stay "
        "gathered in between.",
        job.reshard_after_forward ? " and again before its backward" : "",
        job.prefetch == Prefetch::none   ? "and nothing runs meanwhile"
        : job.prefetch == Prefetch::both ? "the next one's beside its computation, two at most"
        : job.prefetch == Prefetch::after
            ? "forward the next one's beside its computation; backward when the gradients of the "
              "one before are computed, ahead of their reduction"
            : "forward the next one's beside its computation; backward after the reduction of the "
              "one before"));
  } else if (job.gather == GatherOverlap::exposed) {
    list.push_back("Gathering parameters is not overlapped with the next step's forward chunks.");
  } else {
    list.push_back(
        "Parameters are gathered beside the next step's first forward chunk, on later stages while "
        "they wait for it.");
  }
  if (job.precision.linear == core::DataType::fp8_block) {
    list.push_back("FP8 weights are transposed after gathering.");
  }
}

void of_communication(const TrainingJob& job, const StepModel& model, Sentences& list) {
  if (job.expert > 1) {
    list.push_back(
        "Exchanges in the backward pass cost as their mirrors do: the combine's gradient as a "
        "dispatch, the dispatch's gradient as a combine, with the same number formats.");
  }
  if (model.layout().ranks() > 1) {
    list.push_back(
        "A pipeline message leaves when its result is complete; messages of one GPU go one after "
        "the other and do not slow expert exchanges. Those of an interleaved schedule that leave a "
        "node take two SMs, others none.");
  }
  if (job.tensor > 1 || job.context > 1 || shards_gradients(job.sharding)) {
    list.push_back(
        "Collectives of different groups that run at the same time do not slow each other; they "
        "take SMs and memory bandwidth from the kernels beside them.");
  }
  list.push_back(fmt::format(
      "Every data-parallel replica does {}; replicas are folded into one pipeline.",
      job.architecture.has_experts()
          ? fmt::format("as the one with the hottest expert rank ({:.2f} times the mean rows)",
                        model.load().skew)
          : "the same"));
}

void of_kernels(const TrainingJob& job, Sentences& list) {
  if (job.precision.linear == core::DataType::fp8_block) {
    list.push_back(
        "Norms, SwiGLU and attention's rotary are kernels of their own; norms and forward SwiGLU "
        "write their FP8 copies, other casts and all residual additions are kernels of their own.");
  }
  if (job.architecture.has_experts()) {
    list.push_back(
        "Dispatched rows are permuted to expert order and back by kernels on the computing SMs.");
  }
  if (job.part_spread > 0 && job.gpus > 1) {
    list.push_back(fmt::format(
        "Kernels at the power limit take as long as on the slowest of {} GPUs: {:.1f} % more than "
        "on the mean one.",
        job.gpus, 100 * job.part_spread * streams::expected_largest(job.gpus)));
  }
  if (job.unexplained > 0) {
    list.push_back(fmt::format(
        "Intervals count {:.0f} % for what frameworks leave unexplained beside their kernels: no "
        "training framework was measured, measured servers of inference leave as much.",
        100 * (std::exp(job.unexplained) - 1)));
  }
  list.push_back("The loss keeps the logits' gradient in bf16 until the head's input gradient.");
}

}  // namespace

std::vector<std::string> assumptions(const TrainingJob& job, const StepModel& model) {
  Sentences list;
  of_layout(job, model.layout(), list);
  of_gradients(job, list);
  of_weights(job, list);
  of_communication(job, model, list);
  of_kernels(job, list);
  list.push_back(
      fmt::format("Memory counts {:.1f} GB for CUDA context, libraries and fragmentation.",
                  static_cast<double>(job.reserved.value()) / 1e9));
  list.push_back(
      "MFU counts the main model's matrix products (head included; embedding, MTP and "
      "recomputation excluded) against the device's peak at its quoted clock.");
  return list;
}

}  // namespace tessera::training
