#include "bpf/map_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/check.h"

namespace coppice::bpf {

Result<MapMemory> MapMemory::make(u64 size_bytes) {
  CHECK(size_bytes > 0);
  constexpr u64 kHugePage = 2_MiB;
  const u64 size = size_bytes >= kHugePage ? round_up(size_bytes, kHugePage) : size_bytes;
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return fail(Errc::no_space, "cannot allocate a map's memory", errno);
  MapMemory memory;
  memory.data_ = static_cast<std::byte*>(at);
  memory.size_ = size;
  // Both only make it faster; a kernel that does neither fills pages at first use.
  if (size >= kHugePage) ::madvise(at, size, MADV_HUGEPAGE);
  ::madvise(at, size, MADV_POPULATE_WRITE);
  return memory;
}

MapMemory::~MapMemory() {
  if (data_ != nullptr) CHECK(::munmap(data_, size_) == 0);
}

}  // namespace coppice::bpf
