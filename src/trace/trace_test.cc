#include <gmock/gmock.h>

#include <array>

#include "trace/testing/recorder.h"

namespace coppice::trace {
namespace {

// Every point is off until somebody enables it, and off again when the last one leaves.
TEST(Points, AreOnWhileSomebodyWantsToKnow) {
  for (size_t i = 0; i < kPoints; ++i) {
    const Point point = static_cast<Point>(i);
    SCOPED_TRACE(info(point).name);
    EXPECT_FALSE(on(point));
    enable(point, 1);
    enable(point, 2);
    EXPECT_TRUE(on(point));
    EXPECT_EQ(programs(point), 3U);
    for (size_t other = 0; other < kPoints; ++other)
      EXPECT_EQ(on(static_cast<Point>(other)), other == i);
    enable(point, -3);
    EXPECT_FALSE(on(point));
  }
}

// The kernel counts in the lower half: a point is on for it without a program being told.
TEST(Points, AreOnForTheKernelAlone) {
  Recorder recorder({});
  auto& each = coppice_trace_switches[static_cast<size_t>(Point::txg_open)];
  auto* const kernels = reinterpret_cast<unsigned char*>(&each);
  kernels[0] = 1;
  EXPECT_TRUE(on(Point::txg_open));
  EXPECT_EQ(programs(Point::txg_open), 0U);
  fire(coppice_txg_open{.time_ns = 1, .pool = 2, .txg = 3});
  EXPECT_TRUE(recorder.events().empty());
  kernels[0] = 0;
  EXPECT_FALSE(on(Point::txg_open));
}

TEST(Points, HaveDistinctNamesThatFindThem) {
  for (size_t i = 0; i < kPoints; ++i) {
    const auto found = find_point(points()[i].name);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(static_cast<size_t>(*found), i);
  }
  EXPECT_FALSE(find_point("no_such_point").has_value());
  EXPECT_EQ(info(Point::io_submit).tier, Tier::stable);
  EXPECT_EQ(info(Point::node_lookup).tier, Tier::internal);
  EXPECT_GE(kPoints - kStablePoints, 20U);
}

// "type name, type name": as many as the count beside it says.
TEST(Points, DescribeAsManyArgumentsAsTheyHave) {
  for (const PointInfo& each : points()) {
    SCOPED_TRACE(each.name);
    if (each.tier == Tier::stable) continue;
    EXPECT_EQ(std::ranges::count(each.arguments, ',') + 1, each.argument_count);
    EXPECT_EQ(each.bytes, each.argument_count * 8);
    EXPECT_TRUE(each.meaning.ends_with('.'));
  }
}

TEST(Fire, GivesTheSinkTheViewAsItIs) {
  Recorder recorder({Point::snapshot});
  coppice_snapshot view{.time_ns = 1, .pool = 2, .volume = 3, .snapshot = 4, .txg = 5, .name = {}};
  set_text(view.name, "pool/volume@monday");
  fire(view);
  const auto told = recorder.all<coppice_snapshot>(Point::snapshot);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(std::memcmp(&told[0], &view, sizeof view), 0);
}

TEST(Fire, GivesTheSinkAnInternalPointsArguments) {
  Recorder recorder({Point::node_read});
  int structure = 0;
  fire(Point::node_read, {&structure, u64{0x123456789a}, u32{7}});
  EXPECT_THAT(
      (recorder.all<std::array<u64, 3>>(Point::node_read)),
      testing::ElementsAre(std::array<u64, 3>{reinterpret_cast<u64>(&structure), 0x123456789a, 7}));
}

TEST(Fire, WithoutSinkIsHarmless) {
  enable(Point::txg_open, 1);
  fire(coppice_txg_open{.time_ns = 1, .pool = 2, .txg = 3});
  enable(Point::txg_open, -1);
}

TEST(Texts, AreCutAndEndWithZeroes) {
  char text[4] = {'x', 'x', 'x', 'x'};
  set_text(text, "ab");
  EXPECT_EQ(std::string_view(text, 4), std::string_view("ab\0\0", 4));
  set_text(text, "abcdef");
  EXPECT_EQ(std::string_view(text, 4), std::string_view("abc\0", 4));
}

}  // namespace
}  // namespace coppice::trace
