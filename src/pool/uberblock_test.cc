// Uberblocks: what opening takes from a device's label, and what it refuses.
#include "pool/uberblock.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/prng.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace coppice::pool {
namespace {

constexpr size_t kVersionAt = 8;
constexpr size_t kReadOnlyCompatibleAt = 24;
constexpr size_t kIncompatibleAt = 32;
constexpr size_t kCrcAt = kBlock - 4;
using Block = std::vector<std::byte>;

Uberblock some_uberblock(Prng& prng, u64 txg) {
  Uberblock uberblock;
  uberblock.features.compatible = prng.next();  // Unknown ones do no harm.
  uberblock.guid = prng.next();
  uberblock.txg = Txg(txg);
  uberblock.time_s = prng.next();
  uberblock.device_blocks = prng.next();
  uberblock.space_sum = prng.next();
  uberblock.metadata_blocks = prng.next();
  uberblock.catalog = {BlockAddr(prng.between(1, u64{1} << 40)), Txg(1),
                       static_cast<u32>(prng.next()), 1, 0};
  if (prng.chance(1, 2))
    uberblock.dead_index = {BlockAddr(77), Txg(1), static_cast<u32>(prng.next()), 2, 3};
  for (LogHead& head : uberblock.logs) head = {BlockAddr(prng.next()), prng.next()};
  uberblock.name = std::string(prng.chance(1, 4) ? kPoolNameMax : prng.below(kPoolNameMax), 'n');
  return uberblock;
}
Block encoded(const Uberblock& uberblock) {
  Block block(kBlock);
  encode(uberblock, block);
  return block;
}
void sign(Block& block) {
  store_le<u32>(block.data() + kCrcAt, crc32c(std::span(block).first(kCrcAt)));
}
Errc code_of(const Block& block) {
  const auto decoded = decode_uberblock(block);
  return decoded ? Errc::closed : decoded.error().code;
}

class Label {
 public:
  Result<Uberblock> read() { return scheduler.run(lane, read_uberblock(disk)); }
  void write(const Uberblock& uberblock) {
    ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, uberblock)));
    ASSERT_TRUE(scheduler.run(lane, disk.flush()));
  }
  void corrupt(u64 block) { media.corrupt(block * kBlock, kBlock); }

  sim::Scheduler scheduler{1};
  sim::Executor& lane = scheduler.make_executor();
  sim::Media media{2_MiB, 1};
  sim::Disk disk{media, lane};
};

TEST(Uberblock, GoesRound) {
  for (u64 seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const Uberblock uberblock = some_uberblock(prng, prng.between(1, ~u64{0}));
    const auto again = decode_uberblock(encoded(uberblock));
    ASSERT_TRUE(again) << describe(again.error());
    EXPECT_EQ(*again, uberblock);
  }
}

// Any changed byte is noticed; in the magic number it makes the block no uberblock at all.
TEST(Uberblock, EveryFlippedByteIsFound) {
  Prng prng(2);
  Block block = encoded(some_uberblock(prng, 5));
  for (size_t at = 0; at < kBlock; ++at) {
    const std::byte flip{static_cast<u8>(prng.between(1, 255))};
    block[at] ^= flip;
    EXPECT_EQ(code_of(block), at < 8 ? Errc::invalid : Errc::corrupt) << at;
    block[at] ^= flip;
  }
  EXPECT_EQ(code_of(block), Errc::closed);
}

TEST(Uberblock, RefusesNewerVersionsAndUnknownFeatures) {
  Prng prng(3);
  const Block good = encoded(some_uberblock(prng, 5));
  Block newer = good;
  store_le<u32>(newer.data() + kVersionAt, kFormatVersion + 1);
  EXPECT_EQ(code_of(newer), Errc::corrupt);  // As long as nobody signed it.
  sign(newer);
  EXPECT_EQ(code_of(newer), Errc::unsupported);
  EXPECT_NE(describe(decode_uberblock(newer).error()).find("version 2"), std::string::npos);
  for (const size_t at : {kReadOnlyCompatibleAt, kIncompatibleAt}) {
    Block unknown = good;
    store_le<u64>(unknown.data() + at, u64{1} << 63);
    sign(unknown);
    EXPECT_EQ(code_of(unknown), Errc::unsupported);
  }
}

TEST(Uberblock, RefusesWhatNoWriterMakes) {
  Prng prng(4);
  Uberblock uberblock = some_uberblock(prng, 5);
  uberblock.txg = Txg(0);
  EXPECT_EQ(code_of(encoded(uberblock)), Errc::corrupt);
  uberblock.txg = Txg(1);
  uberblock.catalog.blocks = 0;
  EXPECT_EQ(code_of(encoded(uberblock)), Errc::corrupt);
  EXPECT_EQ(code_of(Block(kBlock)), Errc::invalid);
}

// Opening takes the newest group of which either copy is whole.
TEST(Uberblock, TheNewestWholeOneCounts) {
  Prng prng(5);
  Label label;
  EXPECT_EQ(label.read().error().code, Errc::invalid);
  std::vector<Uberblock> written;
  for (u64 txg = 60; txg < 70; ++txg) {  // Across the ring's end.
    written.push_back(some_uberblock(prng, txg));
    label.write(written.back());
    EXPECT_EQ(*label.read(), written.back());
  }
  label.corrupt(69 % kUberblockSlots);
  EXPECT_EQ(label.read()->txg, Txg(69));
  label.corrupt(kSecondRingBlock + 69 % kUberblockSlots);
  EXPECT_EQ(*label.read(), written[8]);
  for (u64 txg = 60; txg < 69; ++txg) {
    label.corrupt(txg % kUberblockSlots);
    label.corrupt(kSecondRingBlock + txg % kUberblockSlots);
  }
  EXPECT_EQ(label.read().error().code, Errc::corrupt);
}

// Power that goes while one is written leaves it, or the one before.
TEST(Uberblock, ATornOneLeavesTheOneBefore) {
  for (u64 seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    sim::Scheduler scheduler(seed);
    sim::Executor& lane = scheduler.make_executor();
    sim::Media media(2_MiB, seed);
    sim::Disk disk(media, lane);
    const Uberblock before = some_uberblock(prng, 64), after = some_uberblock(prng, 128);
    ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, before)));
    ASSERT_TRUE(scheduler.run(lane, disk.flush()));
    ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, some_uberblock(prng, 65))));
    ASSERT_TRUE(scheduler.run(lane, disk.flush()));
    ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, after)));  // Over the slot of 64.
    media.power_loss();
    sim::Disk again(media, lane);
    const auto read = scheduler.run(lane, read_uberblock(again));
    ASSERT_TRUE(read) << describe(read.error());
    EXPECT_TRUE(read->txg == Txg(65) || *read == after);
  }
}

// A block of the label that the device cannot read is as if it were not there; if it can read none,
// that is the error.
TEST(Uberblock, UnreadableBlocksAreLeftOut) {
  sim::Scheduler scheduler(1);
  sim::Executor& lane = scheduler.make_executor();
  sim::Media media(2_MiB, 1);
  sim::Disk disk(media, lane);
  Prng prng(1);
  const Uberblock before = some_uberblock(prng, 63), newest = some_uberblock(prng, 64);
  ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, before)));
  ASSERT_TRUE(scheduler.run(lane, write_uberblock(disk, newest)));
  media.faults.read_error_one_in = 1;
  media.faults.end = kBlock;  // The first copy of the newest.
  const auto read = scheduler.run(lane, read_uberblock(disk));
  ASSERT_TRUE(read) << describe(read.error());
  EXPECT_EQ(*read, newest);
  media.faults.end = ~u64{0};
  EXPECT_EQ(scheduler.run(lane, read_uberblock(disk)).error().code, Errc::io);
}

TEST(Uberblock, TooSmallADeviceIsNoPool) {
  sim::Scheduler scheduler(1);
  sim::Executor& lane = scheduler.make_executor();
  sim::Media media(64_KiB, 1);
  sim::Disk disk(media, lane);
  EXPECT_EQ(scheduler.run(lane, read_uberblock(disk)).error().code, Errc::invalid);
}

}  // namespace
}  // namespace coppice::pool
