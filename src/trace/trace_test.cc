#include <gmock/gmock.h>

#include <cstring>
#include <vector>

#include "trace/fire.h"

namespace coppice::trace {
namespace {

class Recorder final : public Sink {
 public:
  struct Event {
    Point point;
    std::vector<std::byte> bytes;
  };
  Recorder() { set_sink(this); }
  ~Recorder() override { set_sink(nullptr); }
  void fire(Point point, const void* view, size_t bytes) override {
    const auto* from = static_cast<const std::byte*>(view);
    events.push_back({point, {from, from + bytes}});
  }
  std::vector<Event> events;
};

class Enabled {
 public:
  explicit Enabled(Point point) : point_(point) { enable(point_, 1); }
  Enabled(const Enabled&) = delete;
  ~Enabled() { enable(point_, -1); }

 private:
  Point point_;
};

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
  Recorder recorder;
  auto& each = coppice_trace_switches[static_cast<size_t>(Point::txg_open)];
  auto* const kernels = reinterpret_cast<unsigned char*>(&each);
  kernels[0] = 1;
  EXPECT_TRUE(on(Point::txg_open));
  EXPECT_EQ(programs(Point::txg_open), 0U);
  fire(coppice_txg_open{.time_ns = 1, .pool = 2, .txg = 3});
  EXPECT_TRUE(recorder.events.empty());
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
  Recorder recorder;
  const Enabled enabled(Point::snapshot);
  coppice_snapshot view{.time_ns = 1, .pool = 2, .volume = 3, .snapshot = 4, .txg = 5, .name = {}};
  set_text(view.name, "pool/volume@monday");
  fire(view);
  ASSERT_EQ(recorder.events.size(), 1U);
  EXPECT_EQ(recorder.events[0].point, Point::snapshot);
  ASSERT_EQ(recorder.events[0].bytes.size(), sizeof view);
  EXPECT_EQ(std::memcmp(recorder.events[0].bytes.data(), &view, sizeof view), 0);
}

TEST(Fire, GivesTheSinkAnInternalPointsArguments) {
  Recorder recorder;
  const Enabled enabled(Point::node_read);
  int structure = 0;
  fire(Point::node_read, {&structure, u64{0x123456789a}, u32{7}});
  ASSERT_EQ(recorder.events.size(), 1U);
  u64 values[3];
  ASSERT_EQ(recorder.events[0].bytes.size(), sizeof values);
  std::memcpy(values, recorder.events[0].bytes.data(), sizeof values);
  EXPECT_THAT(values, testing::ElementsAre(reinterpret_cast<u64>(&structure), 0x123456789a, 7));
}

TEST(Fire, WithoutSinkIsHarmless) {
  const Enabled enabled(Point::txg_open);
  fire(coppice_txg_open{.time_ns = 1, .pool = 2, .txg = 3});
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
