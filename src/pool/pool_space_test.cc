// Space: full pools, limits, sizes that change, and volumes that are larger than any device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/pool_bed.h"

namespace coppice::pool {
namespace {

using testing::HasSubstr;

// Writes `piece` bytes at a time, from `offset` on, until it is refused; how many were taken.
u64 fill(Bed& bed, blk::Device& device, u64 offset, u64 length, u64 piece, Errc expected) {
  for (u64 at = 0; at < length; at += piece) {
    const auto done = bed.try_write(device, offset + at, pattern(at, piece));
    if (done) continue;
    EXPECT_EQ(done.error().code, expected) << describe(done.error());
    return at;
  }
  ADD_FAILURE() << "there was room for everything";
  return length;
}

// A full pool refuses writes, stays sound and keeps all it has; destroying a snapshot and the
// administration that goes with it still work, and the space can be written again.
TEST(PoolSpace, AFullPoolLosesNothingAndRecovers) {
  for (u64 seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed, 32_MiB);
    const DatasetId v = bed.make_volume("v", 64_MiB);
    const auto old = pattern(seed, 8_MiB);
    blk::Device& device = bed.device(v);
    bed.write(device, 0, old);
    const SnapshotId s = bed.snapshot(v, "s");
    const u64 taken = fill(bed, device, 0, 64_MiB, seed == 1 ? 4096 : 192'512, Errc::no_space);
    EXPECT_GT(taken, 12_MiB);
    EXPECT_EQ(bed.try_write(device, 60_MiB, pattern(1, 1_MiB)).error().code, Errc::no_space);
    bed.sync();
    EXPECT_EQ(bed.read(bed.view(s), 0, 8_MiB), old);
    bed.expect_sound();
    bed.power_loss();
    blk::Device& again = bed.device(v);
    const u64 piece = seed == 1 ? 4096 : 192'512;
    for (u64 at = 0; at < taken; at += piece * 7)
      ASSERT_EQ(bed.read(again, at, piece), pattern(at, piece));
    for (int i = 0; i < 20; ++i) bed.snapshot(v, "more" + std::to_string(i));
    bed.drop_snapshot(s);
    const u64 used = bed.used();
    bed.expect_sound();
    bed.commit([&](Transaction& transaction) {
      for (const SnapshotId each : transaction.snapshots(v)) {
        const Snapshot snap = *transaction.snapshot(each);
        transaction.erase_snapshot(each);
        transaction.add_tree_op(DropSnapshot{v, each, snap.createtxg});
      }
    });
    EXPECT_LE(bed.used(), used);
    const auto fresh = pattern(99, 4_MiB);
    bed.write(again, 40_MiB, fresh);
    ASSERT_TRUE(bed.on(again, again.flush()));
    EXPECT_EQ(bed.read(again, 40_MiB, fresh.size()), fresh);
    bed.expect_sound();
  }
}

// Overwriting a full volume over and over needs no more than the pool has: what a group frees comes
// back.
TEST(PoolSpace, AFullPoolCanBeOverwritten) {
  Bed bed(4, 32_MiB);
  const DatasetId v = bed.make_volume("v", 16_MiB);
  blk::Device& device = bed.device(v);
  auto expected = pattern(1, 16_MiB);
  bed.write(device, 0, expected);
  Prng prng(4);
  for (u64 i = 0; i < 200; ++i) {
    const auto part = pattern(i, prng.between(1, 300'000));
    const u64 at = prng.below(16_MiB - part.size());
    const auto done = bed.try_write(device, at, part);
    ASSERT_TRUE(done) << i << ": " << describe(done.error());
    std::copy(part.begin(), part.end(), expected.begin() + static_cast<long>(at));
  }
  EXPECT_EQ(bed.read(device, 0, expected.size()), expected);
  bed.expect_sound();
}

// A quota, of the volume or a group above it, ends what can be written, within one group's worth.
TEST(PoolSpace, QuotasHold) {
  Bed bed(5);
  DatasetId g{}, v{};
  bed.commit([&](Transaction& transaction) {
    Dataset group;
    group.parent = transaction.root();
    group.name = "g";
    group.properties["quota"] = std::to_string(4_MiB);
    g = transaction.new_dataset(group);
    Dataset volume;
    volume.parent = g;
    volume.name = "v";
    volume.type = DatasetType::volume;
    volume.volsize_bytes = 64_MiB;
    v = transaction.new_dataset(volume);
    transaction.add_tree_op(MakeVolume{v});
  });
  blk::Device& device = bed.device(v);
  const u64 taken = fill(bed, device, 0, 64_MiB, 65'536, Errc::quota);
  EXPECT_GE(taken, 3_MiB);
  EXPECT_LE(taken, 4_MiB);
  bed.sync();
  bed.set(v, "quota", std::to_string(1_MiB));  // Below what it has: no more, but nothing is lost.
  EXPECT_EQ(bed.try_write(device, 32_MiB, pattern(1, 4096)).error().code, Errc::quota);
  EXPECT_EQ(bed.read(device, 0, 65'536), pattern(0, 65'536));
  ASSERT_TRUE(bed.on(device, device.discard(0, 64_MiB, {})));
  bed.sync();
  bed.write(device, 0, pattern(1, 512_KiB));
  bed.set(v, "quota", "none");
  bed.set(g, "quota", "none");
  bed.write(device, 0, pattern(2, 8_MiB));
  bed.expect_sound();
}

// What is reserved for one volume is not for others to write, and there when it is wanted.
TEST(PoolSpace, ReservationsHold) {
  Bed bed(6, 32_MiB);
  const DatasetId a = bed.make_volume("a", 64_MiB), b = bed.make_volume("b", 64_MiB);
  const u64 without = [&] {
    const u64 taken = fill(bed, bed.device(b), 0, 64_MiB, 65'536, Errc::no_space);
    EXPECT_TRUE(
        bed.on(bed.handles.back()->device(), bed.handles.back()->device().discard(0, 64_MiB, {})));
    bed.sync();
    bed.sync();
    return taken;
  }();
  bed.set(a, "reservation", std::to_string(10_MiB));
  const u64 with = fill(bed, bed.handles.back()->device(), 0, 64_MiB, 65'536, Errc::no_space);
  EXPECT_LE(with + 10_MiB, without + 1_MiB);
  EXPECT_GE(with + 11_MiB, without);
  bed.write(bed.device(a), 0, pattern(1, 9_MiB));
  bed.sync();
  EXPECT_EQ(bed.read(bed.handles.back()->device(), 0, 9_MiB), pattern(1, 9_MiB));
  bed.expect_sound();
}

// A volume that shrinks loses its end and no more; grown again, it reads as zeroes there. Its
// snapshot keeps its size.
TEST(PoolSpace, VolumesShrinkAndGrow) {
  Bed bed(7);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  const auto bytes = pattern(1, 4_MiB);
  blk::Device& device = bed.device(v);
  bed.write(device, 0, bytes);
  const SnapshotId s = bed.snapshot(v, "s");
  bed.write(device, 3_MiB, pattern(2, 4096));  // Dirty while it shrinks.
  bed.resize(v, 1_MiB + 4096);
  EXPECT_EQ(device.size_bytes(), 1_MiB + 4096);
  std::vector<std::byte> into(4096);
  EXPECT_EQ(bed.try_read(device, 1_MiB + 4096, into).error().code, Errc::invalid);
  EXPECT_EQ(bed.try_write(device, 1_MiB + 1, into).error().code, Errc::invalid);
  bed.expect_sound();
  bed.resize(v, 8_MiB);
  auto expected = bytes;
  std::fill(expected.begin() + 1_MiB + 4096, expected.end(), std::byte{0});
  EXPECT_EQ(bed.read(device, 0, 4_MiB), expected);
  EXPECT_EQ(bed.read(bed.view(s), 0, 4_MiB), bytes);
  bed.expect_sound();
  bed.power_loss();
  EXPECT_EQ(bed.read(bed.device(v), 0, 4_MiB), expected);
}

TEST(PoolSpace, PoolsGrowWithTheirDevice) {
  Bed bed(8, 32_MiB);
  const DatasetId v = bed.make_volume("v", 400_MiB);
  blk::Device& device = bed.device(v);
  fill(bed, device, 0, 64_MiB, 1_MiB, Errc::no_space);
  const u64 total = bed.stats().total_blocks;
  bed.media().resize(300_MiB);  // Into regions that there were not.
  ASSERT_TRUE(bed.run(bed.pool->grow()));
  EXPECT_GT(bed.stats().total_blocks, total * 8);
  const auto bytes = pattern(3, 8_MiB);
  for (u64 at = 100_MiB; at < 300_MiB; at += 16_MiB) bed.write(device, at, bytes);
  bed.sync();
  bed.expect_sound();
  bed.power_loss();
  for (u64 at = 100_MiB; at < 300_MiB; at += 16_MiB)
    EXPECT_EQ(bed.read(bed.device(v), at, bytes.size()), bytes);
  bed.media().resize(200_MiB);
  EXPECT_EQ(bed.run(bed.pool->grow()).error().code, Errc::invalid);
  bed.media().resize(300_MiB);
}

// 8 EiB: writes at both ends and between, zeroes over all of it, in one step.
TEST(PoolSpace, TheLargestVolumeCostsWhatIsWritten) {
  constexpr u64 kSize = u64{1} << 63;
  Bed bed(9);
  const u64 before = bed.used_by_volumes();
  const DatasetId v = bed.make_volume("v", kSize);
  blk::Device& device = bed.device(v);
  const auto bytes = pattern(1, 10'000);
  const std::vector<u64> places{0, 4095, kSize / 2 - 5000, kSize / 3, kSize - bytes.size()};
  for (const u64 at : places) bed.write(device, at, bytes);
  EXPECT_FALSE(bed.try_write(device, kSize - bytes.size() + 1, bytes));
  EXPECT_FALSE(bed.try_write(device, ~u64{0} - 10, bytes));
  const SnapshotId s = bed.snapshot(v, "s");
  bed.power_loss();
  {
    blk::Device& again = bed.device(v);
    for (const u64 at : {places[2], places[3], places[4]})
      EXPECT_EQ(bed.read(again, at, bytes.size()), bytes);
    EXPECT_EQ(bed.read(again, kSize / 4, 1_MiB), std::vector<std::byte>(1_MiB));
    const auto extents = bed.on(again, again.extents(0, kSize, 100));
    ASSERT_TRUE(extents);
    u64 end = 0, holes = 0;
    for (const blk::Extent& extent : *extents) {
      EXPECT_EQ(extent.offset, end);
      end += extent.length;
      holes += extent.hole;
    }
    EXPECT_EQ(end, kSize);
    EXPECT_GE(holes, 3u);
    EXPECT_LT(bed.stats().used_blocks, 100u);
    bed.write(again, kSize - 4096, pattern(2, 4096));  // Dirty when it is discarded.
    ASSERT_TRUE(bed.on(again, again.discard(100, kSize - 200, {})));
    EXPECT_EQ(bed.read(again, 0, 100), std::vector(bytes.begin(), bytes.begin() + 100));
    EXPECT_EQ(bed.read(again, kSize / 3, 10'000), std::vector<std::byte>(10'000));
    bed.sync();
    EXPECT_EQ(bed.read(again, kSize - 4096, 3996), std::vector<std::byte>(3996));
    EXPECT_EQ(bed.read(again, kSize - 100, 100), [] {
      const auto all = pattern(2, 4096);
      return std::vector(all.end() - 100, all.end());
    }());
    EXPECT_EQ(bed.read(bed.view(s), kSize / 3, bytes.size()), bytes);
  }
  bed.expect_sound();
  bed.let_go();
  bed.drop_snapshot(s);
  bed.drop_volume(v);
  EXPECT_EQ(bed.used_by_volumes(), before);
  bed.expect_sound();
}

}  // namespace
}  // namespace coppice::pool
