#include "sim/app/shared_file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace tessera::app {
namespace {

/// False when it would have to wait and may not.
bool lock(int descriptor, int operation) {
  while (flock(descriptor, operation) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "cannot lock");
  }
  return true;
}

}  // namespace

SharedFileLock::SharedFileLock(const std::filesystem::path& file) : path_(file.string() + ".lock") {
  for (;;) {
    open();
    was_first_ = lock(descriptor_, LOCK_EX | LOCK_NB);
    lock(descriptor_, LOCK_SH);
    if (is_current()) return;
    close(descriptor_);  // the last one to leave took the lock's file away meanwhile
  }
}

SharedFileLock::~SharedFileLock() {
  if (alone_) unlink(path_.c_str());
  close(descriptor_);
}

void SharedFileLock::open() {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw std::system_error(errno, std::generic_category(), "cannot make " + path_.string());
}

bool SharedFileLock::is_current() const {
  struct stat held {};
  struct stat named {};
  return fstat(descriptor_, &held) == 0 && stat(path_.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

bool SharedFileLock::take_alone() {
  // Let go first: two that both hold a share and both wait to be alone would never be.
  lock(descriptor_, LOCK_UN);
  alone_ = lock(descriptor_, LOCK_EX | LOCK_NB) && is_current();
  return alone_;
}

}  // namespace tessera::app
