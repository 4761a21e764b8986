#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
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

/// The pipes of an SM that CUDA cores drive.
enum class Pipe : std::uint8_t { fp32, sfu, conversion, shared_memory };
inline constexpr std::size_t kPipes = 4;

/// Box to shared memory; arrives at `barrier` when complete.
struct Load {
  Box box;
  Barrier barrier = kNoBarrier;
  bool cluster_wide = false;  ///< To every CTA of the cluster, by one read of L2.
};
/// `cycles` of the tensor pipe; arrives at `barrier` (unless kNoBarrier) when complete.
struct Mma {
  std::int64_t cycles = 0;
  std::uint32_t operand_bytes = 0;  ///< Read from shared memory, for the counters.
  Barrier barrier = kNoBarrier;
  bool cluster_wide = false;  ///< Arrives at the barrier of every CTA of the cluster.
};
/// Box to L2; arrives at `barrier` (unless kNoBarrier) when accepted.
struct Store {
  Box box;
  Barrier barrier = kNoBarrier;
  bool remote = false;  ///< To a peer GPU: leaves through NVLink, past L2 and HBM.
};
/// Arrives at `barrier`.
struct Signal {
  Barrier barrier = kNoBarrier;
  bool cluster_wide = false;  ///< As an MMA's.
};
/// `cycles` of the pipe `pipe`; blocks until complete.
struct Compute {
  Pipe pipe = Pipe::fp32;
  std::int64_t cycles = 0;
};
/// Blocks for `cycles` without using a pipe.
struct Delay {
  std::int64_t cycles = 0;
};
/// Blocks until `barrier` has `target` arrivals.
struct Wait {
  Barrier barrier = kNoBarrier;
  std::int64_t target = 0;
};
/// Blocks until every store of this CTA was accepted.
struct WaitStores {};

/// Carries out the instructions of running roles; the GPU model implements it.
class TileExecutor {
 public:
  virtual ~TileExecutor() = default;
  virtual void execute(const Load& load) = 0;
  virtual void execute(const Mma& mma) = 0;
  virtual void execute(const Store& store) = 0;
  virtual void execute(const Signal& signal) = 0;
  // Of those that can block: whether the role goes on at once. If not, its program is to be resumed
  // when the instruction completes.
  virtual bool execute(const Compute& compute) = 0;
  virtual bool execute(const Delay& delay) = 0;
  virtual bool execute(const Wait& wait) = 0;
  virtual bool execute(const WaitStores& wait) = 0;
};

/// A running role. Move-only owner of the coroutine.
class TileProgram {
 public:
  /// Suspends the role unless it goes on at once.
  struct Started {
    bool goes_on;
    [[nodiscard]] bool await_ready() const noexcept { return goes_on; }
    void await_suspend(std::coroutine_handle<> /*role*/) const noexcept {}
    void await_resume() const noexcept {}
  };
  struct promise_type {
    TileExecutor* executor = nullptr;  ///< While the role runs.
    TileProgram get_return_object() { return TileProgram{Handle::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
    template <class Instruction>
    auto await_transform(const Instruction& instruction) {
      if constexpr (std::is_void_v<decltype(executor->execute(instruction))>) {
        executor->execute(instruction);
        return std::suspend_never{};
      } else {
        return Started{executor->execute(instruction)};
      }
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

  /// Runs until an instruction does not let the role go on. Returns whether it has ended.
  bool run(TileExecutor& executor) {
    handle_.promise().executor = &executor;
    handle_.resume();
    return handle_.done();
  }

 private:
  Handle handle_;
};

/// Asynchronous copy of a box into shared memory (TMA, or cp.async before Hopper).
inline Load load(Box box, Barrier full) { return {.box = box, .barrier = full}; }
/// The same, delivered to every CTA of the cluster by one read of L2.
inline Load load_multicast(Box box, Barrier full) {
  return {.box = box, .barrier = full, .cluster_wide = true};
}
inline Mma mma(std::int64_t cycles, std::uint32_t operand_bytes, Barrier done,
               bool cluster_wide = false) {
  return {.cycles = cycles,
          .operand_bytes = operand_bytes,
          .barrier = done,
          .cluster_wide = cluster_wide};
}
inline Compute compute(Pipe pipe, std::int64_t cycles) { return {.pipe = pipe, .cycles = cycles}; }
inline Store store(Box box, Barrier accepted = kNoBarrier) {
  return {.box = box, .barrier = accepted};
}
/// A store to a peer's memory: takes the SM's port and the crossbar; the wire belongs to the
/// fabric.
inline Store store_remote(Box box, Barrier accepted = kNoBarrier) {
  return {.box = box, .barrier = accepted, .remote = true};
}
inline Wait wait(Barrier barrier, std::int64_t arrivals) {
  return {.barrier = barrier, .target = arrivals};
}
inline Signal signal(Barrier barrier, bool cluster_wide = false) {
  return {.barrier = barrier, .cluster_wide = cluster_wide};
}
inline Delay delay(std::int64_t cycles) { return {.cycles = cycles}; }
inline WaitStores wait_stores() { return {}; }

}  // namespace tessera::kernels
