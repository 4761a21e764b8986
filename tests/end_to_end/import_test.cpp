#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

/// An empty folder that is gone with the test.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / "tessera_import_XXXXXX") {
    std::string pattern = path_.string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
    return file(name);
  }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_;
};

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

const std::string kRun =
    "# Collective test starting: all_reduce_perf\n# Using devices\n"
    "#  Rank  0 Group  0 Pid 1 on n device  0 [0000:1b:00] NVIDIA H100 80GB HBM3\n"
    "#  Rank  1 Group  0 Pid 1 on n device  1 [0000:2b:00] NVIDIA H100 80GB HBM3\n"
    "#       size    count   type  redop  root   time  algbw  busbw #wrong   time  algbw  busbw "
    "#wrong\n"
    "     1048576   524288   half    sum    -1  21.50  48.77  48.77      0  21.25  49.34  49.34    "
    "  0\n"
    "# Avg bus bandwidth    : 49.0\n";

TEST_CASE("nccl-tests output is imported and its rows are predicted", "[import]") {
  const Folder folder;
  const std::string out = folder.file("comm_nccl.csv");
  const Outcome told =
      run_tessera("import nccl-tests " + folder.write("run.txt", kRun) + " --out " + out);
  REQUIRE(told.exit_code == 0);
  CHECK_THAT(told.output, ContainsSubstring("nccl               1         1     100.0 %"));
  CHECK_THAT(read(out), ContainsSubstring(",all_reduce,2,1048576,21.500,calib,sum,21.25,"));
  const std::string predicted = folder.file("predicted.csv");
  REQUIRE(run_tessera("kernel --batch " + out + " --out " + predicted).exit_code == 0);
  CHECK_THAT(read(predicted), ContainsSubstring("predicted_us"));
}

TEST_CASE("an import that fails ends with code 2, says where, and writes nothing", "[import]") {
  const Folder folder;
  const std::string cut = folder.write("cut.txt", kRun.substr(0, kRun.find("# Avg")));
  const std::string out = folder.file("rows.csv");
  const Outcome truncated = run_tessera("import nccl-tests " + cut + " --out " + out);
  CHECK(truncated.exit_code == 2);
  CHECK(truncated.output.empty());
  CHECK_THAT(truncated.errors, ContainsSubstring("cut.txt:5:1: error: the table that starts here"));
  const std::string packed = folder.write("t.json.gz", "\x1f\x8b\x08 x");
  const Outcome gzip = run_tessera("import nccl-tests " + packed + " --out " + out);
  CHECK(gzip.exit_code == 2);
  CHECK_THAT(gzip.errors, ContainsSubstring("found gzip, which Tessera does not unpack"));
  CHECK(run_tessera("import nccl-tests " + folder.file("none") + " --out " + out).exit_code == 2);
  CHECK(run_tessera("import nccl-tests " + cut + " --gpu h10 --out " + out).exit_code == 2);
  CHECK(folder.files() == 2);
  const std::string whole = folder.write("run.txt", kRun);
  CHECK(run_tessera("import nccl-tests " + whole + " --out " + folder.file("")).exit_code == 2);
}

}  // namespace
}  // namespace tessera::end_to_end
