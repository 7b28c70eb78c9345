// The oracle itself: it accepts a perfect pool, and finds every mistake put into it.
#include <gtest/gtest.h>

#include "fake_subject.h"
#include "runner.h"
#include "script.h"

extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace coppice::simtest {
namespace {

std::string run_fake(u64 seed, FakeBug bug) {
  const Outcome outcome = run_apart([&] {
    Plan plan = plan_of(seed);
    plan.faults = FaultClass::crashes;
    plan.destroy_all = false;
    auto* maker = new FakeMaker(seed, bug);
    auto* history = new History(plan, *maker);
    Outcome result;
    result.violation = history->run();
    return result;
  });
  return outcome.violation;
}

TEST(Oracle, AcceptsAPerfectPool) {
  for (u64 seed = 1; seed <= 150; ++seed) {
    ASSERT_EQ(run_fake(seed, FakeBug::none), "") << "seed " << seed;
  }
}

TEST(Oracle, FindsEveryMistakeWithinSomeSeeds) {
  static constexpr u64 kSeedsMax = 600;
  for (u8 bug = 1; bug < kFakeBugCount; ++bug) {
    u64 seed = 1;
    while (seed <= kSeedsMax && run_fake(seed, FakeBug(bug)).empty()) ++seed;
    EXPECT_LE(seed, kSeedsMax) << "bug " << int{bug} << " was not found";
  }
}

TEST(Oracle, AcceptsAPerfectPoolUnderEveryScriptOfTwo) {
  for (u64 index = 0; index < script_count(2); index += 5) {
    const std::string script = script_of(index, 2);
    const Outcome outcome = run_apart(
        [&] { return run_script(script, [] { return std::make_unique<FakeMaker>(1); }, 1); });
    ASSERT_EQ(outcome.violation, "") << script;
  }
}

TEST(Content, KnowsPartsAndNeighbours) {
  Content content = Content(7).with(100, 200, 8).with(150, 4096, 0);
  std::vector<std::byte> bytes(kBlock);
  put_bytes(7, 5 * kBlock, std::span(bytes).first(100));
  put_bytes(8, 5 * kBlock + 100, std::span(bytes).subspan(100, 50));
  EXPECT_TRUE(content.matches(5, 0, bytes));
  EXPECT_FALSE(content.matches(6, 0, bytes));
  EXPECT_TRUE(content.matches(5, 120, std::span(bytes).subspan(120, 60)));
  bytes[4095] = std::byte{1};
  EXPECT_FALSE(content.matches(5, 0, bytes));
  EXPECT_EQ(content.with(0, 4096, 0), Content());
}

TEST(Blocks, WritesInFlightMayComeToLieInEitherOrder) {
  Blocks blocks(kBlock);
  blocks.begin({.id = 1, .offset = 0, .length = 4096, .writes = 1, .begun = 1});
  blocks.begin({.id = 2, .offset = 0, .length = 4096, .writes = 2, .begun = 2});
  blocks.end(1, true, 3);
  blocks.end(2, true, 4);
  std::vector<std::byte> one(kBlock), two(kBlock), none(kBlock);
  put_bytes(1, 0, one);
  put_bytes(2, 0, two);
  EXPECT_EQ(Blocks(blocks).see(0, one, 5, 6), "");
  EXPECT_EQ(Blocks(blocks).see(0, two, 5, 6), "");
  EXPECT_NE(Blocks(blocks).see(0, none, 5, 6), "");
  EXPECT_EQ(Blocks(blocks).see(0, none, 2, 6), "");  // It began before they were answered.
}

TEST(Blocks, AFlushRulesOutWhatWasOverwrittenBeforeIt) {
  Blocks blocks(kBlock);
  std::vector<std::byte> one(kBlock), two(kBlock), none(kBlock);
  put_bytes(1, 0, one);
  put_bytes(2, 0, two);
  blocks.begin({.id = 1, .offset = 0, .length = 4096, .writes = 1, .begun = 1});
  blocks.end(1, true, 2);
  blocks.durable(3, 3);
  blocks.begin({.id = 2, .offset = 0, .length = 4096, .writes = 2, .begun = 4});
  blocks.crash();
  EXPECT_NE(Blocks(blocks).pin(0, none), "");
  EXPECT_EQ(Blocks(blocks).pin(0, one), "");
  EXPECT_EQ(blocks.pin(0, two), "");
  EXPECT_NE(blocks.pin(0, one), "");  // Once seen, it stays.
}

TEST(Frozen, ASnapshotIsOneMoment) {
  Blocks a(kBlock), b(kBlock);
  a.begin({.id = 1, .offset = 0, .length = 4096, .writes = 1, .begun = 11});
  a.end(1, true, 12);
  b.begin({.id = 2, .offset = 0, .length = 4096, .writes = 2, .begun = 13});
  b.end(2, true, 14);
  Frozen in_a = a.freeze(10, 15), in_b = b.freeze(10, 15);
  std::vector<std::byte> one(kBlock), two(kBlock), none(kBlock);
  put_bytes(1, 0, one);
  put_bytes(2, 0, two);
  Moments cut{{{10, 15}}};
  EXPECT_EQ(in_b.see(0, two, cut), "");
  EXPECT_NE(in_a.see(0, none, cut), "");  // The second write is in, so the first must be.
}

}  // namespace
}  // namespace coppice::simtest
