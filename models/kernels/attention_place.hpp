#pragma once

#include <cstdint>

#include "models/kernels/flash_attention.hpp"

/// What forward attention kernels say of their boxes and work items alike.
namespace tessera::kernels {

/// Tensors of a Box.
inline constexpr std::uint32_t kQueries = 1;
inline constexpr std::uint32_t kKeys = 2;
inline constexpr std::uint32_t kValues = 3;
inline constexpr std::uint32_t kOutputs = 4;
inline constexpr std::uint32_t kPartials = 5;

/// Where a work item lies.
struct AttentionPlace {
  std::int64_t sequence = 0;
  std::int64_t head = 0;  ///< Of queries; of keys when heads are packed.
  std::int64_t tile = 0;
  std::int64_t split = 0;  ///< Part of the keys.
  std::int64_t rows = 0;
  KeyRange keys;
};

}  // namespace tessera::kernels
