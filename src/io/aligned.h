// io/aligned.h — AlignedBuffer: memory that io::Disk reads into and writes from.
#pragma once

#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "io/disk.h"

namespace coppice::io {

// Coroutine frames do not honour alignas(kDiskBlock) with g++-12: buffers for disks are always
// these.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Zeroed. The length is rounded up to whole blocks.
  explicit AlignedBuffer(size_t size_bytes) : size_bytes_(round_up(size_bytes, kDiskBlock)) {
    if (size_bytes_ == 0) return;
    data_ = static_cast<std::byte*>(std::aligned_alloc(kDiskBlock, size_bytes_));
    CHECK(data_ != nullptr);
    std::memset(data_, 0, size_bytes_);
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~AlignedBuffer() { std::free(data_); }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_bytes_; }
  bool empty() const { return size_bytes_ == 0; }
  std::span<std::byte> span() { return {data_, size_bytes_}; }
  std::span<const std::byte> span() const { return {data_, size_bytes_}; }
  std::byte& operator[](size_t index) { return data_[index]; }
  const std::byte& operator[](size_t index) const { return data_[index]; }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace coppice::io
