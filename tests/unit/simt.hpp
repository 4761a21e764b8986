#pragma once

#include <ucontext.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "calibrate/probes/number_format.hpp"

/// A CPU that takes the part of a CTA: every CUDA thread is a fiber, a warp meets where its
/// instructions do. It runs the kernels of the probes (calibrate/probes/*_kernel*.cuh) as they are
/// written, so that their addressing, masks and arithmetic are tested where there is no GPU. It
/// says nothing about time, and sees no missing barrier.

#define __global__ [[maybe_unused]] static
#define __device__
#define __launch_bounds__(...)

struct SimtIndex {
  unsigned x = 0, y = 0, z = 0;
};
inline SimtIndex threadIdx, blockIdx, gridDim;  // CUDA's names

namespace tessera::simt {

/// Where a group of threads waits for its last.
struct Meeting {
  int members;
  int arrived = 0;
  unsigned round = 0;
};

/// What 32 threads exchange in instructions of the whole warp.
struct Warp {
  Meeting meet{.members = 32};
  std::array<std::array<std::uint32_t, 6>, 32> given{};
  std::array<const void*, 32> addresses{};
};

struct Fiber {
  ucontext_t context{};
  std::vector<unsigned char> stack;
  bool ended = false;
};

struct Cta {
  struct alignas(16) Piece {
    unsigned char bytes[16];
  };
  Meeting meet{.members = 0};
  std::vector<Warp> warps;
  std::vector<Piece> shared;
  std::vector<Fiber> fibers;
  ucontext_t scheduler{};
  const std::function<void()>* kernel = nullptr;
};

inline Cta* current_cta = nullptr;
inline Warp& current_warp() { return current_cta->warps[threadIdx.x / 32]; }
inline unsigned lane() { return threadIdx.x % 32; }

/// Lets the other threads run until all members have arrived.
inline void arrive_and_wait(Meeting& meeting) {
  const unsigned round = meeting.round;
  if (++meeting.arrived == meeting.members) {
    meeting.arrived = 0;
    ++meeting.round;
  }
  while (meeting.round == round)
    swapcontext(&current_cta->fibers[threadIdx.x].context, &current_cta->scheduler);
}

inline void run_fiber() {
  (*current_cta->kernel)();
  current_cta->fibers[threadIdx.x].ended = true;
}

/// Runs the fibers of one CTA in turn until all have ended.
inline void run_cta(Cta& cta) {
  constexpr std::size_t kStackBytes = 64 << 10;
  for (Fiber& fiber : cta.fibers) {
    fiber.stack.resize(kStackBytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &cta.scheduler;
    makecontext(&fiber.context, run_fiber, 0);
  }
  current_cta = &cta;
  for (bool running = true; running;) {
    running = false;
    for (unsigned i = 0; i < cta.fibers.size(); ++i) {
      if (cta.fibers[i].ended) continue;
      running = true;
      threadIdx.x = i;
      swapcontext(&cta.scheduler, &cta.fibers[i].context);
    }
  }
}

/// Runs `kernel` for every CTA of the grid, one after another. Requires: whole warps, and that all
/// threads of a CTA reach the same barriers.
inline void launch(const SimtIndex& grid, int threads, std::size_t shared_bytes,
                   const std::function<void()>& kernel) {
  gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        Cta cta;
        cta.meet.members = threads;
        cta.warps.resize(static_cast<std::size_t>(threads / 32));
        cta.fibers.resize(static_cast<std::size_t>(threads));
        cta.shared.resize(shared_bytes / 16 + 1);
        // Not zero, so that what nobody loads shows.
        for (auto& piece : cta.shared) std::memset(piece.bytes, 0xFF, sizeof(piece.bytes));
        cta.kernel = &kernel;
        blockIdx = {x, y, z};
        run_cta(cta);
      }
}

}  // namespace tessera::simt

inline void __syncthreads() { tessera::simt::arrive_and_wait(tessera::simt::current_cta->meet); }

namespace tessera::calibrate::probes {

inline float shuffle_xor(float value, int mask) {
  simt::Warp& warp = simt::current_warp();
  std::memcpy(&warp.given[simt::lane()][0], &value, sizeof(value));
  simt::arrive_and_wait(warp.meet);
  float other = 0;
  std::memcpy(&other, &warp.given[simt::lane() ^ static_cast<unsigned>(mask)][0], sizeof(other));
  simt::arrive_and_wait(warp.meet);
  return other;
}

/// As PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", lays fragments out.
inline void multiply_tile(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  simt::Warp& warp = simt::current_warp();
  warp.given[simt::lane()] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  simt::arrive_and_wait(warp.meet);
  const auto half = [](std::uint32_t word, unsigned index) {
    return decode(bf16_format(), word >> (16 * (index % 2)) & 0xFFFFU);
  };
  const auto left = [&](unsigned row, unsigned column) {
    const unsigned reg = row / 8 + column / 8 * 2;
    return half(warp.given[row % 8 * 4 + column % 8 / 2][reg], column);
  };
  const auto right = [&](unsigned row, unsigned column) {
    return half(warp.given[column * 4 + row % 8 / 2][4 + row / 8], row);
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = simt::lane() / 4 + i / 2 * 8;
    const unsigned column = simt::lane() % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) d[i] += left(row, k) * right(k, column);
  }
  simt::arrive_and_wait(warp.meet);
}

/// As PTX ISA's ldmatrix.x2.trans.
inline void load_transposed(std::uint32_t (&b)[2], const std::uint16_t* row) {
  simt::Warp& warp = simt::current_warp();
  warp.addresses[simt::lane()] = row;
  simt::arrive_and_wait(warp.meet);
  for (unsigned matrix = 0; matrix < 2; ++matrix) {
    const unsigned first = 8 * matrix + simt::lane() % 4 * 2;
    const auto element = [&](unsigned at) {
      return std::uint32_t{static_cast<const std::uint16_t*>(warp.addresses[at])[simt::lane() / 4]};
    };
    b[matrix] = element(first) | element(first + 1) << 16;
  }
  simt::arrive_and_wait(warp.meet);
}

inline void copy_async(void* to, const void* from, bool valid) {
  if (valid)
    std::memcpy(to, from, 16);
  else
    std::memset(to, 0, 16);
}
inline void commit_copies() {}
template <int pending>
void wait_copies() {}

inline unsigned char* dynamic_shared() { return simt::current_cta->shared[0].bytes; }

inline float exp2_fast(float x) { return std::exp2(x); }
inline std::uint32_t bf16_pair(float first, float second) {
  return encode(bf16_format(), first) | encode(bf16_format(), second) << 16;
}
inline float bf16_first(std::uint32_t pair) { return decode(bf16_format(), pair & 0xFFFFU); }
inline float bf16_second(std::uint32_t pair) { return decode(bf16_format(), pair >> 16); }
inline std::uint32_t e4m3_pair(float first, float second) {
  return encode(e4m3_format(), first) | encode(e4m3_format(), second) << 8;
}
inline std::uint32_t e2m1_pair(float first, float second) {
  return encode(e2m1_format(), first) | encode(e2m1_format(), second) << 4;
}
inline void atomic_raise(float* at, float value) {
  if (value > *at) *at = value;  // fibers change only at barriers
}

}  // namespace tessera::calibrate::probes
