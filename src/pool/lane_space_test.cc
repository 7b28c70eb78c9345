// A lane's supply of blocks against a counting grantor: nothing is lost and nothing given twice.
#include "pool/lane_space.h"

#include <gtest/gtest.h>

#include <map>
#include <span>

#include "base/prng.h"
#include "sim/scheduler.h"

namespace coppice::pool {
namespace {

// Grants ever new runs, torn into pieces, until its blocks are used up.
struct Grantor {
  Prng prng;
  sim::Executor& lane;
  u64 left;
  u64 next = 1;
  u64 granted = 0;
};

Task<std::vector<Run>> grant(Grantor& grantor, u64 blocks) {
  co_await rt::sleep_for(grantor.lane, grantor.prng.below(1000));
  std::vector<Run> runs;
  for (u64 want = std::min(blocks, grantor.left); want > 0;) {
    const u32 count = static_cast<u32>(grantor.prng.between(1, want));
    grantor.next += grantor.prng.below(2);
    runs.push_back({BlockAddr(grantor.next), count});
    grantor.next += count;
    grantor.left -= count;
    grantor.granted += count;
    want -= count;
  }
  if (runs.empty()) co_return fail(Errc::no_space, "take space for a lane");
  co_return runs;
}

struct Ledger {  // Every block that is out, and who has it.
  std::map<u64, u64> out;
  void add(Run run, u64 whose) {
    for (u32 i = 0; i < run.count; ++i)
      ASSERT_TRUE(out.emplace(raw(run.start) + i, whose).second) << "given twice";
  }
  void remove(Run run) {
    for (u32 i = 0; i < run.count; ++i) ASSERT_EQ(out.erase(raw(run.start) + i), 1u);
  }
};

constexpr u64 kGroups = 60;
constexpr u64 kLogOwner = 1000;

Task<> take_some(LaneSpace& space, Ledger& ledger, Prng prng, sim::Executor& lane, u64& refusals) {
  for (u64 group = 1; group <= kGroups; ++group) {
    const u32 want = static_cast<u32>(prng.between(1, prng.chance(1, 5) ? 300 : 8));
    if (prng.chance(1, 5)) {
      Task<Run> taking = space.take_for_log(want);
      const auto run = co_await std::move(taking);
      if (run) ledger.add(*run, kLogOwner + group);
      if (run) space.adopt_for_log(Txg(group), *run);
      refusals += !run;
    } else {
      Task<Run> taking = space.take(want, Txg(group));
      const auto run = co_await std::move(taking);
      refusals += !run;
      if (!run) continue;
      EXPECT_LE(run->count, want);
      ledger.add(*run, group);
      if (prng.chance(1, 3)) {  // Some of it, off its middle, is not needed.
        const u32 skip = static_cast<u32>(prng.below(run->count));
        const Run rest{run->start + skip, static_cast<u32>(prng.between(1, run->count - skip))};
        ledger.remove(rest);
        space.untake(rest, Txg(group));
      }
    }
    co_await rt::yield(lane);
  }
  co_return {};
}

Task<> take_side_by_side(LaneSpace& space, Ledger& ledger, Prng& prng, sim::Executor& lane,
                         u64& refusals) {
  rt::Scope takers;
  for (int i = 0; i < 5; ++i) takers.spawn(take_some(space, ledger, prng.fork(), lane, refusals));
  co_await ok(takers.join());
  co_await ok(space.drain());
  co_return {};
}

void expect_owned(Ledger& ledger, std::span<const Run> runs, u64 owner, u64& reported) {
  for (const Run& run : runs)
    for (u32 i = 0; i < run.count; ++i, ++reported)
      ASSERT_EQ(ledger.out[raw(run.start) + i], owner);
}
// What the groups report and what is left over is what was granted.
void expect_nothing_lost(LaneSpace& space, Ledger& ledger, u64 granted) {
  u64 reported = 0;
  for (u64 group = 1; group <= kGroups; ++group) {
    const LaneSpace::Taken taken = space.report(Txg(group));
    expect_owned(ledger, taken.used, group, reported);
    expect_owned(ledger, taken.log, kLogOwner + group, reported);
  }
  EXPECT_EQ(reported, ledger.out.size());
  for (const auto& run : space.surrender()) ledger.add(run, 0);
  EXPECT_EQ(ledger.out.size(), granted);
}

// Takers side by side never get one block twice; each group's report is what was taken for it, and
// report and surrender together are what was granted. Running dry is no_space, and loses nothing.
TEST(LaneSpace, LosesNothingAndGivesNothingTwice) {
  u64 dry = 0;
  for (u64 seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    sim::Scheduler scheduler(seed);
    sim::Executor& lane = scheduler.make_executor();
    Grantor grantor{prng.fork(), lane, seed % 4 == 0 ? 500u : 1'000'000u};
    LaneSpace space([&grantor](u64 blocks) { return grant(grantor, blocks); });
    Ledger ledger;
    u64 refusals = 0;
    ASSERT_TRUE(scheduler.run(lane, take_side_by_side(space, ledger, prng, lane, refusals)));
    dry += refusals > 0;
    EXPECT_TRUE(refusals == 0 || seed % 4 == 0);
    expect_nothing_lost(space, ledger, grantor.granted);
  }
  EXPECT_GT(dry, 0u);
}

// Runs of one block, at most `most` at a time: what is granted near the end of a pool.
Task<std::vector<Run>> grant_little(u64& given, u64 most, u64 blocks) {
  std::vector<Run> runs;
  for (u64 i = 0; i < std::min(blocks, most); ++i) runs.push_back({BlockAddr(1 + 2 * given++), 1});
  co_return runs;
}

Task<> take_one_by_one(LaneSpace& space, u64 count) {
  for (u64 i = 0; i < count; ++i) {
    Task<Run> taking = space.take(1, Txg(1));
    co_await ok(std::move(taking));
  }
  co_return {};
}

// A lane that is given less than it asks for holds no more than one such grant: the rest of the
// pool is for the others.
TEST(LaneSpace, DoesNotHoardWhenSpaceIsShort) {
  sim::Scheduler scheduler(1);
  sim::Executor& lane = scheduler.make_executor();
  u64 given = 0, most = 1 << 20;
  LaneSpace space([&](u64 blocks) { return grant_little(given, most, blocks); });
  EXPECT_TRUE(scheduler.run(lane, take_one_by_one(space, 20'000)));  // Its appetite has grown.
  most = 16;
  const u64 left = given - 20'000;
  EXPECT_TRUE(scheduler.run(lane, take_one_by_one(space, left + 1000)));
  EXPECT_TRUE(scheduler.run(lane, space.drain()));
  u64 held = 0;
  for (const auto& run : space.surrender()) held += run.count;
  EXPECT_LE(held, most);
}

// Takers that give their last block back find long runs for ever: scraps do not pile up.
Task<> take_nearly_all(LaneSpace& space, size_t times, u32& shortest) {
  for (size_t i = 0; i < times; ++i) {
    Task<Run> taking = space.take(64, Txg(1));
    const Run run = co_await ok(std::move(taking));
    shortest = std::min(shortest, run.count);
    space.untake({run.start + (run.count - 1), 1}, Txg(1));
  }
  co_return {};
}

Task<std::vector<Run>> grant_whole(u64& next, u64 blocks) {
  std::vector<Run> runs(1, Run{BlockAddr(next), static_cast<u32>(blocks)});
  next += blocks + 1;
  co_return runs;
}

TEST(LaneSpace, KeepsItsRunsWhole) {
  sim::Scheduler scheduler(1);
  sim::Executor& lane = scheduler.make_executor();
  u64 next = 1;
  LaneSpace space([&next](u64 blocks) { return grant_whole(next, blocks); });
  u32 shortest = 64;
  size_t rounds = 200;
  ASSERT_TRUE(scheduler.run(lane, take_nearly_all(space, rounds, shortest)));
  EXPECT_EQ(scheduler.run(lane, space.drain()).has_value(), true);
  u64 pieces = space.surrender().size();
  EXPECT_LT(pieces, rounds / 8) << "scraps of one block lie about";
}

}  // namespace
}  // namespace coppice::pool
