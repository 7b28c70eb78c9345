#include "sim/scheduler.h"

#include <gtest/gtest.h>

#include <vector>

#include "rt/scope.h"

namespace coppice::sim {
namespace {

Task<> note_turns(rt::Executor& executor, std::vector<int>& log, int id) {
  for (int i = 0; i < 20; ++i) {
    log.push_back(id);
    co_await rt::yield(executor);
  }
  co_return {};
}
std::vector<int> history(u64 seed) {
  Scheduler scheduler(seed);
  std::vector<int> log;
  std::vector<Task<>> tasks;
  for (int id = 0; id < 3; ++id) tasks.push_back(note_turns(scheduler.make_executor(), log, id));
  for (int id = 0; id < 3; ++id) scheduler.start(scheduler.executor(id), tasks[id]);
  scheduler.run_until_idle();
  return log;
}
TEST(Scheduler, OneSeedIsOneHistory) {
  for (u64 seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_EQ(history(seed), history(seed));
    EXPECT_NE(history(seed), history(seed + 1));
    EXPECT_EQ(history(seed).size(), 60u);
  }
}

Task<> doze(rt::Executor& executor, std::vector<u64>& log, u64 ns) {
  co_await rt::sleep_for(executor, ns);
  log.push_back(executor.now_ns());
  co_return {};
}
TEST(Scheduler, TimersFireInOrderAndTheClockLeapsToThem) {
  Scheduler scheduler(3);
  auto& executor = scheduler.make_executor();
  std::vector<u64> log;
  std::vector<Task<>> tasks;
  for (u64 ns : {u64{5'000'000'000}, u64{1'000'000}, u64{3'000'000'000}})
    tasks.push_back(doze(executor, log, ns));
  for (auto& task : tasks) scheduler.start(executor, task);
  scheduler.run_for(4'000'000'000);
  EXPECT_EQ(scheduler.now_ns(), 4'000'000'000u);
  ASSERT_EQ(log.size(), 2u);
  EXPECT_LT(log[0], 2'000'000u);
  EXPECT_GE(log[1], 3'000'000'000u);
  scheduler.run_until_idle();
  EXPECT_EQ(log.size(), 3u);
  EXPECT_EQ(executor.wall_ns(), Scheduler::kEpochNs + executor.now_ns());
}

Task<> wait_for_ever(rt::Executor& executor) {
  struct Never {
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<>) {}
    void await_resume() {}
  };
  co_await rt::yield(executor);
  co_await Never{};
  co_return {};
}
TEST(SchedulerDeathTest, NamesADeadlock) {
  Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  EXPECT_DEATH((void)scheduler.run(executor, wait_for_ever(executor)), "deadlock after 2 steps");
}

TEST(Scheduler, ForgetsAllWhenThePowerIsCut) {
  Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  std::vector<u64> log;
  {
    Task<> task = doze(executor, log, 1000);
    scheduler.start(executor, task);
    EXPECT_TRUE(scheduler.run_steps(1));
    scheduler.abandon();
    rt::Abandon guard;
    Task<> gone = std::move(task);
  }
  EXPECT_FALSE(scheduler.step());
  EXPECT_TRUE(log.empty());
  EXPECT_TRUE(scheduler.run(executor, doze(executor, log, 1)));  // And may be used again.
}

}  // namespace
}  // namespace coppice::sim
