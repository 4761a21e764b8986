#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

/// The language of tile programs: a warp role is a coroutine that yields tile instructions; the GPU
/// model decides when each one completes and resumes the role.
namespace tessera::kernels {

/// Identifies the rectangle of a tensor that one load or store moves. Equal boxes are the same
/// bytes.
struct Box {
  std::uint32_t tensor = 0;  ///< Which operand; a tensor is always cut into the same boxes.
  std::uint32_t row = 0;     ///< Index of the box, not of the element.
  std::uint32_t column = 0;
  std::uint32_t bytes = 0;
  std::uint32_t filled = 0;  ///< What the copy engine's zeros beyond the tensor take of L2's rate,
                             ///< as bytes that nobody shares.
};

/// A barrier in the shared memory of a CTA: counts arrivals, never resets. Roles wait for a count.
using Barrier = std::uint16_t;
inline constexpr Barrier kNoBarrier = 0xffff;

enum class Opcode : std::uint8_t {
  load,     ///< Box to shared memory; arrives at `barrier` when complete. Does not block.
  mma,      ///< `cycles` of the tensor pipe; arrives at `barrier` when complete. Does not block.
  compute,  ///< `cycles` of the pipe `pipe`; blocks until complete.
  store,    ///< Box to L2; arrives at `barrier` (unless kNoBarrier) when accepted. Does not block.
  wait,     ///< Blocks until `barrier` has `target` arrivals.
  signal,   ///< Arrives at `barrier`. Does not block.
  delay,    ///< Blocks for `cycles` without using a pipe.
  wait_stores,  ///< Blocks until every store of this CTA was accepted.
};

/// The pipes of an SM that CUDA cores drive.
enum class Pipe : std::uint8_t { fp32, sfu, conversion, shared_memory };
inline constexpr std::size_t kPipes = 4;

/// One tile instruction as a role hands it to the GPU model.
struct Instruction {
  Opcode opcode = Opcode::delay;
  Pipe pipe = Pipe::fp32;
  Barrier barrier = kNoBarrier;
  bool cluster_wide = false;  ///< Arrivals go to the barrier of every CTA of the cluster.
  bool remote = false;        ///< A store to a peer GPU: leaves through NVLink, past L2 and HBM.
  std::int64_t cycles = 0;
  std::int64_t target = 0;
  Box box{};
  std::uint32_t shared_memory_bytes = 0;  ///< Operand reads of an MMA, for the counters.
};

/// A running role. Move-only owner of the coroutine.
class TileProgram {
 public:
  struct promise_type {
    Instruction current;
    TileProgram get_return_object() { return TileProgram{Handle::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
    std::suspend_always await_transform(const Instruction& instruction) {
      current = instruction;
      return {};
    }
    /// Frames come from a free list: a kernel starts and ends thousands of equal roles.
    static void* operator new(std::size_t size);
    static void operator delete(void* frame, std::size_t size) noexcept;
  };
  using Handle = std::coroutine_handle<promise_type>;

  TileProgram() = default;
  explicit TileProgram(Handle handle) : handle_(handle) {}
  TileProgram(TileProgram&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  TileProgram& operator=(TileProgram&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  TileProgram(const TileProgram&) = delete;
  TileProgram& operator=(const TileProgram&) = delete;
  ~TileProgram() {
    if (handle_) handle_.destroy();
  }

  /// Runs to the next instruction; null when the role has ended.
  const Instruction* next() {
    handle_.resume();
    return handle_.done() ? nullptr : &handle_.promise().current;
  }

 private:
  Handle handle_;
};

/// Asynchronous copy of a box into shared memory (TMA, or cp.async before Hopper).
inline Instruction load(Box box, Barrier full) {
  return {.opcode = Opcode::load, .barrier = full, .box = box};
}
/// The same, delivered to every CTA of the cluster by one read of L2.
inline Instruction load_multicast(Box box, Barrier full) {
  return {.opcode = Opcode::load, .barrier = full, .cluster_wide = true, .box = box};
}
inline Instruction mma(std::int64_t cycles, std::uint32_t operand_bytes, Barrier done,
                       bool cluster_wide = false) {
  return {.opcode = Opcode::mma,
          .barrier = done,
          .cluster_wide = cluster_wide,
          .cycles = cycles,
          .shared_memory_bytes = operand_bytes};
}
inline Instruction compute(Pipe pipe, std::int64_t cycles) {
  return {.opcode = Opcode::compute, .pipe = pipe, .cycles = cycles};
}
inline Instruction store(Box box, Barrier accepted = kNoBarrier) {
  return {.opcode = Opcode::store, .barrier = accepted, .box = box};
}
/// A store to a peer's memory: takes the SM's port and the crossbar; the wire belongs to the
/// fabric.
inline Instruction store_remote(Box box, Barrier accepted = kNoBarrier) {
  return {.opcode = Opcode::store, .barrier = accepted, .remote = true, .box = box};
}
inline Instruction wait(Barrier barrier, std::int64_t arrivals) {
  return {.opcode = Opcode::wait, .barrier = barrier, .target = arrivals};
}
inline Instruction signal(Barrier barrier, bool cluster_wide = false) {
  return {.opcode = Opcode::signal, .barrier = barrier, .cluster_wide = cluster_wide};
}
inline Instruction delay(std::int64_t cycles) {
  return {.opcode = Opcode::delay, .cycles = cycles};
}
inline Instruction wait_stores() { return {.opcode = Opcode::wait_stores}; }

}  // namespace tessera::kernels
