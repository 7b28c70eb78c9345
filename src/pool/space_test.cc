#include "pool/space.h"

#include <gtest/gtest.h>

#include <set>

#include "base/prng.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace coppice::pool {
namespace {

enum class Is : u8 { free, granted, used, dying };

// The same as Space, block by block.
struct Model {
  std::map<u64, Is> blocks;  // All but the free ones.
  std::multimap<Txg, Run> dying;

  Is at(u64 block) const {
    const auto there = blocks.find(block);
    return there == blocks.end() ? Is::free : there->second;
  }
  void set(Run run, Is from, Is to) {
    for (u64 i = 0; i < run.count; ++i) {
      const u64 block = raw(run.start) + i;
      ASSERT_EQ(at(block), from);
      if (to == Is::free)
        blocks.erase(block);
      else
        blocks[block] = to;
    }
  }
  u64 count(Is what) const {
    u64 total = 0;
    for (const auto& [block, is] : blocks) total += is == what;
    return total;
  }
};

struct Bed {
  explicit Bed(u64 seed, u64 blocks)
      : prng(seed), scheduler(seed), media(blocks * kBlock, seed), disk(media, lane) {}
  Result<u64> write(Space& space, Txg txg) { return scheduler.run(lane, space.write(disk, txg)); }
  Result<std::unique_ptr<Space>> load(u64 blocks, Txg txg, u64 sum, u64 guid = 5) {
    return scheduler.run(lane, Space::load(disk, blocks, txg, sum, guid));
  }
  Prng prng;
  sim::Scheduler scheduler;
  sim::Executor& lane = scheduler.make_executor();
  sim::Media media;
  sim::Disk disk;
};

void expect_same(const Space& space, const Model& model) {
  ASSERT_EQ(space.used_blocks(), model.count(Is::used));
  ASSERT_EQ(space.granted_blocks(), model.count(Is::granted));
  ASSERT_EQ(space.dying_blocks(), model.count(Is::dying));
  ASSERT_EQ(space.free_blocks(), space.total_blocks() - model.blocks.size());
  for (const auto& [block, is] : model.blocks)
    ASSERT_EQ(space.is_used(BlockAddr(block)), is == Is::used);
}

// One random step; granted and used runs are kept in lists.
struct Player {
  Space* space;
  Model model;
  std::vector<Run> granted, used;

  static Run pick(Prng& prng, std::vector<Run>& runs) {
    std::swap(runs[prng.below(runs.size())], runs.back());
    const Run run = runs.back();
    runs.pop_back();
    return run;
  }
  // Splits `run`, puts the rest back.
  static Run part(Prng& prng, Run run, std::vector<Run>& rest) {
    const u32 count = static_cast<u32>(prng.between(1, run.count));
    if (count < run.count) rest.push_back({run.start + count, run.count - count});
    return {run.start, count};
  }
  void take(Prng& prng) {
    const u64 want = prng.chance(1, 4) ? prng.between(1, 5000) : prng.between(1, 64);
    const u64 free_before = space->free_blocks();
    auto runs = space->take(want);
    if (!runs) {
      ASSERT_EQ(runs.error().code, Errc::no_space);
      ASSERT_EQ(free_before, 0u);
      return;
    }
    u64 total = 0;
    for (const Run& run : *runs) {
      ASSERT_TRUE(space->in_range(run));
      model.set(run, Is::free, Is::granted);
      granted.push_back(run);
      total += run.count;
    }
    ASSERT_GT(total, 0u);
    ASSERT_LE(total, want);
  }
  void step(Prng& prng, Txg open) {
    const u64 dice = prng.below(10);
    if (dice < 4) {
      take(prng);
    } else if (dice < 7 && !granted.empty()) {
      const Run run = part(prng, pick(prng, granted), granted);
      if (prng.chance(1, 8)) {
        space->untake(run);
        model.set(run, Is::granted, Is::free);
      } else if (prng.chance(1, 8)) {
        space->kill_granted(open, run);
        model.set(run, Is::granted, Is::dying);
        model.dying.emplace(open, run);
      } else {
        space->use(run);
        model.set(run, Is::granted, Is::used);
        used.push_back(run);
      }
    } else if (!used.empty()) {
      const Run run = part(prng, pick(prng, used), used);
      space->kill(open, run);
      model.set(run, Is::used, Is::dying);
      model.dying.emplace(open, run);
    }
  }
  void settle(Txg durable) {
    u64 expected = 0, freed = 0;
    while (!model.dying.empty() && model.dying.begin()->first <= durable) {
      const Run run = model.dying.begin()->second;
      model.set(run, Is::dying, Is::free);
      expected += run.count;
      model.dying.erase(model.dying.begin());
    }
    u64 end = 0;
    for (const Run& run : space->settle(durable)) {
      ASSERT_GT(raw(run.start), end) << "runs are merged and in order";
      end = raw(run.start) + run.count;
      freed += run.count;
      for (u64 i = 0; i < run.count; ++i) ASSERT_EQ(model.at(raw(run.start) + i), Is::free);
    }
    ASSERT_EQ(freed, expected);
  }
  void reload(std::unique_ptr<Space>& into) {  // Only what is used survives.
    space = into.get();
    for (const Run& run : granted) model.set(run, Is::granted, Is::free);
    granted.clear();
    while (!model.dying.empty()) {
      model.set(model.dying.begin()->second, Is::dying, Is::free);
      model.dying.erase(model.dying.begin());
    }
  }
};

// A Space agrees with a map of all blocks through groups, reloads, undone groups and growth.
TEST(Space, AgreesWithAModel) {
  for (u64 seed = 0; seed < 9; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    u64 blocks = kLabelBlocks + (seed % 3) * kRegionBlocks + 2 + 1 + seed * 300;
    Bed bed(seed, 8 * kRegionBlocks);
    auto space = Space::make(blocks, 5);
    Player player{space.get(), {}, {}, {}};
    Player saved = player;
    u64 sum = 0;
    Txg durable{};
    for (u64 group = 1; group <= 12; ++group) {
      const Txg open{group * 2};
      for (u64 i = bed.prng.below(150); i > 0 && !testing::Test::HasFailure(); --i)
        player.step(bed.prng, open);
      if (bed.prng.chance(1, 4)) {
        // A group that never becomes durable: its bitmaps are on the disk, its uberblock is not.
        ASSERT_TRUE(bed.write(*space, open));
        auto loaded = bed.load(blocks, durable, sum);
        ASSERT_TRUE(loaded) << describe(loaded.error());
        space = *std::move(loaded);
        player = saved;
        player.reload(space);
        expect_same(*space, player.model);
        continue;
      }
      const auto written = bed.write(*space, open);
      ASSERT_TRUE(written);
      sum = *written;
      durable = open;
      saved = player;
      player.settle(durable);
      expect_same(*space, player.model);
      if (bed.prng.chance(1, 3)) {
        auto loaded = bed.load(blocks, durable, sum);
        ASSERT_TRUE(loaded) << describe(loaded.error());
        space = *std::move(loaded);
        player.reload(space);
        expect_same(*space, player.model);
      }
      if (bed.prng.chance(1, 4)) {
        blocks += bed.prng.below(kRegionBlocks);
        space->grow(blocks);
        expect_same(*space, player.model);
      }
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Space, NoticesALostBitmapWrite) {
  Bed bed(1, 4 * kRegionBlocks);
  auto space = Space::make(4 * kRegionBlocks, 5);
  u64 sum = 0;
  std::vector<std::byte> before(2 * kBlock), after(2 * kBlock);
  for (u64 group = 1; group <= 4; ++group) {
    bed.media.peek(kLabelBlocks * kBlock, before);
    space->use(space->take(10)->front());
    sum = *bed.write(*space, Txg(group));
  }
  bed.media.peek(kLabelBlocks * kBlock, after);
  ASSERT_TRUE(bed.load(4 * kRegionBlocks, Txg(4), sum));
  bed.media.overwrite(kLabelBlocks * kBlock, before);  // As if group 4's write had been lost.
  auto stale = bed.load(4 * kRegionBlocks, Txg(4), sum);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Errc::corrupt);
  bed.media.overwrite(kLabelBlocks * kBlock, after);
  for (u64 slot = 0; slot < 2; ++slot) bed.media.corrupt((kLabelBlocks + slot) * kBlock, 1);
  EXPECT_FALSE(bed.load(4 * kRegionBlocks, Txg(4), sum));
}

// A group that a crash undid leaves a younger bitmap; it must not count once the numbers pass it.
TEST(Space, IsNotFooledByAnUndoneGroup) {
  Bed bed(2, 4 * kRegionBlocks);
  auto space = Space::make(4 * kRegionBlocks, 5);
  const auto first = space->take(10)->front();
  space->use(first);
  const u64 sum = *bed.write(*space, Txg(1));
  space->settle(Txg(1));
  space->kill(Txg(2), first);
  ASSERT_TRUE(bed.write(*space, Txg(2)));  // And then the power fails.
  auto again = bed.load(4 * kRegionBlocks, Txg(1), sum);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->used_blocks(), 10u);
  const auto next_sum = bed.write(**again, Txg(3));
  ASSERT_TRUE(next_sum);
  auto later = bed.load(4 * kRegionBlocks, Txg(3), *next_sum);
  ASSERT_TRUE(later) << describe(later.error());
  EXPECT_EQ((*later)->used_blocks(), 10u);
}

TEST(Space, IgnoresBitmapsOfAnEarlierPool) {
  Bed bed(3, 4 * kRegionBlocks);
  auto old = Space::make(4 * kRegionBlocks, 6);
  old->use(old->take(100)->front());
  ASSERT_TRUE(bed.write(*old, Txg(1)));
  auto fresh = Space::make(4 * kRegionBlocks, 5);
  const u64 sum = *bed.write(*fresh, Txg(9));
  EXPECT_EQ(sum, 0u);
  auto loaded = bed.load(4 * kRegionBlocks, Txg(9), sum);
  ASSERT_TRUE(loaded);
  EXPECT_EQ((*loaded)->used_blocks(), 0u);
}

TEST(Space, MakesABigPoolWithoutWritingAndHandsOutLargeRuns) {
  const u64 blocks = (u64{1} << 40) / kBlock;
  auto space = Space::make(blocks, 5);
  EXPECT_GT(space->total_blocks(), blocks * 99 / 100);
  const auto runs = space->take(100'000);
  ASSERT_TRUE(runs);
  u64 total = 0;
  for (const auto& run : *runs) total += run.count;
  EXPECT_EQ(total, 100'000u);
  EXPECT_LE(runs->size(), 5u);
}

TEST(Space, ClaimsAtRecoveryAndHoldsForAScrub) {
  auto space = Space::make(4 * kRegionBlocks, 5);
  const pool::Run run{BlockAddr(kLabelBlocks + 2 + 70), 100};
  ASSERT_TRUE(space->claim(run));
  EXPECT_EQ(space->claim({run.start + 99, 1}).error().code, Errc::corrupt);
  EXPECT_EQ(space->claim({BlockAddr(kLabelBlocks), 1}).error().code, Errc::corrupt);
  EXPECT_EQ(space->claim({BlockAddr(~u64{0} - 3), 9}).error().code, Errc::corrupt);
  EXPECT_EQ(space->claim({BlockAddr(kLabelBlocks + kRegionBlocks - 1), 2}).error().code,
            Errc::corrupt);
  space->use(run);
  space->kill(Txg(3), run);
  space->hold();
  EXPECT_TRUE(space->settle(Txg(3)).empty());
  EXPECT_EQ(space->dying_blocks(), 100u);
  space->unhold();
  EXPECT_EQ(space->settle(Txg(3)), std::vector<pool::Run>{run});
  EXPECT_EQ(space->free_blocks(), space->total_blocks());
}

}  // namespace
}  // namespace coppice::pool
