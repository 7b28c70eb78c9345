// io/disk.h — the only door to stable storage; the ring and the simulator both stand behind it.
#pragma once

#include <span>

#include "rt/task.h"

namespace coppice::io {

inline constexpr u64 kDiskBlock = 4096;  // Alignment of every offset, length and buffer.

// One reactor's view of a device. All offsets, lengths and memory addresses are multiples of
// kDiskBlock. Requests run side by side and complete in any order. A write is durable once a
// flush() that was begun after it completed has completed. Errors: io (with sys), no_space; after
// an error of flush() nothing written since the last good flush may be counted on.
class Disk {
 public:
  using Parts = std::span<const std::span<const std::byte>>;
  virtual ~Disk() = default;
  virtual u64 size_bytes() const = 0;
  virtual Task<> read(u64 offset, std::span<std::byte> into) = 0;
  virtual Task<> write(u64 offset, Parts parts) = 0;  // Gathers; at most kPartsMax parts.
  virtual Task<> flush() = 0;
  virtual Task<> punch(u64 offset, u64 length) = 0;  // A hint: the content is no longer needed.
};
inline constexpr size_t kPartsMax = 256;

}  // namespace coppice::io
