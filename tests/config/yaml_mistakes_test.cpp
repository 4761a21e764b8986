#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

namespace fs = std::filesystem;
using core::ConfigDocument;

/// A reader of one small document: {size: bytes, names: [text, ...]}.
void read(const std::string& text, const std::vector<core::Override>& overrides) {
  const ConfigDocument document =
      ConfigDocument::from_text(text, "a.yaml", {.kind = "thing", .overrides = overrides});
  static_cast<void>(document.root().optional_quantity<core::Bytes>("size", core::Bytes{1},
                                                                   core::Bytes{1'000'000'000'000}));
  if (document.root().has("names")) static_cast<void>(document.root().texts("names"));
  document.finish();
}

TEST_CASE("text that is not plain YAML is refused at its place", "[config][yaml]") {
  check_rows(
      {
          {"size: 1 GB\n", {}, ""},
          {"\xef\xbb\xbfsize: 1 GB\n", {}, ""},
          {"size: 1 GB\r\n", {}, ""},
          {"size:\n\t1 GB\n",
           {},
           "a.yaml:2:1: error: found a tab in the indentation; expected spaces"},
          {"size: 1 GB\nnames: [a, b\n",
           {},
           "a.yaml:3:1: error: found text that is not YAML (end of sequence flow not found)"},
          {std::string("size: 1\0 GB\n", 12),
           {},
           "a.yaml:1:8: error: found the byte 0x00; expected UTF-8 text"},
          {"size: \xff GB\n", {}, "a.yaml:1:7: error: found the byte 0xff; expected UTF-8 text"},
          {"size: !!binary 1 GB\n",
           {},
           "a.yaml:1:7: error: found the tag 'tag:yaml.org,2002:binary'; tags mean nothing here"},
          {"? [a, b]\n: 1\n", {}, "a.yaml:1:3: error: found a list as a key; expected a name"},
          {"size: 1 GB\n---\nsize: 2 GB\n",
           {},
           "a.yaml:3:1: error: found a second document; expected one"},
          {"names: &a [*a]\n", {}, "a.yaml:1:12: error: found an alias that contains itself"},
          {"names: *b\n",
           {},
           "a.yaml:1:8: error: found text that is not YAML (the referenced anchor is not defined)"},
      },
      read);
}

TEST_CASE("bombs are refused before they go off", "[config][yaml]") {
  std::string aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int level = 1; level < 10; ++level) {
    std::string items;
    for (int i = 0; i < 10; ++i) items += fmt::format("{}*a{}", i == 0 ? "" : ", ", level - 1);
    aliases += fmt::format("a{}: &a{} [{}]\n", level, level, items);
  }
  CHECK(messages_of([&] { read(aliases, {}); }) ==
        "a.yaml:5:10: error: found more than 20000 values after expanding aliases");
  const std::string nested = "names: " + std::string(100, '[') + std::string(100, ']') + "\n";
  CHECK(messages_of([&] { read(nested, {}); }) ==
        "a.yaml:1:71: error: found nesting deeper than 64 levels");
  CHECK(messages_of([&] {
          read("names: " + std::string(500'000, '['), {});
        }).ends_with("error: found nesting deeper than 64 levels"));
  std::string dashes;
  for (int i = 0; i < 200'000; ++i) dashes += "- ";
  CHECK(messages_of([&] { read(dashes, {}); }) ==
        "a.yaml:1:129: error: found nesting deeper than 64 levels");
  CHECK(messages_of([&] { read(std::string(2'000'000, '#'), {}); }) ==
        "a.yaml: error: found 2000000 bytes; expected at most 1048576");
}

/// A data root of its own with files that a test writes.
class Folder {
 public:
  Folder() {
    root_ = fs::temp_directory_path() / fs::path("tessera_config_test_XXXXXX");
    std::string name = root_.string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
    fs::create_directories(root_ / "hw_configs/things");
  }
  ~Folder() { fs::remove_all(root_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / "hw_configs/things" / name) << text;
  }
  [[nodiscard]] const fs::path& root() const { return root_; }
  [[nodiscard]] std::string load(const std::string& name) const {
    return messages_of([&] {
      const core::LoadOptions options{
          .kind = "thing", .folder = "hw_configs/things", .data_root = root_};
      const ConfigDocument document = ConfigDocument::load(name, options);
      static_cast<void>(document.root().optional_integer("count", 1, 9));
      if (const auto map = document.root().optional_object("map"); map.present())
        for (const std::string& key : map.keys()) static_cast<void>(map.integer(key, 1, 9));
      document.finish();
    });
  }

 private:
  fs::path root_;
};

TEST_CASE("mistakes of extends are reported where it stands", "[config][extends]") {
  const Folder folder;
  folder.write("a.yaml", "extends: b\n");
  folder.write("b.yaml", "count: 3\nextends: c\n");
  folder.write("c.yaml", "extends: a\n");
  CHECK(folder.load("a") ==
        "hw_configs/things/c.yaml:1:10: error: extends: found a cycle: a -> b -> c -> a");
  folder.write("self.yaml", "extends: self\n");
  CHECK(folder.load("self") ==
        "hw_configs/things/self.yaml:1:10: error: extends: found a cycle: self -> self");
  folder.write("link0.yaml", "count: 1\n");
  for (int i = 1; i < 20; ++i)
    folder.write(fmt::format("link{}.yaml", i), fmt::format("extends: link{}\n", i - 1));
  CHECK(folder.load("link15").empty());
  CHECK(folder.load("link16") ==
        "hw_configs/things/link1.yaml:1:10: error: extends: found a chain of more than 16 files");
  for (int i = 0; i < 20; ++i)
    fs::remove(folder.root() / "hw_configs/things" / fmt::format("link{}.yaml", i));
  folder.write("escape.yaml", "extends: ../../../../../../etc/passwd\n");
  CHECK(
      folder.load("escape") ==
      "hw_configs/things/escape.yaml:1:10: error: extends: found "
      "'../../../../../../etc/passwd', which leads out of the configuration; expected a name or a "
      "relative path inside it");
  folder.write("absolute.yaml", "extends: /etc/hostname\n");
  CHECK(folder.load("absolute") ==
        "hw_configs/things/absolute.yaml:1:10: error: extends: found '/etc/hostname', which leads "
        "out of the configuration; expected a name or a relative path inside it");
  fs::create_symlink("/etc/hostname", folder.root() / "hw_configs/things/link.yaml");
  folder.write("through_link.yaml", "extends: ./link.yaml\n");
  CHECK(
      folder.load("through_link") ==
      "hw_configs/things/through_link.yaml:1:10: error: extends: found './link.yaml', which leads "
      "out of the configuration; expected a name or a relative path inside it");
  folder.write("list.yaml", "extends: [a, b]\n");
  CHECK(folder.load("list") ==
        "hw_configs/things/list.yaml:1:1: error: extends: found a list; expected the name of a "
        "thing");
  folder.write("typo.yaml", "extends: slef\n");
  CHECK(folder.load("typo") ==
        "hw_configs/things/typo.yaml:1:10: error: extends: found 'slef'; expected one of a, "
        "absolute, "
        "b, c, escape, link, list, self, through_link or typo (did you mean 'self'?)");
}

TEST_CASE("a chain of extends merges maps deeply and the child wins", "[config][extends]") {
  const Folder folder;
  folder.write("base.yaml", "count: 1\nmap: {x: 1, y: 2, z: 3}\n");
  folder.write("middle.yaml", "extends: base\nmap: {y: 5, z: ~}\n");
  folder.write("top.yaml", "extends: ./middle.yaml\ncount: 7\n");
  CHECK(folder.load("top").empty());
  const ConfigDocument document = ConfigDocument::load(
      "top", {.kind = "thing", .folder = "hw_configs/things", .data_root = folder.root()});
  CHECK(document.resolved(false).dump() == R"({"count":7,"map":{"x":1,"y":5}})");
  CHECK(
      document.to_yaml(true) ==
      "count: 7                                    # hw_configs/things/top.yaml:2:8\n"
      "map:\n"
      "  x: 1                                      # hw_configs/things/base.yaml:2:10, inherited\n"
      "  y: 5                                      # hw_configs/things/middle.yaml:2:10, "
      "inherited\n");
  folder.write("wrong.yaml", "count: 10\n");
  folder.write("child.yaml", "extends: wrong\nmap: {x: 1}\n");
  CHECK(
      folder.load("child") ==
      "hw_configs/things/wrong.yaml:1:8: error: count: found '10'; expected an integer in [1, 9]");
}

TEST_CASE("a user's file finds its neighbours, and the shipped file of its own name",
          "[config][extends]") {
  const Folder folder;
  folder.write("machine.yaml", "count: 4\n");
  const fs::path elsewhere = folder.root() / "elsewhere";
  fs::create_directory(elsewhere);
  std::ofstream(elsewhere / "machine.yaml") << "extends: machine\nmap: {x: 1}\n";
  std::ofstream(elsewhere / "other.yaml") << "extends: machine\ncount: 5\n";
  const fs::path before = fs::current_path();
  fs::current_path(elsewhere);
  CHECK(folder.load("machine.yaml").empty());
  CHECK(folder.load("./other.yaml").empty());
  const ConfigDocument document = ConfigDocument::load(
      "other.yaml", {.kind = "thing", .folder = "hw_configs/things", .data_root = folder.root()});
  fs::current_path(before);
  CHECK(document.resolved(false).dump() == R"({"count":5,"map":{"x":1}})");
}

TEST_CASE("what cannot be read as a file is named", "[config][files]") {
  const Folder folder;
  folder.write("a.yaml", "count: 1\n");
  CHECK(folder.load("b") == "tessera: error: thing: found 'b'; expected a (did you mean 'a'?)");
  CHECK(folder.load("./b.yaml") == "tessera: error: thing: found './b.yaml', which does not exist");
  CHECK(folder.load("../secret") ==
        "tessera: error: thing: found '../secret', which does not exist");
  fs::create_directory(folder.root() / "hw_configs/things/d.yaml");
  CHECK(folder.load("d") == "hw_configs/things/d.yaml: error: found a folder; expected a file");
  CHECK(folder.load("/dev/zero") ==
        "/dev/zero: error: found something that is not a regular file; expected a file");
  fs::resize_file(folder.root() / "hw_configs/things/a.yaml", 3'000'000);
  CHECK(folder.load("a") ==
        "hw_configs/things/a.yaml: error: found 3000000 bytes; expected at most 1048576");
}

TEST_CASE("mistakes of a fit are reported where they stand", "[config][fit]") {
  check_rows(
      {
          {"parameters:\n  hbm.reachable: {value: 0.9, unit: \"1\", standard_error: 0.01, grade: "
           "fitted, source: half}\nresiduals: {free: [1, 2]}\n",
           {},
           ""},
          {"parameters:\n  hbm.reachable: {value: 0.9, unit: \"1\", grade: guess, source: half}\n",
           {},
           "f.yaml:2:3: error: parameters.hbm.reachable.standard_error: missing; expected a number "
           "in "
           "[0, 1e+18]\n"
           "f.yaml:2:49: error: parameters.hbm.reachable.grade: found 'guess'; expected one of "
           "measured, fitted, transferred or assumed"},
          {"parameters:\n  hbm.reachable: {value: 0.9, unit: \"1\", standard_error: 0.01, grade: "
           "fitted, source: half}\n",
           {"parameters.hbm.reachable.value=much"},
           "--set:1:32: error: parameters.hbm.reachable.value: found 'much'; expected a number in "
           "[-1e+18, 1e+18]"},
          {"parameters: 3\n", {}, "f.yaml:1:13: error: parameters: found '3'; expected a map"},
      },
      [](const std::string& text, const std::vector<core::Override>& overrides) {
        core::LoadOptions options = device::fit_options();
        options.overrides = overrides;
        static_cast<void>(device::read_fit(ConfigDocument::from_text(text, "f.yaml", options)));
      });
}

}  // namespace
}  // namespace tessera::config_test
