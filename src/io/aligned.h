// io/aligned.h — AlignedBuffer: memory that io::Disk reads into and writes from.
#pragma once

#include <memory>
#include <new>
#include <span>
#include <utility>

#include "io/disk.h"

namespace coppice::io {

// Uninitialised. Coroutine frames do not honour alignas(kDiskBlock) with g++-12: buffers for disks
// are always these.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size_bytes)
      : data_(static_cast<std::byte*>(::operator new(size_bytes, std::align_val_t{kDiskBlock}))),
        size_bytes_(size_bytes) {}
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~AlignedBuffer() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{kDiskBlock});
  }

  std::byte* data() const { return data_; }
  size_t size() const { return size_bytes_; }
  std::span<std::byte> span() const { return {data_, size_bytes_}; }
  std::byte& operator[](size_t index) const { return data_[index]; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace coppice::io
