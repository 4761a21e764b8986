#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>

#include "tests/style/source_tree.hpp"

namespace tessera::style_test {
namespace {

const std::vector<std::string> kSources = {".hpp", ".cpp", ".cu", ".cuh"};

/// What each folder may include besides itself. The GPU model also sees the operators that it
/// times.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"sim/core", {}},
    {"models/device", {"sim/core"}},
    {"models/workload", {"sim/core"}},
    {"models/kernels", {"sim/core", "models/device", "models/workload"}},
    {"models/gpu", {"sim/core", "models/device", "models/workload", "models/kernels"}},
    {"models/fabric", {"sim/core", "models/device"}},
    {"models/streams",
     {"sim/core", "models/device", "models/workload", "models/kernels", "models/gpu",
      "models/fabric"}},
    {"models/training",
     {"sim/core", "models/device", "models/workload", "models/kernels", "models/gpu",
      "models/fabric", "models/streams"}},
    {"models/serving",
     {"sim/core", "models/device", "models/workload", "models/kernels", "models/gpu",
      "models/fabric", "models/streams"}},
    {"calibrate",
     {"sim/core", "models/device", "models/workload", "models/kernels", "models/gpu",
      "models/fabric", "models/streams", "models/training", "models/serving"}},
    {"reports", {"sim/core", "models/device"}},
    {"sim/app",
     {"sim/core", "models/device", "models/workload", "models/kernels", "models/gpu",
      "models/fabric", "models/streams", "models/training", "models/serving", "calibrate",
      "reports"}},
};

/// The layer that a path of the tree belongs to, "" when none.
std::string layer_of(const std::string& path) {
  for (const auto& [layer, unused] : kMayInclude)
    if (path.starts_with(layer + "/")) return layer;
  return "";
}

/// The path between the quotes or brackets of an #include line, with its opening mark; "" when the
/// line is something else.
std::string included(const std::string& text) {
  if (!text.starts_with("#include ")) return "";
  const std::size_t start = text.find_first_of("\"<");
  const std::size_t end = text.find_first_of("\">", start + 1);
  return start == std::string::npos ? "" : text.substr(start, end - start);
}

TEST_CASE("each layer includes only what the design lets it", "[style]") {
  std::size_t checked = 0;
  for (const auto& [layer, allowed] : kMayInclude) {
    for (const auto& file : files_below(layer, kSources)) {
      for (const Line& line : lines_of(file)) {
        const std::string path = included(line.text);
        if (!path.starts_with('"')) continue;
        ++checked;
        const std::string other = layer_of(path.substr(1));
        INFO(shown(file) << ":" << line.number << ": " << line.text);
        const bool generated = !std::filesystem::exists(core::data_root() / path.substr(1));
        CHECK((other == layer || allowed.contains(other) || (other.empty() && generated)));
      }
    }
  }
  CHECK(checked > 100);
}

TEST_CASE("every source file belongs to a layer", "[style]") {
  for (const std::string folder : {"sim", "models", "calibrate", "reports"}) {
    for (const auto& file : files_below(folder, kSources)) {
      INFO(shown(file));
      CHECK_FALSE(layer_of(shown(file)).empty());
    }
  }
}

TEST_CASE("only the core knows SystemC", "[style]") {
  for (const std::string folder : {"sim", "models", "calibrate", "reports", "tests"}) {
    for (const auto& file : files_below(folder, kSources)) {
      if (layer_of(shown(file)) == "sim/core") continue;
      for (const Line& line : lines_of(file)) {
        INFO(shown(file) << ":" << line.number << ": " << line.text);
        CHECK_FALSE(included(line.text).starts_with("<systemc"));
      }
    }
  }
}

TEST_CASE("files say what they hold in their name", "[style]") {
  const std::set<std::string> kEmptyNames = {"utils",   "util",   "common", "misc",
                                             "helpers", "helper", "base"};
  for (const std::string folder : {"sim", "models", "calibrate", "reports", "tests"}) {
    for (const auto& file : files_below(folder, kSources)) {
      INFO(shown(file));
      CHECK_FALSE(kEmptyNames.contains(file.stem().string()));
    }
  }
}

}  // namespace
}  // namespace tessera::style_test
