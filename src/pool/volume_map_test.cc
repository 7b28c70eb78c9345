// Maps against a plain array of blocks: what plan_map_edit() and merge() make of them.
#include "pool/volume_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "pool/tree_bed.h"

namespace coppice::pool {
namespace {

struct Stored {  // What the map says of one block. addr 0: a hole.
  u64 addr = 0;
  u64 birth = 0;
  u32 crc = 0;
  friend auto operator<=>(const Stored&, const Stored&) = default;
};

u32 crc_of(u64 addr, u64 birth) { return static_cast<u32>(addr * 0x9e3779b9 + birth); }

// A volume's map in a tree, and beside it the array of blocks from `base` on that it must read as.
class MapBed {
 public:
  MapBed(u64 seed, u64 base, size_t blocks)
      : prng_(seed), base_(base), model_(blocks), bed_(seed + 1, 1_MiB) {}

  // One group: some ranges zeroed, some extents written.
  void edit() {
    const u64 birth = ++birth_;
    const auto zeroed = pick_zeroed();
    const auto written = pick_written(birth);
    std::multiset<Stored> dropped;
    u64 added = 0;
    std::vector<Stored> after = model_;
    for (const BlockRange& range : zeroed)
      for (u64 lba = range.begin; lba < range.end; ++lba) after[lba - base_] = {};
    for (const MapExtent& extent : written)
      for (u32 i = 0; i < extent.count; ++i, ++added)
        after[extent.lba - base_ + i] = {raw(extent.addr) + i, birth, extent.crcs[i]};
    for (size_t i = 0; i < model_.size(); ++i)
      if (model_[i].addr != 0 && model_[i] != after[i])
        dropped.insert({model_[i].addr, model_[i].birth, 0});
    model_ = after;

    MapEdit edit;
    ASSERT_TRUE(bed_.run(plan_map_edit(*bed_.store, root_, zeroed, written, edit)));
    EXPECT_EQ(edit.blocks_added, added);
    EXPECT_EQ(edit.blocks_dropped, dropped.size());
    std::multiset<Stored> reported;
    for (const Dropped& each : edit.dropped) {
      EXPECT_FALSE(each.node);
      for (u32 i = 0; i < each.run.count; ++i)
        reported.insert({raw(each.run.start) + i, raw(each.birth), 0});
    }
    EXPECT_EQ(reported, dropped);
    for (size_t i = 1; i < edit.changes.size(); ++i)
      ASSERT_LT(edit.changes[i - 1].key, edit.changes[i].key);
    auto merged = bed_.merge(root_, edit.changes);
    ASSERT_TRUE(merged) << describe(merged.error());
    root_ = merged->root;
  }

  void expect_reads_as_model() {
    std::vector<Stored> found(model_.size());
    Cursor cursor(*bed_.store, root_);
    ASSERT_TRUE(bed_.run(cursor.seek(map_key(0))));
    u64 end = 0;
    while (!cursor.at_end()) {
      const auto extent = decode_extent(cursor.key(), cursor.value());
      ASSERT_TRUE(extent);
      ASSERT_GE(extent->lba, end) << "extents overlap";
      end = extent->end();
      ASSERT_GE(extent->lba, base_);
      ASSERT_LE(end, base_ + model_.size());
      for (u32 i = 0; i < extent->count; ++i)
        found[extent->lba - base_ + i] = {raw(extent->addr) + i, raw(extent->birth),
                                          extent->crcs[i]};
      ASSERT_TRUE(bed_.run(cursor.next()));
    }
    EXPECT_TRUE(found == model_);
  }
  void forget() { bed_.forget(1_MiB); }
  bool chance(u64 n) { return prng_.chance(1, n); }

 private:
  // Mostly short stretches, now and then one of any length.
  u64 length(u64 most) {
    return prng_.between(1, prng_.chance(1, 6) ? most : std::min<u64>(most, 4));
  }
  u64 gap() {
    return prng_.chance(1, 4) ? 0 : prng_.below(prng_.chance(1, 3) ? model_.size() : 12);
  }

  std::vector<BlockRange> pick_zeroed() {
    std::vector<BlockRange> zeroed;
    const u64 end = base_ + model_.size();
    if (prng_.chance(1, 20)) return {{base_, end}};
    for (u64 at = base_ + gap(); at < end && prng_.chance(2, 3); at += 1 + gap()) {
      const u64 stop = std::min(end, at + length(model_.size() / 4));
      zeroed.push_back({at, stop});
      at = stop;
    }
    return zeroed;
  }
  std::vector<MapExtent> pick_written(u64 birth) {
    std::vector<MapExtent> written;
    const u64 end = base_ + model_.size();
    for (u64 at = base_ + gap(); at < end && prng_.chance(9, 10); at += gap()) {
      MapExtent extent;
      extent.lba = at;
      extent.count = static_cast<u32>(length(std::min<u64>(kExtentBlocksMax, end - at)));
      extent.addr = BlockAddr(next_addr_ += prng_.below(2));
      extent.birth = Txg(birth);
      for (u32 i = 0; i < extent.count; ++i) extent.crcs.push_back(crc_of(next_addr_ + i, birth));
      next_addr_ += extent.count;
      at = extent.end();
      written.push_back(std::move(extent));
    }
    return written;
  }

  Prng prng_;
  const u64 base_;
  std::vector<Stored> model_;
  TreeBed bed_;
  NodePtr root_;
  u64 birth_ = 0;
  u64 next_addr_ = 1'000'000;
};

// The map reads as the array it models, extents never overlap, and each block that a group takes
// out is reported once.
TEST(VolumeMap, ReadsAsAnArrayAfterAnyEdits) {
  for (u64 seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(seed);
    const u64 base = seed % 3 == 0 ? kVolumeBytesMax / kBlock - 3000 : seed % 3 == 1 ? 0 : 250;
    MapBed bed(seed, base, seed % 5 == 0 ? 3000 : 300);
    for (int group = 0; group < 30 && !testing::Test::HasFatalFailure(); ++group) {
      SCOPED_TRACE(group);
      bed.edit();
      if (bed.chance(4)) bed.forget();
      if (bed.chance(3) || group == 29) bed.expect_reads_as_model();
    }
  }
}

// An extent is decoded to what was encoded, and looks the same through a view.
TEST(VolumeMap, ExtentsGoRound) {
  Prng prng(7);
  for (u32 count = 1; count <= kExtentBlocksMax; count += count < 4 ? 1 : 63) {
    MapExtent extent{prng.below(kVolumeBytesMax / kBlock),
                     BlockAddr(prng.between(1, (u64{1} << 48) - 1)),
                     Txg(prng.below(u64{1} << 48)),
                     count,
                     0,
                     {}};
    for (u32 i = 0; i < count; ++i) extent.crcs.push_back(static_cast<u32>(prng.next()));
    std::string value;
    encode_extent(extent, value);
    const std::string key = map_key(extent.lba);
    EXPECT_EQ(map_lba(key), extent.lba);
    const auto again = decode_extent(key, value);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->lba, extent.lba);
    EXPECT_EQ(again->addr, extent.addr);
    EXPECT_EQ(again->birth, extent.birth);
    EXPECT_EQ(again->crcs, extent.crcs);
    const auto view = view_extent(key, value);
    ASSERT_TRUE(view);
    for (u32 i = 0; i < count; ++i) EXPECT_EQ(view->crc(i), extent.crcs[i]);
    for (size_t cut = 0; cut < value.size(); ++cut)
      EXPECT_FALSE(view_extent(key, std::string_view(value).substr(0, cut)));
    EXPECT_FALSE(view_extent(key, value + '\0'));
    EXPECT_FALSE(view_extent(key.substr(1), value));
  }
}

// Flags that this version does not know are refused as a newer format, address 0 as damage.
TEST(VolumeMap, RefusesWhatNoWriterMakes) {
  const MapExtent extent{1, BlockAddr(9), Txg(2), 1, 0, {5}};
  std::string value;
  encode_extent(extent, value);
  std::string flagged = value;
  flagged[13] = 1;
  EXPECT_EQ(view_extent(map_key(1), flagged).error().code, Errc::unsupported);
  std::string nowhere = value;
  nowhere.replace(0, 6, 6, '\0');
  EXPECT_EQ(view_extent(map_key(1), nowhere).error().code, Errc::corrupt);
  EXPECT_EQ(view_extent(map_key(~u64{0}), value).error().code, Errc::corrupt);
}

}  // namespace
}  // namespace coppice::pool
