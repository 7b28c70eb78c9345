#include "pool/page_pool.h"

#include <sys/mman.h>

#include <algorithm>

#include "rt/abandon.h"

namespace coppice::pool {

// Lies at the start of its 2 MiB; counts come first, where PageRef looks for them.
struct PagePool::Slab {
  u32 counts[kSlabPages];
  u16 free_pages[kSlabPages];  // A stack.
  u32 free_count;
  u32 place;  // In with_room_.
  PagePool* pool;

  std::byte* page(u32 index) { return reinterpret_cast<std::byte*>(this) + u64{index} * kBlock; }
};

PagePool::~PagePool() {
  static_assert(sizeof(Slab) <= kBlock);
  // After a simulated power cut a page may be held by a coroutine that is gone for good.
  CHECK(used_pages_ == 0 || rt::Abandon::active());
  for (std::vector<Slab*>* each : {&with_room_, &spare_})
    for (Slab* slab : *each) unmap(slab);
}

void PagePool::add_room(Slab* slab) {
  slab->place = static_cast<u32>(with_room_.size());
  with_room_.push_back(slab);
}

void PagePool::remove_room(Slab* slab) {
  with_room_.back()->place = slab->place;
  with_room_[slab->place] = with_room_.back();
  with_room_.pop_back();
}

PagePool::Slab* PagePool::map_slab() {
  constexpr u64 kBytes = PageRef::kSlabBytes;
  void* wide = mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (wide == MAP_FAILED) return nullptr;
  const auto from = reinterpret_cast<std::uintptr_t>(wide);
  const u64 before = round_up(from, kBytes) - from;
  std::byte* at = static_cast<std::byte*>(wide) + before;
  if (before > 0) CHECK(munmap(wide, before) == 0);
  CHECK(munmap(at + kBytes, kBytes - before) == 0);
  madvise(at, kBytes, MADV_HUGEPAGE);  // A wish; without it everything works, only slower.
  auto* slab = reinterpret_cast<Slab*>(at);
  slab->pool = this;
  for (u32 page = kSlabPages - 1; page > 0; --page)
    slab->free_pages[slab->free_count++] = static_cast<u16>(page);
  ++slabs_;
  return slab;
}

void PagePool::unmap(Slab* slab) {
  CHECK(slabs_ > 0);
  CHECK(munmap(slab, PageRef::kSlabBytes) == 0);
  --slabs_;
}

PageRef PagePool::allocate() {
  if ((used_pages_ + 1) * kBlock > limit_bytes_) return {};
  if (with_room_.empty()) {
    Slab* fresh = spare_.empty() ? map_slab() : spare_.back();
    if (fresh == nullptr) return {};
    if (!spare_.empty()) spare_.pop_back();
    add_room(fresh);
  }
  Slab* slab = with_room_.back();
  CHECK(slab->free_count > 0);
  const u32 page = slab->free_pages[--slab->free_count];
  if (slab->free_count == 0) with_room_.pop_back();
  CHECK(slab->counts[page] == 0);
  slab->counts[page] = 1;
  ++used_pages_;
  return PageRef(slab->page(page));
}

void PageRef::release(std::byte* data) {
  const auto at = reinterpret_cast<std::uintptr_t>(data);
  auto* slab = reinterpret_cast<PagePool::Slab*>(at / kSlabBytes * kSlabBytes);
  slab->pool->give_back(slab, static_cast<u32>(at % kSlabBytes / kBlock));
}

void PagePool::give_back(Slab* slab, u32 page) {
  CHECK(used_pages_ > 0 && page > 0);
  --used_pages_;
  if (slab->free_count == 0) add_room(slab);
  slab->free_pages[slab->free_count++] = static_cast<u16>(page);
  if (slab->free_count < kSlabPages - 1) return;
  remove_room(slab);
  spare_.push_back(slab);
  while (spare_.size() > std::max<u64>(1, slabs_ / kSpareShare)) {
    unmap(spare_.back());
    spare_.pop_back();
  }
}

}  // namespace coppice::pool
