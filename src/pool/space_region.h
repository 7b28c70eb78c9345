// pool/space_region.h — private to Space: one region's bitmaps, in memory and as a block on disk.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "pool/space.h"

namespace coppice::pool {

inline constexpr u32 kRegionWords = kRegionData / 64;
static_assert(kRegionWords * 64 == kRegionData);
static_assert(kRegionHeaderBytes + kRegionWords * 8 == kBlock);

// A bit for each data block of a region.
class RegionBits {
 public:
  bool test(u32 bit) const { return words_[bit / 64] >> (bit % 64) & 1; }
  bool all(u32 from, u32 count) const;   // Whether all of them are set,
  bool none(u32 from, u32 count) const;  // or none is.
  void set(u32 from, u32 count);
  void clear(u32 from, u32 count);
  u32 count() const;
  // The first bit in [from, limit) that is set (or clear); limit if there is none.
  u32 next(u32 from, u32 limit, bool set) const;
  u32 end_of_set_before(
      u32 from) const;  // One past the last set bit below `from`; 0 if there is none.
  const u64* words() const { return words_.data(); }
  u64* words() { return words_.data(); }

 private:
  template <class Each>
  static bool each_word(u32 from, u32 count, Each each);
  std::array<u64, kRegionWords> words_{};
};

struct Space::Region {
  struct Bits {
    RegionBits used;  // What the next uberblock will say.
    RegionBits busy;  // What take() avoids.
  };
  std::unique_ptr<Bits> bits;  // None while all is free and always was.
  u32 data_blocks = 0;         // Fewer than kRegionData only in the last region.
  u32 used = 0;
  u32 busy = 0;
  u32 longest = 0;  // No free run is longer than this.
  Txg slot_txg{};   // Of the slot that counts; 0: neither does.
  u32 slot_crc = 0;
  u8 slot = 1;  // Which one counts: the next write goes to the other.
  bool changed = false;

  u32 free() const { return data_blocks - busy; }
  Bits& own_bits() {
    if (!bits) bits = std::make_unique<Bits>();
    return *bits;
  }
  void mark_busy(u32 from, u32 count);
  void mark_free(u32 from, u32 count);
  // Appends free runs of at least `at_least` blocks, cut to fit `want` in total; lowers `longest`
  // to the truth when all was seen. Returns how many blocks it found. Marks nothing.
  struct Piece {
    u32 from = 0, count = 0;
  };
  u64 find(u64 want, u32 at_least, size_t pieces_max, std::vector<Piece>& into);
};

// What one slot adds to the uberblock's sum.
u64 slot_mix(u64 region, Txg txg, u32 crc);

// A region's bitmap block. `pool` is the pool's guid: a slot of an earlier pool on this device is
// not ours.
struct SlotHeader {
  Txg txg{};
  u32 used = 0;
  u32 crc = 0;
};
void encode_slot(u64 pool, u64 region, Txg txg, u32 used, const RegionBits& bits, std::byte* block);
u32 stored_crc(const std::byte* block);
// corrupt: not a slot of this region. `data_blocks` bounds the bits that may be set.
Result<SlotHeader> decode_slot(u64 pool, u64 region, u32 data_blocks, const std::byte* block,
                               RegionBits& bits);

constexpr u64 first_block_of(u64 region) { return kLabelBlocks + region * kRegionBlocks; }
constexpr u64 first_data_of(u64 region) { return first_block_of(region) + 2; }

struct Space::State {
  struct Place {
    u64 region = 0;
    u32 bit = 0;
  };
  std::vector<Region> regions;
  u64 pool = 0;  // The guid.
  u64 device_blocks = 0;
  u64 total = 0, used = 0, busy = 0, dying_count = 0;
  u64 sum = 0;
  u64 cursor = 0;  // The region that take() looks at first.
  u32 holds = 0;
  std::map<Txg, std::vector<Run>> dying;

  Region& at(Run run, u32& bit);
  bool in_range(Run run) const;
  void resize(u64 blocks);
  void put_dying(Txg txg, Run run);
  u64 take_at_least(u64 want, u32 at_least, u32& scans_left, std::vector<Run>& into);
  Task<> write_region(io::Disk& disk, u64 region, Txg txg);
  Task<> load_region(io::Disk& disk, u64 region, Txg txg);
};

}  // namespace coppice::pool
