#include "hook/timers.h"

#include <gmock/gmock.h>

#include "hook/testing/bed.h"

namespace coppice::hook {
namespace {

using testing::Bed;
using testing::Engine;
using testing::Workshop;

constexpr u64 kMs = 1'000'000;

class TimersTest : public ::testing::Test {
 protected:
  Workshop& workshop_ = Workshop::of(Engine::interpreter);
  Bed bed_{workshop_, 1};
  Timers timers_{bed_.table(), workshop_.type("timer")};
  std::shared_ptr<const Instance> instance_ = workshop_.get("watcher");

  ~TimersTest() override { EXPECT_TRUE(bed_.run(timers_.close())); }
  LinkId attach(u64 interval_ns) {
    const LinkId id = bed_.attach({.target = {},
                                   .type = &workshop_.type("timer"),
                                   .instance = instance_,
                                   .program = "tick",
                                   .options = {.interval_ns = interval_ns}});
    timers_.look();
    return id;
  }
  u64 runs(LinkId id) { return bed_.table().find(id)->counters->sum().runs; }
  coppice_timer tick(u32 number) {
    return testing::value_of<coppice_timer>(*instance_, "ticks", number);
  }
};

// A timer runs every interval, the first time one interval after it was attached.
TEST_F(TimersTest, RunEveryInterval) {
  const u64 began = bed_.scheduler().now_ns();
  const LinkId id = attach(20 * kMs);
  bed_.scheduler().run_for(19 * kMs);
  EXPECT_EQ(runs(id), 0U);
  bed_.scheduler().run_for(600 * kMs);
  ASSERT_EQ(runs(id), 30U);
  for (u32 i = 0; i < 30; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(tick(i).count, i);
    EXPECT_EQ(tick(i).missed, 0U);
    EXPECT_EQ(tick(i).interval_ns, 20 * kMs);
    EXPECT_NEAR(static_cast<double>(tick(i).time_ns - began), (i + 1) * 20.0 * kMs, kMs);
    EXPECT_GE(tick(i).wall_ns, sim::Scheduler::kEpochNs);
  }
}

// Each has its own interval; one that is attached later, or detached, disturbs no other.
TEST_F(TimersTest, AreIndependent) {
  const LinkId slow = attach(250 * kMs), fast = attach(kMs);
  bed_.scheduler().run_for(100 * kMs);
  EXPECT_NEAR(static_cast<double>(runs(fast)), 100, 2);
  const LinkId late = attach(30 * kMs);
  bed_.scheduler().run_for(100 * kMs + kMs);
  EXPECT_EQ(runs(late), 3U);
  bed_.detach(fast);
  EXPECT_EQ(runs(slow), 0U);
  bed_.scheduler().run_for(50 * kMs);
  EXPECT_EQ(runs(slow), 1U);
  EXPECT_EQ(bed_.table().find(fast), nullptr);
}

// When the last is gone nothing ticks, and a new one begins anew.
TEST_F(TimersTest, EndWithTheLastLink) {
  const LinkId first = attach(10 * kMs);
  bed_.scheduler().run_for(25 * kMs);
  EXPECT_EQ(runs(first), 2U);
  bed_.detach(first);
  bed_.scheduler().run_until_idle();  // Would not end if it ticked on.
  const LinkId second = attach(10 * kMs);
  bed_.scheduler().run_for(15 * kMs);
  EXPECT_EQ(runs(second), 1U);
  bed_.detach(second);
}

// Its clock can leap, as that of a lane does whose thread was stopped.
class LeapingExecutor final : public rt::Executor {
 public:
  explicit LeapingExecutor(rt::Executor& inner) : inner_(inner) {}
  void post(rt::Job& job) override { inner_.post(job); }
  void post_at(u64 due_ns, rt::Job& job) override { inner_.post_at(due_ns - leapt_ns, job); }
  u64 now_ns() const override { return inner_.now_ns() + leapt_ns; }
  u64 wall_ns() const override { return inner_.wall_ns() + leapt_ns; }
  u64 leapt_ns = 0;

 private:
  rt::Executor& inner_;
};

// Runs that could not be in time are counted, not made up for; then the rhythm is the old one.
TEST(Timers, CountWhatTheyMissed) {
  Workshop& workshop = Workshop::of(Engine::interpreter);
  sim::Scheduler scheduler(1);
  LeapingExecutor executor(scheduler.make_executor());
  Dispatch dispatch;
  testing::Family family;
  Lane lane(executor, dispatch, 0, [](std::string_view) {});
  Table table({&lane}, dispatch, family, 1);
  Timers timers(table, workshop.type("timer"));
  const auto instance = workshop.get("watcher");
  Draft draft = table.draft();
  ASSERT_TRUE(draft.add(testing::link_of(table, {.target = {},
                                                 .type = &workshop.type("timer"),
                                                 .instance = instance,
                                                 .program = "tick",
                                                 .options = {.interval_ns = 10 * kMs}}),
                        {}));
  ASSERT_TRUE(table.publish(std::move(draft)));
  timers.look();
  scheduler.run_for(15 * kMs);
  executor.leapt_ns += 54 * kMs;  // It is 69 ms; 20 to 60 are past. The next is due at 20 + 54.
  scheduler.run_for(20 * kMs);
  const auto tick = [&](u32 number) {
    return testing::value_of<coppice_timer>(*instance, "ticks", number);
  };
  EXPECT_EQ(tick(0).missed, 0U);
  EXPECT_EQ(tick(1).count, 1U);
  EXPECT_NEAR(static_cast<double>(tick(1).time_ns), 74.0 * kMs, kMs);
  EXPECT_EQ(tick(1).missed, 0U);
  EXPECT_NEAR(static_cast<double>(tick(2).time_ns), 80.0 * kMs, kMs);
  EXPECT_EQ(tick(2).missed, 5U);  // 30, 40, 50, 60 and 70.
  ASSERT_TRUE(scheduler.run(executor, timers.close()));
  ASSERT_TRUE(scheduler.run(executor, table.close()));
}

}  // namespace
}  // namespace coppice::hook
