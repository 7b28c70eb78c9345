// pool/page_pool.h — 4 KiB pages of memory, counted and limited; one pool a lane.
//
// Theory. Pages are cut from slabs of 2 MiB, mapped at a multiple of their size and advised to be
// huge pages. The first page of a slab holds the counts of the others, so a PageRef is one pointer:
// its slab is found by rounding down. A page goes back to the pool with its last reference. Slabs
// without pages in use are kept, for getting memory from the system costs more than writing to it,
// but no more than a part of all slabs; the rest go back to the system.
#pragma once

#include <utility>
#include <vector>

#include "pool/types.h"

namespace coppice::pool {

class PagePool;

// A counted reference to one page. Not atomic: a page stays on the lane of its pool.
class PageRef {
 public:
  PageRef() = default;
  PageRef(const PageRef& other) : data_(other.data_) {
    if (data_ != nullptr) ++count_of(data_);
  }
  PageRef(PageRef&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~PageRef() {
    if (data_ != nullptr && --count_of(data_) == 0) release(data_);
  }
  std::byte* data() const { return data_; }
  std::span<std::byte> span() const { return {data_, data_ == nullptr ? 0 : size_t{kBlock}}; }
  bool shared() const { return data_ != nullptr && count_of(data_) > 1; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  friend class PagePool;
  static constexpr u64 kSlabBytes = 2_MiB;
  explicit PageRef(std::byte* data) : data_(data) {}
  static u32& count_of(std::byte* data) {
    const auto at = reinterpret_cast<std::uintptr_t>(data);
    auto* counts = reinterpret_cast<u32*>(at / kSlabBytes * kSlabBytes);
    return counts[at % kSlabBytes / kBlock];
  }
  static void release(std::byte* data);

  std::byte* data_ = nullptr;
};

class PagePool {
 public:
  explicit PagePool(u64 limit_bytes) : limit_bytes_(limit_bytes) {}
  PagePool(const PagePool&) = delete;
  ~PagePool();  // All pages have come back.

  PageRef allocate();  // Uninitialised. Empty: the limit is reached, or the system has no memory.
  void set_limit(u64 limit_bytes) { limit_bytes_ = limit_bytes; }
  u64 limit_bytes() const { return limit_bytes_; }
  u64 used_bytes() const { return used_pages_ * kBlock; }
  u64 mapped_bytes() const { return slabs_ * PageRef::kSlabBytes; }

 private:
  friend class PageRef;
  static constexpr u32 kSlabPages = PageRef::kSlabBytes / kBlock;  // The first is the slab's own.
  static constexpr u64 kSpareShare = 8;  // Of all slabs, one in so many may be spare; or one.
  struct Slab;
  Slab* map_slab();
  void unmap(Slab* slab);
  void add_room(Slab* slab);
  void remove_room(Slab* slab);
  void give_back(Slab* slab, u32 page);

  u64 limit_bytes_;
  u64 used_pages_ = 0;
  u64 slabs_ = 0;
  std::vector<Slab*> spare_;      // With no page in use.
  std::vector<Slab*> with_room_;  // With some in use and some free.
};

}  // namespace coppice::pool
