#pragma once

#include <filesystem>

namespace tessera::app {

/// Who works on a file, told by a lock on "FILE.lock" beside it; the system lets go of the locks
/// of a program that dies. The lock's file is gone when the last one has left.
class SharedFileLock {
 public:
  /// Joins those who work on the file; waits while one has it for itself. Throws
  /// std::system_error when no lock can be had there.
  explicit SharedFileLock(const std::filesystem::path& file);
  ~SharedFileLock();
  SharedFileLock(const SharedFileLock&) = delete;
  SharedFileLock& operator=(const SharedFileLock&) = delete;

  /// Whether nobody else was at work when this one joined.
  [[nodiscard]] bool was_first() const { return was_first_; }

  /// Leaves the others. True when there are none: the file is then this program's alone until this
  /// object ends. Of several that leave together, the last one gets true.
  [[nodiscard]] bool take_alone();

 private:
  void open();
  [[nodiscard]] bool is_current() const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool was_first_ = false;
  bool alone_ = false;
};

}  // namespace tessera::app
