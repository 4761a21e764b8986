#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;

/// Runs a bash command with sim/setup.sh sourced; returns what it wrote to stdout.
std::string setup_shell(const std::string& command) {
  const std::string line = "bash -c 'source " TESSERA_SOURCE_DIR "/sim/setup.sh; " + command + "'";
  FILE* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  pclose(pipe);
  return output;
}

/// An apt configuration directory with one source file, removed at the end.
struct AptDirectory {
  fs::path path;

  AptDirectory(const std::string& file, const std::string& text) {
    std::string name = fs::temp_directory_path() / "tessera_apt_XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
    fs::create_directories((path / file).parent_path());
    std::ofstream{path / file} << text;
  }
  ~AptDirectory() { fs::remove_all(path); }
  [[nodiscard]] std::string backports() const {
    return setup_shell("backports_source " + path.string() + " bookworm");
  }
};

}  // namespace

TEST_CASE("the backports suite comes from the machine's own deb822 sources", "[setup]") {
  const AptDirectory apt{"sources.list.d/debian.sources",
                         "# a comment\nTypes: deb deb-src\nURIs: http://mirror.example/security\n"
                         "Suites: bookworm-security\nComponents: main\n\n"
                         "Types: deb\nURIs: http://mirror.example/debian\n"
                         "Suites: bookworm bookworm-updates\nComponents: main\n"
                         "Signed-By: /usr/share/keyrings/archive.gpg\n"};
  CHECK(apt.backports() ==
        "sources\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\n"
        "Components: main\nSigned-By: /usr/share/keyrings/archive.gpg\n");
}

TEST_CASE("a deb822 entry that is off or has only sources is not taken", "[setup]") {
  const AptDirectory apt{"sources.list.d/debian.sources",
                         "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\n"
                         "Components: main\n\nTypes: deb-src\nURIs: http://src.example\n"
                         "Suites: bookworm\nComponents: main\n"};
  CHECK(apt.backports().empty());
}

TEST_CASE("the backports suite comes from one-line sources, options kept", "[setup]") {
  const AptDirectory apt{"sources.list",
                         "deb-src http://mirror.example/debian bookworm main\n"
                         "deb http://mirror.example/security bookworm-security main\n"
                         "deb [ arch=amd64 signed-by=/k.gpg ] http://mirror.example/debian "
                         "bookworm main contrib\n"};
  CHECK(apt.backports() ==
        "list\ndeb [ arch=amd64 signed-by=/k.gpg ] http://mirror.example/debian "
        "bookworm-backports main contrib\n");
}

TEST_CASE("a package that dpkg does not know counts as missing", "[setup]") {
  CHECK(setup_shell("missing_packages dpkg no-such-package-of-tessera") ==
        "no-such-package-of-tessera\n");
}
