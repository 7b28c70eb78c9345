// blk/device.h — the narrow waist: what every server consumes, and what every volume and layer is.
//
// Theory. A Device is an array of bytes of fixed size with a volatile write cache. A write is
// visible to every later read once its task is done, and durable once a flush() begun after that is
// done. Requests may overlap in time and complete in any order; overlapping writes leave each 4 KiB
// block as one of them. Everything runs on the device's own executor.
#pragma once

#include <span>
#include <vector>

#include "rt/executor.h"
#include "rt/task.h"

namespace coppice::blk {

inline constexpr u32 kBlock =
    4096;  // The granularity of copy-on-write, and the preferred request unit.

struct Extent {
  u64 offset = 0;
  u64 length = 0;
  bool hole = false;  // No space is allocated for it.
  bool zero = false;  // It reads as zeroes.
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct WriteOptions {
  bool fua = false;      // Durable before the task is done.
  bool no_hole = false;  // zero() only: keep space allocated for it.
};

class Device {
 public:
  virtual ~Device() = default;
  virtual rt::Executor& executor() = 0;
  virtual u64 size_bytes() const = 0;
  virtual bool read_only() const = 0;

  // Offsets and lengths are in bytes, of any alignment, and must lie within size_bytes(): invalid
  // otherwise. Errors: io, corrupt (a checksum), no_space, quota, read_only, closed.
  virtual Task<> read(u64 offset, std::span<std::byte> into) = 0;
  virtual Task<> write(u64 offset, std::span<const std::byte> from, WriteOptions options) = 0;
  virtual Task<> zero(u64 offset, u64 length, WriteOptions options) = 0;
  virtual Task<> discard(u64 offset, u64 length,
                         WriteOptions options) = 0;  // Reads as zeroes after.
  virtual Task<> flush() = 0;
  // What lies in [offset, offset + length), in order and without gaps, from `offset` on; at most
  // `count_max` extents, so the answer may end early, but never before the first extent.
  virtual Task<std::vector<Extent>> extents(u64 offset, u64 length, size_t count_max) = 0;
  // A hint that the range will be read soon.
  virtual Task<> prefetch(u64 offset, u64 length) = 0;
};

}  // namespace coppice::blk
