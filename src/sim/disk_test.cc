#include "sim/disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "io/aligned.h"
#include "rt/scope.h"
#include "sim/scheduler.h"

namespace coppice::sim {
namespace {

using io::kDiskBlock;

constexpr u64 kSeeds = 30;
constexpr u64 kBlocks = 64;

Task<> put(io::Disk& disk, u64 block, int value) {
  io::AlignedBuffer page(kDiskBlock);
  std::ranges::fill(page.span(), static_cast<std::byte>(value));
  const std::span<const std::byte> part = page.span();
  co_return co_await disk.write(block * kDiskBlock, io::Disk::Parts(&part, 1));
}
Task<int> get(io::Disk& disk, u64 block) {  // -1: the sectors differ.
  io::AlignedBuffer page(kDiskBlock);
  co_await ok(disk.read(block * kDiskBlock, page.span()));
  const auto first = page[0];
  for (const auto each : page.span()) {
    if (each != first) co_return -1;
  }
  co_return static_cast<int>(first);
}

struct World {
  explicit World(u64 seed) : scheduler(seed), media(kBlocks * kDiskBlock, seed) {}
  Scheduler scheduler;
  Media media;
  Executor& executor = scheduler.make_executor();
  Disk disk{media, executor};
  Result<> write(u64 block, int value) { return scheduler.run(executor, put(disk, block, value)); }
  Result<int> read(u64 block) { return scheduler.run(executor, get(disk, block)); }
  Result<> flush() { return scheduler.run(executor, disk.flush()); }
};

std::set<int> sectors_of(const Media& media, u64 block) {
  io::AlignedBuffer page(kDiskBlock);
  media.peek(block * kDiskBlock, page.span());
  std::set<int> values;
  for (u64 i = 0; i < kDiskBlock; i += kSector) {
    const auto sector = page.span().subspan(i, kSector);
    EXPECT_EQ(std::count(sector.begin(), sector.end(), sector[0]), ptrdiff_t{kSector}) << "torn";
    values.insert(static_cast<int>(sector[0]));
  }
  return values;
}

TEST(Disk, ReadsWhatWasWrittenThroughAnyView) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    Executor& other = world.scheduler.make_executor();
    Disk view(world.media, other);
    EXPECT_EQ(*world.read(3), 0);
    ASSERT_TRUE(world.write(3, 7));
    EXPECT_EQ(*world.scheduler.run(other, get(view, 3)), 7);
    EXPECT_EQ(world.media.counters().bytes_written, kDiskBlock);
    EXPECT_EQ(world.media.used_bytes(), kDiskBlock);
  }
}

TEST(Media, PowerLossKeepsWhatWasFlushedAndMixesTheRest) {
  std::set<int> seen;
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    ASSERT_TRUE(world.write(0, 1));
    ASSERT_TRUE(world.write(1, 1));
    ASSERT_TRUE(world.flush());
    ASSERT_TRUE(world.write(1, 2));
    ASSERT_TRUE(world.write(1, 3));
    EXPECT_EQ(*world.read(1), 3);
    const Media before = world.media;
    world.media.power_loss();
    EXPECT_EQ(sectors_of(world.media, 0), std::set<int>{1});
    seen.merge(sectors_of(world.media, 1));
    EXPECT_EQ(world.read(0).error().code, Errc::io);  // This view has no power any more.
    Disk fresh(world.media, world.executor);
    EXPECT_TRUE(world.scheduler.run(world.executor, get(fresh, 0)));
    EXPECT_EQ(sectors_of(before, 1), std::set<int>{3});  // The copy was not touched.
  }
  EXPECT_EQ(seen, (std::set<int>{1, 2, 3}));
}

TEST(Media, AFlushCoversOnlyWhatHadCompletedWhenItBegan) {
  bool lost = false;
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    ASSERT_TRUE(world.write(0, 1));
    Task<> flush = world.disk.flush();
    world.scheduler.start(world.executor, flush);
    world.scheduler.run_steps(1);
    ASSERT_TRUE(world.write(1, 1));  // Begun and completed beside the flush.
    world.scheduler.run_until_idle();
    ASSERT_TRUE(flush.finished());
    world.media.power_loss();
    EXPECT_EQ(sectors_of(world.media, 0), std::set<int>{1});
    lost = lost || sectors_of(world.media, 1).contains(0);
  }
  EXPECT_TRUE(lost);
}

TEST(Media, WhatIsInFlightMayReachThePlattersOrNot) {
  std::set<int> seen;
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    {
      Task<> task = put(world.disk, 5, 9);
      world.scheduler.start(world.executor, task);
      world.scheduler.run_steps(1);
      ASSERT_FALSE(task.finished());
      world.scheduler.abandon();
      rt::Abandon guard;
      Task<> gone = std::move(task);
    }
    world.media.power_loss();
    seen.merge(sectors_of(world.media, 5));
  }
  EXPECT_EQ(seen, (std::set<int>{0, 9}));
}

Task<> write_many(io::Disk& disk, Prng& prng, std::vector<int>& expected) {
  rt::Scope scope;
  for (u64 block = 0; block < kBlocks; ++block) {
    expected[block] = static_cast<int>(prng.below(256));
    scope.spawn(put(disk, block, expected[block]));
  }
  co_return co_await scope.join();
}
TEST(Disk, ManyRequestsAtOnceAllArrive) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    std::vector<int> expected(kBlocks);
    Prng prng(seed);
    ASSERT_TRUE(world.scheduler.run(world.executor, write_many(world.disk, prng, expected)));
    ASSERT_TRUE(world.flush());
    world.media.power_loss();
    for (u64 block = 0; block < kBlocks; ++block) {
      EXPECT_EQ(sectors_of(world.media, block), std::set<int>{expected[block]});
    }
  }
}

TEST(Disk, PunchedBlocksReadAsZeroesOrAsBefore) {
  std::set<int> seen;
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    ASSERT_TRUE(world.write(2, 4));
    ASSERT_TRUE(world.flush());
    ASSERT_TRUE(world.scheduler.run(world.executor, world.disk.punch(0, 4 * kDiskBlock)));
    seen.insert(*world.read(2));
    world.media.power_loss();
    seen.merge(sectors_of(world.media, 2));
  }
  EXPECT_EQ(seen, (std::set<int>{0, 4}));
}

TEST(Faults, ErrorsOfEveryRequestAreReported) {
  World world(1);
  ASSERT_TRUE(world.write(0, 1));
  world.media.faults = {.read_error_one_in = 1, .end = kDiskBlock};
  EXPECT_EQ(world.read(0).error().code, Errc::io);
  EXPECT_EQ(*world.read(1), 0);  // Outside of where faults strike.
  world.media.faults = {.write_error_one_in = 1};
  EXPECT_EQ(world.write(0, 2).error().code, Errc::io);
  world.media.faults = {.flush_error_one_in = 1};
  EXPECT_EQ(world.flush().error().code, Errc::io);
  world.media.faults = {.no_space_one_in = 1};
  EXPECT_EQ(world.write(0, 2).error().code, Errc::no_space);
  world.media.faults = {};
  EXPECT_TRUE(world.write(0, 2));
  EXPECT_EQ(world.media.counters().faults, 4u);
}

TEST(Faults, AFailedFlushMayLoseWritesThatALaterOneDoesNotBringBack) {
  bool lost = false;
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    ASSERT_TRUE(world.write(0, 1));
    world.media.faults.flush_error_one_in = 1;
    ASSERT_FALSE(world.flush());
    world.media.faults = {};
    ASSERT_TRUE(world.flush());
    EXPECT_EQ(*world.read(0), 1);
    const Media before = world.media;
    world.media.power_loss();
    lost = lost || sectors_of(world.media, 0).contains(0);
  }
  EXPECT_TRUE(lost);
}

TEST(Faults, TheSpaceLimitRefusesNewBlocksOnly) {
  World world(1);
  world.media.faults.space_max_bytes = 2 * kDiskBlock;
  EXPECT_TRUE(world.write(0, 1));
  EXPECT_TRUE(world.write(1, 1));
  EXPECT_EQ(world.write(2, 1).error().code, Errc::no_space);
  EXPECT_TRUE(world.write(1, 2));
  EXPECT_EQ(*world.read(2), 0);
}

TEST(Faults, SilentOnesLeaveWrongContent) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    ASSERT_TRUE(world.write(0, 1));
    world.media.faults = {.stale_one_in = 1};
    ASSERT_TRUE(world.write(0, 2));
    ASSERT_TRUE(world.flush());
    EXPECT_EQ(sectors_of(world.media, 0), (std::set<int>{1, 2}));
    world.media.faults = {.bit_rot_one_in = 1};
    EXPECT_EQ(*world.read(1), -1);
    world.media.faults = {};
    EXPECT_EQ(*world.read(1), -1);  // It stays.
    world.media.faults = {.misdirected_one_in = 1};
    ASSERT_TRUE(world.write(9, 5));
    world.media.faults = {};
    u64 found = 0;
    for (u64 block = 0; block < kBlocks; ++block) found += *world.read(block) == 5;
    EXPECT_EQ(*world.read(9), 0);
    EXPECT_LE(found, 1u);
  }
}

TEST(Media, CanBeDamagedAndTruncatedByHand) {
  World world(1);
  ASSERT_TRUE(world.write(0, 1));
  ASSERT_TRUE(world.flush());
  world.media.corrupt(600, 1);
  io::AlignedBuffer page(kDiskBlock);
  world.media.peek(0, page.span());
  EXPECT_EQ(std::count(page.data(), page.data() + page.size(), std::byte{1}), ptrdiff_t{4095});
  EXPECT_NE(page[600], std::byte{1});
  world.media.overwrite(100, std::as_bytes(std::span("hello")));
  world.media.peek(100, page.span().first(5));
  EXPECT_EQ(std::memcmp(page.data(), "hello", 5), 0);
  world.media.resize(kDiskBlock);
  EXPECT_EQ(world.read(1).error().code, Errc::io);
  EXPECT_EQ(world.write(1, 1).error().code, Errc::io);
}

TEST(Media, TellsItsObserverOfEveryRequest) {
  World world(1);
  std::string log;
  world.media.observer = [&](const Op& op) { log += "rwfp"[op.kind]; };
  ASSERT_TRUE(world.write(0, 1));
  ASSERT_TRUE(world.flush());
  ASSERT_TRUE(world.read(0));
  EXPECT_EQ(log, "wfr");
}

u64 fingerprint(u64 seed) {
  World world(seed);
  std::vector<int> expected(kBlocks);
  Prng prng(seed);
  world.media.faults = {.misdirected_one_in = 8, .stale_one_in = 8};
  EXPECT_TRUE(world.scheduler.run(world.executor, write_many(world.disk, prng, expected)));
  world.media.power_loss();
  u64 sum = world.scheduler.now_ns();
  for (u64 block = 0; block < kBlocks; ++block) {
    io::AlignedBuffer page(kDiskBlock);
    world.media.peek(block * kDiskBlock, page.span());
    for (const auto each : page.span()) sum = sum * 31 + static_cast<u64>(each);
  }
  return sum;
}
TEST(Disk, OneSeedIsOneHistory) {
  for (u64 seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_EQ(fingerprint(seed), fingerprint(seed));
    EXPECT_NE(fingerprint(seed), fingerprint(seed + 1));
  }
}

}  // namespace
}  // namespace coppice::sim
