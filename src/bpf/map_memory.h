// bpf/map_memory.h — a map's memory: zeroed, present, in large pages where the kernel has them.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace coppice::bpf {

class MapMemory {
 public:
  static Result<MapMemory> make(u64 size_bytes);
  MapMemory() = default;
  MapMemory(MapMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MapMemory& operator=(MapMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MapMemory();

  std::byte* data() const { return data_; }
  u64 size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  u64 size_ = 0;
};

}  // namespace coppice::bpf
