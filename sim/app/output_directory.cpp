#include "sim/app/output_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& message) {
  throw core::ConfigError({"--out", 0, 0},
                          fmt::format("found '{}', {}", path.generic_string(), message));
}

void check_content(const fs::path& path, const std::set<std::string>& files) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (!files.contains(name) || !entry.is_regular_file())
      fail(path, fmt::format("which holds '{}'; expected a new folder or one that holds nothing "
                             "but earlier results",
                             name));
  }
  if (error) fail(path, "which cannot be read");
}

/// Removes a folder at the end of a scope, unless it has been moved away.
class Removal {
 public:
  explicit Removal(fs::path path) : path_(std::move(path)) {}
  ~Removal() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Removal(const Removal&) = delete;
  Removal& operator=(const Removal&) = delete;

 private:
  fs::path path_;
};

}  // namespace

OutputDirectory::OutputDirectory(const fs::path& path, const std::set<std::string>& files)
    : path_(fs::absolute(path).lexically_normal()) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "results/"
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  if (fs::exists(status)) {
    if (!fs::is_directory(status)) fail(path, "which is not a folder; expected a folder");
    check_content(path_, files);
  }
  const fs::path parent = path_.parent_path();
  if (!fs::is_directory(parent, error))
    fail(path, fmt::format("whose parent folder '{}' does not exist", parent.generic_string()));
  if (access(parent.c_str(), W_OK | X_OK) != 0)
    fail(path, fmt::format("whose parent folder '{}' cannot be written", parent.generic_string()));
}

void OutputDirectory::commit(const std::function<void(const fs::path&)>& write) const {
  std::string pattern =
      (path_.parent_path() / fmt::format(".{}.XXXXXX", path_.filename().string())).string();
  if (mkdtemp(pattern.data()) == nullptr)
    throw std::system_error(errno, std::generic_category(), "cannot make " + pattern);
  const fs::path fresh = pattern;
  const Removal removal{fresh};  // after the exchange: the earlier results
  fs::permissions(fresh, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                             fs::perms::others_read | fs::perms::others_exec);
  write(fresh);
  if (fs::exists(path_)) {
    if (renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0) return;
    fs::remove_all(path_);  // a file system that cannot exchange
  }
  fs::rename(fresh, path_);
}

}  // namespace tessera::app
