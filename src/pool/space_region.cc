#include "pool/space_region.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"

namespace coppice::pool {
namespace {

constexpr u32 kSlotMagic = 0x61537043;  // "CpSa"
constexpr u16 kSlotVersion = 1;
constexpr size_t kVersionAt = 4, kCrcAt = 8, kUsedAt = 12, kPoolAt = 16, kRegionAt = 24,
                 kTxgAt = 32;

u32 computed_crc(const std::byte* block) {
  const u32 zero = 0;  // Stands for the sum itself.
  const u32 before = crc32c({block, kCrcAt});
  const u32 at = crc32c({reinterpret_cast<const std::byte*>(&zero), sizeof zero}, before);
  return crc32c({block + kCrcAt + sizeof zero, kBlock - kCrcAt - sizeof zero}, at);
}

}  // namespace

// Calls each(word, mask) for every word that the bits touch, until one returns false.
template <class Each>
bool RegionBits::each_word(u32 from, u32 count, Each each) {
  CHECK(count > 0 && from + count <= kRegionData);
  const u32 first = from / 64, last = (from + count - 1) / 64;
  for (u32 word = first; word <= last; ++word) {
    u64 mask = ~u64{0};
    if (word == first) mask &= ~u64{0} << (from % 64);
    if (word == last) mask &= ~u64{0} >> (63 - (from + count - 1) % 64);
    if (!each(word, mask)) return false;
  }
  return true;
}
bool RegionBits::all(u32 from, u32 count) const {
  return each_word(from, count, [&](u32 w, u64 mask) { return (words_[w] & mask) == mask; });
}
bool RegionBits::none(u32 from, u32 count) const {
  return each_word(from, count, [&](u32 w, u64 mask) { return (words_[w] & mask) == 0; });
}
void RegionBits::set(u32 from, u32 count) {
  each_word(from, count, [&](u32 w, u64 mask) { return words_[w] |= mask, true; });
}
void RegionBits::clear(u32 from, u32 count) {
  each_word(from, count, [&](u32 w, u64 mask) { return words_[w] &= ~mask, true; });
}
u32 RegionBits::count() const {
  u32 set = 0;
  for (const u64 word : words_) set += static_cast<u32>(std::popcount(word));
  return set;
}
u32 RegionBits::next(u32 from, u32 limit, bool set) const {
  while (from < limit) {
    const u64 word = (set ? words_[from / 64] : ~words_[from / 64]) >> (from % 64);
    if (word != 0) return std::min(from + static_cast<u32>(std::countr_zero(word)), limit);
    from = from / 64 * 64 + 64;
  }
  return limit;
}
u32 RegionBits::end_of_set_before(u32 from) const {
  if (from == 0) return 0;
  u32 index = (from - 1) / 64;
  u64 word = words_[index] & (~u64{0} >> (63 - (from - 1) % 64));
  while (word == 0 && index > 0) word = words_[--index];
  return word == 0 ? 0 : index * 64 + 64 - static_cast<u32>(std::countl_zero(word));
}

void Space::Region::mark_busy(u32 from, u32 count) {
  RegionBits& bits_busy = own_bits().busy;
  CHECK(bits_busy.none(from, count));
  bits_busy.set(from, count);
  busy += count;
  CHECK(busy <= data_blocks);
}

void Space::Region::mark_free(u32 from, u32 count) {
  CHECK(bits && bits->busy.all(from, count));
  bits->busy.clear(from, count);
  CHECK(busy >= count);
  busy -= count;
  const u32 run_from = bits->busy.end_of_set_before(from);
  longest = std::max(longest, bits->busy.next(from, data_blocks, true) - run_from);
}

u64 Space::Region::find(u64 want, u32 at_least, size_t pieces_max, std::vector<Piece>& into) {
  u64 found = 0;
  u32 longest_seen = 0;
  const RegionBits& map = own_bits().busy;
  for (u32 from = map.next(0, data_blocks, false); from < data_blocks;) {
    const u32 end = map.next(from, data_blocks, true), size = end - from;
    longest_seen = std::max(longest_seen, size);
    if (size >= at_least) {
      if (found == want || into.size() == pieces_max) return found;
      const u32 part = static_cast<u32>(std::min<u64>(size, want - found));
      into.push_back({from, part});
      found += part;
    }
    from = map.next(end, data_blocks, false);
  }
  longest = longest_seen;
  return found;
}

u64 slot_mix(u64 region, Txg txg, u32 crc) {
  u64 mixed = region * 0x9e3779b97f4a7c15 + raw(txg) * 0xbf58476d1ce4e5b9 + crc + 1;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

void encode_slot(u64 pool, u64 region, Txg txg, u32 used, const RegionBits& bits,
                 std::byte* block) {
  std::memset(block, 0, kRegionHeaderBytes);
  store_le(block, kSlotMagic);
  store_le(block + kVersionAt, kSlotVersion);
  store_le(block + kUsedAt, used);
  store_le(block + kPoolAt, pool);
  store_le(block + kRegionAt, region);
  store_le(block + kTxgAt, txg);
  std::memcpy(block + kRegionHeaderBytes, bits.words(), kRegionWords * sizeof(u64));
  store_le(block + kCrcAt, computed_crc(block));
}

u32 stored_crc(const std::byte* block) { return load_le<u32>(block + kCrcAt); }

Result<SlotHeader> decode_slot(u64 pool, u64 region, u32 data_blocks, const std::byte* block,
                               RegionBits& bits) {
  const SlotHeader header{.txg = load_le<Txg>(block + kTxgAt),
                          .used = load_le<u32>(block + kUsedAt),
                          .crc = load_le<u32>(block + kCrcAt)};
  if (load_le<u32>(block) != kSlotMagic || load_le<u16>(block + kVersionAt) != kSlotVersion)
    return fail(Errc::corrupt, "space bitmap: not one");
  if (computed_crc(block) != header.crc) return fail(Errc::corrupt, "space bitmap: checksum");
  if (load_le<u64>(block + kPoolAt) != pool || load_le<u64>(block + kRegionAt) != region)
    return fail(Errc::corrupt, "space bitmap: of another place or pool");
  std::memcpy(bits.words(), block + kRegionHeaderBytes, kRegionWords * sizeof(u64));
  if (bits.count() != header.used) return fail(Errc::corrupt, "space bitmap: count");
  const u32 beyond = static_cast<u32>(kRegionData) - data_blocks;
  if (beyond > 0 && !bits.none(data_blocks, beyond))
    return fail(Errc::corrupt, "space bitmap: blocks beyond the end of the device");
  return header;
}

}  // namespace coppice::pool
