#include "calibrate/import_kineto.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "calibrate/kineto_trace.hpp"

namespace tessera::calibrate {
namespace {

/// Time stamps are doubles of 1e12 us and more, rounded by the profiler as well.
constexpr double kTimeStampError = 1.0;  // us, assumed

/// Of a collective; more is a mistake of the file.
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

/// Every distinct text once, by number.
class TextPool {
 public:
  int add(const std::string& text) {
    const auto [found, fresh] = numbers_.try_emplace(text, static_cast<int>(texts_.size()));
    if (fresh) texts_.push_back(&found->first);  // nodes of the map stay where they are
    return found->second;
  }
  [[nodiscard]] const std::string& at(int number) const {
    return *texts_[static_cast<std::size_t>(number)];
  }

 private:
  std::unordered_map<std::string, int> numbers_;
  std::vector<const std::string*> texts_;
};

struct Kernel {
  std::int64_t external, correlation;
  double duration_us;
  int name;
  int device;
  int collective;  ///< In the pool of collectives; -1 for kernels of other families.
};

struct Operator {
  std::int64_t external;
  double begin_us, end_us;
  int name, inputs;
};

struct Launch {
  std::int64_t correlation;
  double begin_us;
  bool of_graph;
};

/// What a sample is about; samples of equal keys make a row.
struct Key {
  int device = -1;
  int kernel = 0;
  int operator_name = -1;
  int inputs = -1;
  int collective = -1;
  int kernels = 1;
  std::string why_unknown;  ///< Why no operator was found; "" when one was, or none is needed.
  friend auto operator<=>(const Key&, const Key&) = default;
};

constexpr const char* kSeparator = "\n";  ///< Between lists of inputs; JSON text has none.

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == *kSeparator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class Importer {
 public:
  explicit Importer(const ImportRules& rules) : rules_(rules) {}

  void device(std::int64_t id, const std::string& name) { devices_[id] = rules_.gpu(name); }

  void event(const TraceEvent& event) {
    const std::string& category = event.category;
    if (category == "kernel" || category == "Kernel") {
      kernel(event);
    } else if (category == "cpu_op" || category == "Operator") {
      if (event.external >= 0) add_operator(event);
    } else if (category == "cuda_runtime" || category == "cuda_driver" || category == "Runtime") {
      if (event.correlation >= 0)
        launches_.push_back({event.correlation, event.begin_us,
                             event.name.find("GraphLaunch") != std::string::npos});
    } else if (category.starts_with("gpu_mem") || category.starts_with("Mem")) {
      ++import_.skipped["copies and fills of memory, which are no kernels"];
    }
  }

  Import finish(const TraceHeader& header) {
    nccl_version_ = header.nccl_version;
    std::sort(operators_.begin(), operators_.end(), [](const Operator& a, const Operator& b) {
      return std::tie(a.external, a.begin_us) < std::tie(b.external, b.begin_us);
    });
    std::sort(launches_.begin(), launches_.end(),
              [](const Launch& a, const Launch& b) { return a.correlation < b.correlation; });
    sample_kernels();
    for (auto& [key, times] : samples_) import_.rows.push_back(row(key, times));
    std::stable_sort(import_.rows.begin(), import_.rows.end(), before);
    add_notes();
    return std::move(import_);
  }

 private:
  void kernel(const TraceEvent& event) {
    if (event.duration_us < 0) {
      ++import_.skipped["kernels without a duration"];
      return;
    }
    const int collective = event.collective.empty() ? -1 : collective_of(event);
    kernels_.push_back({event.external, event.correlation, event.duration_us,
                        names_.add(event.name), static_cast<int>(event.device), collective});
  }

  void add_operator(const TraceEvent& event) {
    const std::string inputs = event.dims + kSeparator + event.types + kSeparator + event.concretes;
    const bool known = rules_.operator_rule(event.name) != nullptr;
    operators_.push_back({event.external, event.begin_us,
                          event.begin_us + std::max(0.0, event.duration_us), names_.add(event.name),
                          known ? inputs_.add(inputs) : -1});
  }

  /// Numbers first: names are text of the file and may hold the separator.
  int collective_of(const TraceEvent& event) {
    return collectives_.add(fmt::format(
        "{}\n{}\n{}\n{}\n{}", std::max(event.in_elements, event.out_elements), event.ranks,
        event.uneven ? "uneven" : "", event.element_type, event.collective));
  }

  /// The operator that was running when the kernel was launched, or why none is known.
  const Operator* operator_of(const Kernel& kernel, std::string& why) const {
    const auto launch = std::lower_bound(
        launches_.begin(), launches_.end(), kernel.correlation,
        [](const Launch& a, std::int64_t correlation) { return a.correlation < correlation; });
    if (launch == launches_.end() || launch->correlation != kernel.correlation) {
      why = "kernels whose launch is not in the trace";
      return nullptr;
    }
    if (launch->of_graph) {
      why = "kernels of a CUDA graph, whose launch names no operator";
      return nullptr;
    }
    const auto first = std::lower_bound(
        operators_.begin(), operators_.end(), kernel.external,
        [](const Operator& a, std::int64_t external) { return a.external < external; });
    if (kernel.external < 0 || first == operators_.end() || first->external != kernel.external) {
      why = "kernels that no recorded operator launched";
      return nullptr;
    }
    for (auto at = first; at != operators_.end() && at->external == kernel.external; ++at)
      if (launch->begin_us >= at->begin_us - kTimeStampError &&
          launch->begin_us <= at->end_us + kTimeStampError)
        return &*at;
    why = "kernels whose operator was not running when they were launched";
    return nullptr;
  }

  void sample_kernels() {
    std::vector<std::pair<const Operator*, const Kernel*>> owned;
    for (const Kernel& kernel : kernels_) {
      if (kernel.collective >= 0) {
        samples_[{.device = kernel.device, .kernel = kernel.name, .collective = kernel.collective}]
            .push_back(kernel.duration_us);
        continue;
      }
      Key key{.device = kernel.device, .kernel = kernel.name};
      const Operator* owner = operator_of(kernel, key.why_unknown);
      if (owner != nullptr && owner->inputs >= 0) {
        owned.emplace_back(owner, &kernel);
        continue;
      }
      if (owner != nullptr) key.operator_name = owner->name;
      samples_[key].push_back(kernel.duration_us);
    }
    // Both point into lists, so that the order is that of operators and kernels in the file.
    std::sort(owned.begin(), owned.end());
    std::vector<const Kernel*> call;
    for (std::size_t i = 0; i < owned.size(); ++i) {
      call.push_back(owned[i].second);
      if (i + 1 < owned.size() && owned[i + 1].first == owned[i].first) continue;
      sample_call(*owned[i].first, call);
      call.clear();
    }
  }

  /// All kernels of one call of an operator: named for the longest, timed by their sum.
  void sample_call(const Operator& owner, const std::vector<const Kernel*>& kernels) {
    const Kernel* longest = kernels.front();
    double sum = 0;
    for (const Kernel* kernel : kernels) {
      if (kernel->duration_us > longest->duration_us) longest = kernel;
      sum += kernel->duration_us;
    }
    samples_[{.device = longest->device,
              .kernel = longest->name,
              .operator_name = owner.name,
              .inputs = owner.inputs,
              .kernels = static_cast<int>(kernels.size())}]
        .push_back(sum);
  }

  ImportedRow row(const Key& key, std::vector<double>& times) {
    ImportedRow row;
    row.kernel = names_.at(key.kernel);
    const auto device = devices_.find(key.device);
    if (device != devices_.end()) row.gpu = device->second;
    row.framework = "pytorch";
    if (key.collective >= 0) {
      describe_collective(key, row);
    } else if (key.inputs >= 0) {
      describe_call(key, row);
    } else {
      describe_kernel(key, row);
    }
    row.calls = times.size();
    for (const double time : times) row.total_us += time;
    const auto [least, most] = std::minmax_element(times.begin(), times.end());
    row.more = {{"calls", std::to_string(times.size())},
                {"min_us", fmt::format("{:.3f}", *least)},
                {"max_us", fmt::format("{:.3f}", *most)},
                {"kernels", std::to_string(key.kernels)},
                {"operator", std::string{key.operator_name >= 0 ? names_.at(key.operator_name)
                                                                : std::string{}}}};
    row.latency_us = median(times);
    return row;
  }

  void describe_call(const Key& key, ImportedRow& row) {
    const std::vector<std::string> lists = split(inputs_.at(key.inputs));
    const OperatorRule& rule = *rules_.operator_rule(names_.at(key.operator_name));
    const OperatorShape shape =
        shape_of(rule, OperatorInputs::parse(lists[0], lists[1], lists[2], rules_.types()));
    row.file = shape.file;
    row.family = shape.family;
    row.op = shape.op;
    row.dtype = shape.dtype;
    row.shape = shape.shape;
    row.why_unknown = lists[0].empty() ? "operators without inputs: profile with record_shapes=True"
                                       : shape.why_unknown;
  }

  void describe_kernel(const Key& key, ImportedRow& row) {
    row.family = rules_.family(row.kernel);
    row.shape = unknown_shape(row.family);
    if (row.family == KernelFamily::other) {
      row.why_unknown = "kernels of other families, which no measurement file has";
    } else if (row.family == KernelFamily::nccl) {
      row.why_unknown = "kernels of NCCL without sizes: the trace has them since PyTorch 2.2";
    } else if (key.operator_name >= 0) {
      row.why_unknown =
          fmt::format("kernels of {}, whose inputs give no shape", names_.at(key.operator_name));
    } else {
      row.why_unknown = key.why_unknown;
    }
  }

  void describe_collective(const Key& key, ImportedRow& row) {
    const std::vector<std::string> parts = split(collectives_.at(key.collective));
    row.family = KernelFamily::nccl;
    row.framework = "torch.distributed-nccl";
    row.op = "nccl";
    if (!nccl_version_.empty()) row.version = nccl_version_;
    row.shape = unknown_shape(row.family);
    const std::int64_t elements = std::stoll(parts[0]);
    const std::int64_t ranks = std::stoll(parts[1]);
    const auto* type = rules_.collective_type(parts[3]);
    const std::string collective = rules_.collective(parts[4]);
    if (type != nullptr) row.dtype = type->name;
    const bool sized = elements >= 0 && elements < kMostElements && ranks > 0;
    if (collective.empty() || type == nullptr || !sized) {
      row.why_unknown = fmt::format("collectives '{}' of '{}'", parts[4], parts[3]);
    } else if (!parts[2].empty()) {
      row.why_unknown = "collectives that split unevenly";
    } else {
      row.file = "comm_nccl";
      row.shape = {{"collective", collective},
                   {"ranks", parts[1]},
                   {"bytes", std::to_string(elements * type->bytes)}};
    }
  }

  void add_notes() {
    const auto is_nccl = [](const ImportedRow& row) { return row.family == KernelFamily::nccl; };
    import_.notes.emplace_back(
        "a call's latency is the sum of its kernels; gaps between them, and caches left warm by "
        "the kernels before, are as they were in the run");
    if (std::any_of(import_.rows.begin(), import_.rows.end(), is_nccl))
      import_.notes.emplace_back(
          "NCCL's kernels wait for the slowest rank: their times are upper bounds, min_us is "
          "nearest");
  }

  /// Families, then names and shapes: an order that does not depend on the order of events.
  static bool before(const ImportedRow& a, const ImportedRow& b) {
    return std::tie(a.family, a.op, a.gpu, a.dtype, a.kernel, a.shape, a.more) <
           std::tie(b.family, b.op, b.gpu, b.dtype, b.kernel, b.shape, b.more);
  }

  const ImportRules& rules_;
  TextPool names_, inputs_, collectives_;
  std::map<std::int64_t, std::string> devices_;
  std::vector<Kernel> kernels_;
  std::vector<Operator> operators_;
  std::vector<Launch> launches_;
  std::map<Key, std::vector<double>> samples_;
  std::string nccl_version_;
  Import import_;
};

}  // namespace

Import import_kineto(std::istream& text, const std::string& file, const ImportRules& rules) {
  Importer importer{rules};
  const TraceConsumer consumer{
      .event = [&](const TraceEvent& event) { importer.event(event); },
      .device = [&](std::int64_t id, const std::string& name) { importer.device(id, name); }};
  const TraceHeader header = read_kineto_trace(text, file, consumer);
  return importer.finish(header);
}

}  // namespace tessera::calibrate
