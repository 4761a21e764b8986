#include "models/kernels/tile_program.hpp"

#include <map>
#include <new>
#include <vector>

namespace tessera::kernels {
namespace {

/// Freed frames by size. One thread drives a GPU, so the list is the thread's own.
class FramePool {
 public:
  void* take(std::size_t size) {
    auto& frames = free_[size];
    if (frames.empty()) return ::operator new(size);
    void* frame = frames.back();
    frames.pop_back();
    return frame;
  }
  void give(void* frame, std::size_t size) { free_[size].push_back(frame); }
  ~FramePool() {
    for (auto& [size, frames] : free_)
      for (void* frame : frames) ::operator delete(frame);
  }

 private:
  std::map<std::size_t, std::vector<void*>> free_;
};

FramePool& pool() {
  thread_local FramePool frames;
  return frames;
}

}  // namespace

void* TileProgram::promise_type::operator new(std::size_t size) { return pool().take(size); }
void TileProgram::promise_type::operator delete(void* frame, std::size_t size) noexcept {
  pool().give(frame, size);
}

}  // namespace tessera::kernels
