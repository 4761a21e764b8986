#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "models/kernels/implementation_library.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::kernels {
namespace {

namespace fs = std::filesystem;

/// A user's file that is gone when the test ends.
struct OwnFile {
  explicit OwnFile(const std::string& name, const std::string& text) {
    std::string folder = fs::temp_directory_path() / "tessera_own_XXXXXX";
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    path = fs::path(folder) / name;
    std::ofstream(path) << text;
  }
  ~OwnFile() { fs::remove_all(path.parent_path()); }
  fs::path path;
};

constexpr const char* kOwn =
    "extends: cublas_hopper\ndefault_for: []\ntiles: [{m: 256, n: 128, schedule: cooperative}]\n"
    "costs: {step: 7 cycles}\n";

}  // namespace

TEST_CASE("a user's implementation takes the fits of what it extends, but for what it states",
          "[implementation]") {
  const OwnFile file("own_kernel.yaml", kOwn);
  auto library = ImplementationLibrary::load();
  REQUIRE(library.add(file.path.string()) == "own_kernel");
  std::vector<Implementation> all = library.all();
  REQUIRE(apply_cost(all, "cublas_hopper.step", 99));
  REQUIRE(apply_cost(all, "cublas_hopper.prologue", 1234));
  const ImplementationLibrary fitted{all};
  const Implementation* own = fitted.find("own_kernel");
  REQUIRE(own != nullptr);
  CHECK(own->tiles.size() == 1);
  CHECK(own->costs.step_cycles == 7);
  CHECK(own->costs.prologue_cycles == 1234);
  CHECK(fitted.find("cublas_hopper")->costs.step_cycles == 99);
  REQUIRE(apply_cost(all, "own_kernel.prologue", 5));
  CHECK(ImplementationLibrary{all}.find("cublas_hopper")->costs.prologue_cycles == 1234);
}

TEST_CASE("a name that is no implementation, or one that is taken, is refused",
          "[implementation]") {
  auto library = ImplementationLibrary::load();
  CHECK(library.add("cublas_hopper") == "cublas_hopper");
  CHECK_THROWS_AS(library.add("cublas_hoper"), core::ConfigError);
  const OwnFile taken("cublas_hopper.yaml", kOwn);
  CHECK_THROWS_AS(library.add(taken.path.string()), core::ConfigError);
}

}  // namespace tessera::kernels
