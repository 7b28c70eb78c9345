// A pool on a device that lies, fails or fills up: a clear error each, and never wrong bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/endian.h"
#include "pool/pool_bed.h"
#include "pool/uberblock.h"

namespace coppice::pool {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The blocks of the device that hold anything.
std::vector<u64> written_blocks(const sim::Media& media) {
  std::vector<u64> blocks;
  std::vector<std::byte> bytes(kBlock);
  for (u64 block = 0; block < media.size_bytes() / kBlock; ++block) {
    media.peek(block * kBlock, bytes);
    if (std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; }))
      blocks.push_back(block);
  }
  return blocks;
}
std::string kind_of(const sim::Media& media, u64 block) {
  std::vector<std::byte> bytes(kBlock);
  media.peek(block * kBlock, bytes);
  const std::string magic(reinterpret_cast<const char*>(bytes.data()), 8);
  if (magic == "CopcPool") return "uberblock";
  if (magic == "CoCpLog1") return "log record";
  if (magic.substr(0, 4) == "CpNd") return "node";
  if (magic.substr(0, 4) == "CpSa" || magic.substr(0, 4) == "aSpC") return "bitmap";
  return "data";
}

// What reading all of a device, block by block, gives: how many reads failed; wrong bytes fail the
// test. `permitted`: the contents that each block may have.
u64 failed_reads(Bed& bed, blk::Device& device,
                 const std::vector<const std::vector<std::byte>*>& permitted) {
  u64 failed = 0;
  std::vector<std::byte> block(kBlock);
  for (u64 at = 0; at < permitted[0]->size(); at += kBlock) {
    const auto read = bed.try_read(device, at, block);
    if (!read) {
      ++failed;
      EXPECT_THAT(describe(read.error()), Not(IsEmpty()));
      EXPECT_TRUE(read.error().code == Errc::corrupt || read.error().code == Errc::io);
      continue;
    }
    const bool right = std::any_of(permitted.begin(), permitted.end(), [&](const auto* version) {
      return std::equal(block.begin(), block.end(), version->begin() + static_cast<long>(at));
    });
    EXPECT_TRUE(right) << "wrong bytes at " << at;
  }
  return failed;
}

// Flips bits of one block after another of a pool that was closed in good order. Each is noticed,
// when opening, reading or checking, if the pool uses the block; both copies of an uberblock stand
// for each other; and what can be read is right.
TEST(PoolFaults, AFlippedBitInAnyBlockIsNeverReadAsData) {
  const auto first = pattern(1, 256_KiB), second = pattern(2, 64_KiB);
  auto live = first;
  std::copy(second.begin(), second.end(), live.begin() + 64_KiB);
  DatasetId v{};
  SnapshotId s{};
  u64 used = 0;
  Bed origin(1, 16_MiB);
  v = origin.make_volume("v", 1_MiB);
  origin.write(origin.device(v), 0, first);
  s = origin.snapshot(v, "s");
  origin.write(origin.handles.back()->device(), 64_KiB, second);
  origin.sync();
  used = origin.used();
  origin.close();

  std::map<std::string, u64> flipped, unopened, unread, unsound;
  for (const u64 block : written_blocks(origin.media())) {
    const std::string kind = kind_of(origin.media(), block);
    SCOPED_TRACE(kind + " " + std::to_string(block));
    ++flipped[kind];
    Bed bed(block + 1, origin.media());
    bed.media().corrupt(block * kBlock + block * 7 % (kBlock - 64), 1);
    const auto opened = bed.try_open();
    if (!opened) {
      ++unopened[kind];
      EXPECT_EQ(opened.error().code, Errc::corrupt) << describe(opened.error());
      continue;
    }
    const u64 failed =
        failed_reads(bed, bed.device(v), {&live}) + failed_reads(bed, bed.view(s), {&first});
    unread[kind] += failed > 0;
    if (failed > 0 && kind == "data") {
      EXPECT_GT(bed.stats().checksum_errors, 0u);
    }
    bed.let_go();
    const auto found = bed.run(bed.pool->check());
    unsound[kind] += !found || !found->empty();
    EXPECT_TRUE(failed == 0 || !found || !found->empty());
  }
  EXPECT_EQ(unopened["uberblock"] + unread["uberblock"] + unsound["uberblock"], 0u);
  EXPECT_GE(flipped["uberblock"], 8u);
  EXPECT_GE(unopened["bitmap"], 1u);
  EXPECT_GE(unopened["node"], 1u);                 // Of the catalog.
  EXPECT_GE(unread["node"], 2u);                   // Of the live map, of the snapshot's.
  EXPECT_EQ(unread["data"], 64u + 16u);            // All that live volume and snapshot hold.
  EXPECT_GE(unsound["node"], unread["node"] + 1);  // Of the dead index.
  EXPECT_GE(unopened["node"] + unsound["node"] + unsound["data"], used);
}

// The same with an intent log to be replayed. What the log alone vouches for may be lost with its
// record, and then an older content shows: no bytes but those that were once written there.
TEST(PoolFaults, AFlippedBitInTheLogIsNeverReadAsData) {
  const std::vector<std::byte> none(256_KiB);
  auto one = pattern(1, 256_KiB);
  auto two = one, three = one;
  const auto more = pattern(2, 32_KiB);
  std::copy(more.begin(), more.end(), two.begin() + 8_KiB);
  three = two;
  std::copy(more.begin(), more.end(), three.begin() + 128_KiB);
  Bed origin(2, 16_MiB);
  const DatasetId v = origin.make_volume("v", 256_KiB);
  blk::Device& device = origin.device(v);
  origin.write(device, 0, one);
  ASSERT_TRUE(origin.on(device, device.flush()));
  origin.write(device, 8_KiB, more);
  ASSERT_TRUE(origin.on(device, device.flush()));
  origin.write(device, 128_KiB, more);
  ASSERT_TRUE(origin.on(device, device.flush()));
  origin.lose([](sim::Media& media) { media.process_loss(); });

  std::map<std::string, u64> flipped;
  for (const u64 block : written_blocks(origin.media())) {
    const std::string kind = kind_of(origin.media(), block);
    SCOPED_TRACE(kind + " " + std::to_string(block));
    ++flipped[kind];
    Bed bed(block + 1, origin.media());
    bed.media().corrupt(block * kBlock + block * 7 % (kBlock - 64), 1);
    const auto opened = bed.try_open();
    if (!opened) {
      EXPECT_EQ(opened.error().code, Errc::corrupt) << describe(opened.error());
      continue;
    }
    const bool log = kind == "log record" || kind == "data";
    if (log) {
      failed_reads(bed, bed.device(v), {&none, &one, &two, &three});
    } else {
      EXPECT_EQ(failed_reads(bed, bed.device(v), {&three}), 0u);
    }
  }
  EXPECT_GE(flipped["log record"], 3u);
  Bed whole(3, origin.media());
  whole.open();
  EXPECT_EQ(failed_reads(whole, whole.device(v), {&three}), 0u);
  whole.expect_sound();
}

// A block that the device cannot read is an error of that request alone, for as long as it lasts.
TEST(PoolFaults, AReadErrorFailsThatRequestAlone) {
  Bed bed(3);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  const auto bytes = pattern(1, 2_MiB);
  bed.write(bed.device(v), 0, bytes);
  bed.close();
  bed.open();
  blk::Device& device = bed.device(v);
  bed.media().faults.read_error_one_in = 1;
  std::vector<std::byte> into(2_MiB);
  EXPECT_EQ(bed.try_read(device, 0, into).error().code, Errc::io);
  bed.media().faults = {};
  EXPECT_EQ(bed.read(device, 0, bytes.size()), bytes);
  EXPECT_THAT(bed.stats().failed, IsEmpty());
  EXPECT_GT(bed.stats().io_errors, 0u);
  bed.expect_sound();
}

struct WriteFault {
  const char* name;
  void (*arm)(sim::Faults&);
};
class PoolWriteFaults : public testing::TestWithParam<WriteFault> {};

// When the device fails what must not fail, the pool says so and takes no more changes; reads go
// on; and the pool that is opened again has what was flushed before.
TEST_P(PoolWriteFaults, StopThePoolAndLoseNothingFlushed) {
  for (u64 seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed);
    const DatasetId v = bed.make_volume("v", 4_MiB);
    const auto committed = pattern(1, 256_KiB), flushed = pattern(2, 64_KiB),
               late = pattern(3, 64_KiB);
    {
      blk::Device& device = bed.device(v);
      bed.write(device, 0, committed);
      bed.sync();
      bed.write(device, 1_MiB, flushed);
      ASSERT_TRUE(bed.on(device, device.flush()));
      GetParam().arm(bed.media().faults);
      (void)bed.try_write(device, 2_MiB, late);
      const bool by_flush = seed % 2 == 0;
      const auto failed = by_flush ? bed.on(device, device.flush()) : bed.run(bed.pool->sync());
      EXPECT_FALSE(failed);
      EXPECT_FALSE(bed.try_commit([](Transaction&) {}));
      bed.settle();
      EXPECT_THAT(bed.stats().failed, Not(IsEmpty()));
      EXPECT_THAT(bed.warnings, testing::Contains(HasSubstr("takes no more changes")));
      EXPECT_FALSE(bed.try_write(device, 2_MiB, late));
      EXPECT_FALSE(bed.on(device, device.flush()));
      EXPECT_EQ(bed.read(device, 0, committed.size()), committed);
      EXPECT_EQ(bed.read(device, 1_MiB, flushed.size()), flushed);
    }
    bed.close();
    bed.media().faults = {};
    if (seed % 3 == 0) bed.lose([](sim::Media& media) { media.power_loss(); });
    bed.open();
    blk::Device& device = bed.device(v);
    EXPECT_EQ(bed.read(device, 0, committed.size()), committed);
    EXPECT_EQ(bed.read(device, 1_MiB, flushed.size()), flushed);
    failed_reads(bed, device, {&committed});
    bed.expect_sound();
    bed.write(device, 2_MiB, late);
    bed.sync();
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, PoolWriteFaults,
    testing::Values(WriteFault{"write", [](sim::Faults& f) { f.write_error_one_in = 1; }},
                    WriteFault{"flush", [](sim::Faults& f) { f.flush_error_one_in = 1; }},
                    WriteFault{"no_space", [](sim::Faults& f) { f.no_space_one_in = 1; }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PoolFaults, WhatIsNoPoolIsRefused) {
  Bed bed(4);
  bed.make_volume("v", 4_MiB);
  bed.close();
  {
    Bed cut(5, bed.media());
    cut.media().resize(32_MiB);
    const auto opened = cut.try_open();
    EXPECT_EQ(opened.error().code, Errc::corrupt);
    EXPECT_THAT(describe(opened.error()), HasSubstr("truncated"));
  }
  {
    Bed cut(6, bed.media());
    cut.media().resize(512_KiB);
    EXPECT_EQ(cut.try_open().error().code, Errc::invalid);
  }
  {
    Bed blank(7, sim::Media(16_MiB, 7));
    const auto opened = blank.try_open();
    EXPECT_EQ(opened.error().code, Errc::invalid);
    EXPECT_THAT(describe(opened.error()), HasSubstr("not a pool"));
  }
}

// Power that goes again and again while the pool is being opened takes nothing.
TEST(PoolFaults, CrashesDuringRecoveryLoseNothing) {
  for (u64 seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed, 16_MiB);
    const DatasetId v = bed.make_volume("v", 4_MiB);
    auto expected = pattern(seed, 512_KiB);
    {
      blk::Device& device = bed.device(v);
      bed.write(device, 0, expected);
      bed.sync();
      for (u64 i = 0; i < 4; ++i) {
        const auto part = pattern(seed * 100 + i, 40'000);
        bed.write(device, i * 100'000, part);
        std::copy(part.begin(), part.end(), expected.begin() + static_cast<long>(i * 100'000));
        ASSERT_TRUE(bed.on(device, device.flush()));
      }
    }
    bed.lose([](sim::Media& media) { media.power_loss(); });
    for (u64 steps = 1 + seed; !bed.open_and_lose_power(steps); steps += steps / 3 + 1) {}
    bed.open();
    EXPECT_EQ(bed.read(bed.device(v), 0, expected.size()), expected);
    bed.expect_sound();
  }
}

}  // namespace
}  // namespace coppice::pool
