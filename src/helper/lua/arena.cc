#include "helper/lua/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace coppice::lua {
namespace {

constexpr size_t kUnit = 16;  // Blocks are multiples of it, and lie on one.

// Steps of 16 bytes up to 256, then four to a doubling: at most a fifth of a block is waste.
constexpr std::array<u16, 32> kClassBytes = {
    16,  32,  48,  64,  80,  96,  112, 128,  144,  160,  176,  192,  208,  224,  240,  256,
    320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096};
static_assert(kClassBytes.back() == Arena::kSmallBytesMax);

// The class of a block, by its size in units.
constexpr auto kClassOfUnits = [] {
  std::array<u8, Arena::kSmallBytesMax / kUnit + 1> classes{};
  size_t at = 0;
  for (size_t units = 0; units < classes.size(); ++units) {
    while (kClassBytes[at] < units * kUnit) ++at;
    classes[units] = static_cast<u8>(at);
  }
  return classes;
}();

size_t bin_of(size_t pages) { return static_cast<size_t>(std::bit_width(pages)) - 1; }

void* map(std::uintptr_t address, size_t bytes, int protection) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): it is a place that we choose.
  auto* const wanted = reinterpret_cast<void*>(address);
  const int fixed = address != 0 ? MAP_FIXED_NOREPLACE : 0;
  void* at =
      mmap(wanted, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
  CHECK(at != MAP_FAILED);
  CHECK(wanted == nullptr || at == wanted);
  return at;
}

}  // namespace

Arena::Arena(Options options) : reserve_pages_(divide_up(options.reserve_bytes, kPageBytes)) {
  CHECK(reserve_pages_ >= kSlabPages && reserve_pages_ < kNone);
  bins_.fill(kNone);
  partial_.fill(kNone);
  memory_ = static_cast<std::byte*>(map(options.address, reserve_bytes(), PROT_NONE));
  pages_ = static_cast<Page*>(map(0, reserve_pages_ * sizeof(Page), PROT_READ | PROT_WRITE));
  CHECK(set_cap(options.cap_bytes, false));
}

Arena::~Arena() {
  munmap(memory_, reserve_bytes());
  munmap(pages_, reserve_pages_ * sizeof(Page));
}

bool Arena::set_cap(size_t bytes, bool give_up_rest) {
  const size_t pages = std::min(divide_up(bytes, kPageBytes), reserve_pages_);
  CHECK(pages >= cap_pages_);
  if (mprotect(memory_, pages * kPageBytes, PROT_READ | PROT_WRITE) != 0) return false;
  cap_pages_ = pages;
  if (give_up_rest && pages < reserve_pages_) {
    if (munmap(memory_ + pages * kPageBytes, (reserve_pages_ - pages) * kPageBytes) != 0) {
      return false;
    }
    reserve_pages_ = pages;
  }
  return true;
}

void* Arena::reallocate(void* block, size_t old_bytes, size_t new_bytes) {
  if (block == nullptr) old_bytes = 0;  // Lua says there what it is for.
  CHECK(old_bytes <= used_bytes_);
  if (new_bytes == 0) {
    if (block != nullptr) free(block);
    used_bytes_ -= old_bytes;
    return nullptr;
  }
  const size_t rest = used_bytes_ - old_bytes;
  if (new_bytes > old_bytes && (new_bytes > limit_bytes_ || rest > limit_bytes_ - new_bytes)) {
    ++refusals_;
    return nullptr;
  }
  void* now = block;
  bool in_place = false;
  if (block != nullptr) {
    Page& page = pages_[pages_[page_of(block)].start];
    if (page.kind == Kind::slab) {
      in_place = new_bytes <= kSmallBytesMax &&
                 kClassOfUnits[divide_up(new_bytes, kUnit)] == page.size_class;
    } else if (new_bytes > kSmallBytesMax) {
      in_place = resize_large(page.start, divide_up(new_bytes, kPageBytes));
    }
  }
  if (!in_place) {
    now = allocate(new_bytes);
    if (now == nullptr && new_bytes > old_bytes) {
      ++refusals_;
      return nullptr;
    }
    if (now == nullptr) {
      now = block;  // Smaller than its place: it may stay.
    } else if (block != nullptr) {
      std::memcpy(now, block, std::min(old_bytes, new_bytes));
      free(block);
    }
  }
  used_bytes_ = rest + new_bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return now;
}

void* Arena::allocate(size_t bytes) {
  if (bytes <= kSmallBytesMax) return allocate_small(kClassOfUnits[divide_up(bytes, kUnit)]);
  const size_t count = divide_up(bytes, kPageBytes);
  const u32 start = take_pages(count);
  if (start == kNone) return nullptr;
  pages_[start].kind = Kind::large;
  return address_of(start);
}

void* Arena::allocate_small(size_t size_class) {
  u32& head = partial_[size_class];
  const size_t block_units = kClassBytes[size_class] / kUnit;
  if (head == kNone) {
    const u32 start = take_pages(kSlabPages);
    if (start == kNone) return nullptr;
    for (u32 page = start; page < start + kSlabPages; ++page) pages_[page].start = start;
    Page& slab = pages_[start];
    slab.kind = Kind::slab;
    slab.size_class = static_cast<u8>(size_class);
    slab.used = 0;
    slab.bump = 0;
    slab.free_head = kNoBlock;
    link(head, start);
  }
  const u32 start = head;
  Page& slab = pages_[start];
  CHECK(slab.kind == Kind::slab && slab.size_class == size_class);
  size_t unit = slab.free_head;
  if (unit != kNoBlock) {
    std::memcpy(&slab.free_head, address_of(start) + unit * kUnit, sizeof slab.free_head);
  } else {
    unit = slab.bump;
    slab.bump = static_cast<u16>(unit + block_units);
  }
  ++slab.used;
  constexpr size_t kSlabUnits = kSlabPages * kPageBytes / kUnit;
  CHECK(unit + block_units <= kSlabUnits);
  if (slab.free_head == kNoBlock && slab.bump + block_units > kSlabUnits) unlink(head, start);
  return address_of(start) + unit * kUnit;
}

void Arena::free(void* block) {
  const u32 start = pages_[page_of(block)].start;
  Page& page = pages_[start];
  if (page.kind == Kind::large) {
    CHECK(address_of(start) == block);
    give_pages(start, page.pages);
    return;
  }
  CHECK(page.kind == Kind::slab && page.used > 0);
  const size_t size_class = page.size_class;
  const size_t block_units = kClassBytes[size_class] / kUnit;
  const bool was_full =
      page.free_head == kNoBlock && page.bump + block_units > kSlabPages * kPageBytes / kUnit;
  std::memcpy(block, &page.free_head, sizeof page.free_head);
  page.free_head =
      static_cast<u16>((static_cast<std::byte*>(block) - address_of(start)) / ptrdiff_t{kUnit});
  --page.used;
  u32& head = partial_[size_class];
  if (was_full) link(head, start);
  // The last slab with room stays: one block made and freed in turn must not move pages.
  const bool alone = page.next == kNone && page.previous == kNone;
  if (page.used == 0 && !alone) {
    unlink(head, start);
    give_pages(start, kSlabPages);
  }
}

bool Arena::resize_large(u32 start, size_t pages) {
  Page& span = pages_[start];
  const size_t had = span.pages;
  if (pages < had) {
    span.pages = static_cast<u32>(pages);
    give_pages(static_cast<u32>(start + pages), had - pages);
    return true;
  }
  const size_t more = pages - had;
  if (more == 0) return true;
  const u32 after = static_cast<u32>(start + had);
  if (after == top_) {
    if (more > cap_pages_ - top_) return false;
    top_ += more;
  } else {
    if (pages_[after].kind != Kind::free_ || pages_[after].pages < more) return false;
    const size_t found = pages_[after].pages;
    remove_free(after);
    if (found > more) insert_free(static_cast<u32>(after + more), found - more);
  }
  for (size_t page = after; page < after + more; ++page) pages_[page].kind = Kind::large;
  span.pages = static_cast<u32>(pages);
  return true;
}

u32 Arena::take_pages(size_t count) {
  constexpr int kLooked = 16;  // Spans of the own bin, which may be too short.
  u32 found = kNone;
  u32 each = bins_[bin_of(count)];
  for (int i = 0; i < kLooked && each != kNone; ++i, each = pages_[each].next) {
    if (pages_[each].pages >= count) {
      found = each;
      break;
    }
  }
  for (size_t bin = bin_of(count) + 1; bin < kBins && found == kNone; ++bin) found = bins_[bin];
  if (found == kNone) {
    if (count > cap_pages_ - top_) return kNone;
    found = static_cast<u32>(top_);
    top_ += count;
  } else {
    const size_t had = pages_[found].pages;
    remove_free(found);
    if (had > count) insert_free(static_cast<u32>(found + count), had - count);
  }
  // Whatever lies inside must not look like a free span's end to its neighbour.
  for (size_t page = found; page < found + count; ++page) pages_[page].kind = Kind::large;
  pages_[found].start = found;
  pages_[found].pages = static_cast<u32>(count);
  return found;
}

void Arena::give_pages(u32 start, size_t count) {
  CHECK(count > 0 && start + count <= top_);
  const size_t after = start + count;
  if (after < top_ && pages_[after].kind == Kind::free_) {
    count += pages_[after].pages;
    remove_free(static_cast<u32>(after));
  }
  if (start > 0 && pages_[start - 1].kind == Kind::free_) {
    const u32 before = pages_[start - 1].start;
    count += pages_[before].pages;
    remove_free(before);
    start = before;
  }
  if (start + count == top_) {
    top_ = start;
  } else {
    insert_free(start, count);
  }
}

void Arena::insert_free(u32 start, size_t count) {
  const u32 last = static_cast<u32>(start + count - 1);
  for (const u32 page : {start, last}) {
    pages_[page].kind = Kind::free_;
    pages_[page].start = start;
    pages_[page].pages = static_cast<u32>(count);
  }
  link(bins_[bin_of(count)], start);
}

void Arena::remove_free(u32 start) {
  CHECK(pages_[start].kind == Kind::free_ && pages_[start].start == start);
  unlink(bins_[bin_of(pages_[start].pages)], start);
}

void Arena::link(u32& head, u32 page) {
  pages_[page].next = head;
  pages_[page].previous = kNone;
  if (head != kNone) pages_[head].previous = page;
  head = page;
}

void Arena::unlink(u32& head, u32 page) {
  Page& entry = pages_[page];
  if (entry.previous != kNone) {
    pages_[entry.previous].next = entry.next;
  } else {
    CHECK(head == page);
    head = entry.next;
  }
  if (entry.next != kNone) pages_[entry.next].previous = entry.previous;
  entry.next = entry.previous = kNone;
}

}  // namespace coppice::lua
