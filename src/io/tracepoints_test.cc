// Tracepoints of reactors.
#include <gmock/gmock.h>

#include <algorithm>
#include <array>

#include "io/block_on.h"
#include "io/reactor.h"
#include "trace/testing/recorder.h"

namespace coppice::io {
namespace {

using trace::Point;

Task<int> seven() { co_return 7; }

TEST(Tracepoints, FollowAReactor) {
  trace::Recorder recorder(
      {Point::reactor_turn, Point::reactor_sleep, Point::reactor_wake, Point::mailbox_post});
  auto reactor = Reactor::create({.name = "test"});
  ASSERT_TRUE(reactor.has_value());
  const u64 address = reinterpret_cast<u64>(reactor->get());
  (*reactor)->start();
  EXPECT_EQ(*block_on(**reactor, seven()), 7);
  (*reactor)->stop();
  (*reactor)->join();

  const auto posts = recorder.all<std::array<u64, 3>>(Point::mailbox_post);
  ASSERT_FALSE(posts.empty());
  EXPECT_EQ(posts[0][0], address);
  EXPECT_EQ(posts[0][2], 1U);  // Nobody had posted before.
  const auto turns = recorder.all<std::array<u64, 3>>(Point::reactor_turn);
  ASSERT_FALSE(turns.empty());
  for (size_t i = 0; i < turns.size(); ++i) {
    EXPECT_EQ(turns[i][0], address);
    EXPECT_EQ(turns[i][1], i + 1);
  }
  EXPECT_GE(turns.back()[2], 1U);
  const auto sleeps = recorder.all<std::array<u64, 2>>(Point::reactor_sleep);
  const auto wakes = recorder.all<std::array<u64, 2>>(Point::reactor_wake);
  ASSERT_FALSE(sleeps.empty());
  EXPECT_EQ(sleeps.size(), wakes.size());
  EXPECT_EQ(sleeps[0][1], ~u64{0});  // It had no timer.
}

}  // namespace
}  // namespace coppice::io
