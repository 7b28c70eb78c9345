// The engine from outside, on a simulated disk: what its users rely on, one property a test.
#include "pool/pool.h"

#include "pool/pool_bed.h"

namespace coppice::pool {
namespace {

TEST(Pool, ReadsWhatWasWrittenAcrossGroupsAndRestarts) {
  Bed bed(1);
  const DatasetId id = bed.make_volume("v", 8_MiB);
  {
    blk::Device& device = bed.device(id);
    const auto a = pattern(1, 300'000), b = pattern(2, 5'000);
    bed.write(device, 12'345, a);
    EXPECT_EQ(bed.read(device, 12'345, a.size()), a);
    EXPECT_TRUE(bed.run(bed.pool->sync()));
    bed.write(device, 100'001, b);
    auto expected = a;
    std::copy(b.begin(), b.end(), expected.begin() + (100'001 - 12'345));
    EXPECT_EQ(bed.read(device, 12'345, a.size()), expected);
    EXPECT_TRUE(bed.run(bed.pool->sync()));
    EXPECT_EQ(bed.read(device, 12'345, a.size()), expected);
    bed.expect_sound();
    bed.close();
    bed.open();
    EXPECT_EQ(bed.read(bed.device(id), 12'345, a.size()), expected);
  }
  bed.expect_sound();
}

TEST(Pool, KeepsWhatWasFlushedWhenThePowerGoes) {
  for (u64 seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed);
    const DatasetId id = bed.make_volume("v", 8_MiB);
    const auto a = pattern(seed, 200'000), b = pattern(seed + 100, 4'096);
    blk::Device& device = bed.device(id);
    bed.write(device, 4096, a);
    EXPECT_TRUE(bed.on(device, device.flush()));
    bed.write(device, 8192, b);
    EXPECT_TRUE(bed.on(device, device.flush()));
    EXPECT_TRUE(bed.on(device, device.zero(16384, 8192, {.fua = true})));
    auto expected = a;
    std::copy(b.begin(), b.end(), expected.begin() + 4096);
    std::fill_n(expected.begin() + 12288, 8192, std::byte{0});
    bed.power_loss();
    EXPECT_EQ(bed.read(bed.device(id), 4096, a.size()), expected);
    bed.expect_sound();
    bed.power_loss();
    EXPECT_EQ(bed.read(bed.device(id), 4096, a.size()), expected);
    bed.expect_sound();
  }
}

TEST(Pool, GivesBackAllSpaceWhenEverythingIsDestroyed) {
  Bed bed(3);
  const u64 before = bed.used();
  const DatasetId v = bed.make_volume("v", 16_MiB);
  bed.write(bed.device(v), 0, pattern(1, 4_MiB));
  const SnapshotId s1 = bed.snapshot(v, "s1");
  bed.write(*&bed.handles.back()->device(), 1_MiB, pattern(2, 1_MiB));
  const SnapshotId s2 = bed.snapshot(v, "s2");
  bed.write(bed.handles.back()->device(), 2_MiB + 512, pattern(3, 1_MiB));
  const DatasetId c = bed.clone(s2, "c");
  bed.write(bed.device(c), 0, pattern(4, 3_MiB));
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.view(s1), 0, 4_MiB), pattern(1, 4_MiB));
  bed.handles.clear();
  bed.settle();
  bed.promote(c);
  bed.expect_sound();
  bed.drop_snapshot(s1);
  bed.expect_sound();
  bed.drop_volume(v);
  bed.expect_sound();
  bed.drop_snapshot(s2);
  bed.expect_sound();
  bed.drop_volume(c);
  bed.used();
  bed.expect_sound();
  EXPECT_LE(bed.used(), before + 4);  // The catalog's own nodes may have another shape.
}

TEST(Pool, RollsBackToTheSnapshot) {
  Bed bed(4);
  const DatasetId v = bed.make_volume("v", 16_MiB);
  const auto a = pattern(1, 2_MiB);
  bed.write(bed.device(v), 0, a);
  const SnapshotId s = bed.snapshot(v, "s");
  bed.write(bed.handles.back()->device(), 1_MiB, pattern(2, 3_MiB));
  EXPECT_TRUE(bed.run(bed.pool->sync()));
  bed.handles.clear();
  bed.settle();
  bed.roll_back(v, s);
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.device(v), 0, 2_MiB), a);
  EXPECT_EQ(bed.read(bed.handles.back()->device(), 2_MiB, 2_MiB), std::vector<std::byte>(2_MiB));
  bed.write(bed.handles.back()->device(), 4096, pattern(5, 1_MiB));
  bed.used();
  bed.expect_sound();
  bed.power_loss();
  EXPECT_EQ(bed.read(bed.view(s), 0, 2_MiB), a);
  bed.expect_sound();
}

TEST(Pool, ScrubFindsARottenBlockAndReadsRefuseIt) {
  Bed bed(5);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.write(bed.device(v), 0, pattern(1, 1_MiB));
  EXPECT_TRUE(bed.run(bed.pool->sync()));
  const auto stats = bed.run(bed.pool->volume_stats(v));
  EXPECT_EQ(stats->write.operations, 1u);
  EXPECT_TRUE(bed.run(bed.pool->scrub_start()));
  bed.settle();
  for (int i = 0; i < 1000 && bed.pool->scrub_status().state == ScrubStatus::State::running; ++i)
    bed.settle();
  EXPECT_EQ(bed.pool->scrub_status().state, ScrubStatus::State::finished);
  EXPECT_EQ(bed.pool->scrub_status().errors, 0u);
}

}  // namespace
}  // namespace coppice::pool
