// helper/lua/arena.h — the memory of one Lua state: at a fixed address, counted to the byte.
//
// Theory. What a program sees of addresses (tostring of a table, the order of keys that are
// objects) must be the same in every run. So blocks come from one mapping at a fixed address, and
// where a block lies depends on the calls made before and on nothing else. The arena is pages of
// 4 KiB. Small blocks share a slab of four pages with blocks of their class; a large block is a
// span of whole pages. Free spans are joined with their neighbours, and what is free at the end is
// not part of the arena any more: `top_`. What a block is follows from its first page's entry, not
// from the size its owner claims, so that shrinking never fails, as Lua asks of its allocator. The
// limit is on what was asked for; the cap on the pages it takes, so that fragments are bounded.
#pragma once

#include <array>
#include <cstdint>

#include "base/types.h"

namespace coppice::lua {

class Arena {
 public:
  static constexpr std::uintptr_t kAddress = 0x2000'0000'0000;
  static constexpr size_t kPageBytes = 4096;
  static constexpr size_t kSmallBytesMax = 4096;  // Larger blocks are whole pages.

  struct Options {
    std::uintptr_t address = kAddress;  // 0: anywhere.
    size_t reserve_bytes = 0;           // Of addresses. It never grows beyond.
    size_t cap_bytes = 0;               // Of memory, to begin with.
  };
  // CHECKs that the address is free: there is one such arena in a process.
  explicit Arena(Options options);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // lua_Alloc's contract: nullptr if it is refused; `new_bytes` 0 frees.
  void* reallocate(void* block, size_t old_bytes, size_t new_bytes);

  void set_limit(size_t bytes) { limit_bytes_ = bytes; }
  // Makes the first `bytes` usable. False: the system refuses. `give_up_rest` unmaps what follows.
  bool set_cap(size_t bytes, bool give_up_rest);
  size_t used_bytes() const { return used_bytes_; }
  size_t peak_bytes() const { return peak_bytes_; }
  void restart_peak() { peak_bytes_ = used_bytes_; }
  size_t top_bytes() const { return top_ * kPageBytes; }  // Pages in use, or free between them.
  size_t reserve_bytes() const { return reserve_pages_ * kPageBytes; }
  u64 refusals() const { return refusals_; }

 private:
  static constexpr size_t kSlabPages = 4;
  static constexpr size_t kClasses = 32;
  static constexpr size_t kBins = 32;  // Free spans by the logarithm of their length.
  static constexpr u32 kNone = ~u32{0};
  enum class Kind : u8 { free_, slab, large };
  struct Page {
    u32 pages = 0;  // Of a span: in its first page's entry, and if it is free in its last one's.
    u32 start = 0;  // Of the span that the page belongs to.
    u32 next = kNone, previous = kNone;  // Free spans of one bin; slabs with room of one class.
    // Of a slab.
    u16 used = 0;
    u16 bump = 0;       // Blocks never given out yet begin here (in units of 16 bytes).
    u16 free_head = 0;  // First block given back; kNoBlock: none.
    u8 size_class = 0;
    Kind kind = Kind::free_;
  };
  static constexpr u16 kNoBlock = 0xffff;

  void* allocate(size_t bytes);
  void* allocate_small(size_t size_class);
  void free(void* block);
  bool resize_large(u32 start, size_t pages);
  u32 take_pages(size_t count);  // kNone: no room.
  void give_pages(u32 start, size_t count);
  void insert_free(u32 start, size_t count);
  void remove_free(u32 start);
  void link(u32& head, u32 page);
  void unlink(u32& head, u32 page);
  std::byte* address_of(u32 page) const { return memory_ + size_t{page} * kPageBytes; }
  u32 page_of(const void* block) const {
    return static_cast<u32>((static_cast<const std::byte*>(block) - memory_) / kPageBytes);
  }

  std::byte* memory_ = nullptr;
  Page* pages_ = nullptr;  // Of its own mapping: touched as far as the arena is.
  size_t reserve_pages_;
  size_t cap_pages_ = 0;
  size_t top_ = 0;  // Pages from here on were never used, or are free again.
  std::array<u32, kBins> bins_;
  std::array<u32, kClasses> partial_;
  size_t used_bytes_ = 0, peak_bytes_ = 0;
  size_t limit_bytes_ = SIZE_MAX;
  u64 refusals_ = 0;
};

}  // namespace coppice::lua
