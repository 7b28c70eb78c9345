#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "rt/event.h"
#include "rt/scope.h"
#include "sim/scheduler.h"

namespace coppice::rt {
namespace {

constexpr u64 kSeeds = 20;

Task<int> answer(Executor& executor, int value, u64 delay_ns) {
  if (delay_ns > 0) co_await sleep_for(executor, delay_ns);
  if (value < 0) co_return fail(Errc::invalid, "answering");
  co_return value;
}

Task<int> sum_of(Executor& executor, int count, u64 delay_ns) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await ok(answer(executor, i, delay_ns));
  co_return sum;
}

TEST(Task, LoopsOverChildrenWithoutGrowingTheStack) {
  sim::Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  EXPECT_EQ(*scheduler.run(executor, sum_of(executor, 50'000, 0)), 1249975000);
  EXPECT_EQ(*scheduler.run(executor, sum_of(executor, 5'000, 10)), 12497500);
}

struct Trace {
  std::vector<std::string>& log;
  std::string name;
  ~Trace() { log.push_back("~" + name); }
};

Task<int> inner(Executor& executor, std::vector<std::string>& log, u64 delay_ns) {
  Trace trace{log, "inner"};
  const int value = co_await ok(answer(executor, -1, delay_ns));
  log.push_back("not reached");
  co_return value;
}
Task<int> outer(Executor& executor, std::vector<std::string>& log, u64 delay_ns) {
  Trace trace{log, "outer"};
  const int value = co_await ok(inner(executor, log, delay_ns));
  log.push_back("not reached");
  co_return value;
}
Task<int> catcher(Executor& executor, std::vector<std::string>& log, u64 delay_ns) {
  auto result = co_await outer(executor, log, delay_ns);
  log.push_back("caught");
  CHECK(!result);
  co_return static_cast<int>(result.error().code);
}
TEST(Task, OkEndsTheWholeChainInnermostFirst) {
  for (u64 delay_ns : {0, 5}) {
    sim::Scheduler scheduler(1);
    auto& executor = scheduler.make_executor();
    std::vector<std::string> log;
    const auto result = scheduler.run(executor, catcher(executor, log, delay_ns));
    EXPECT_EQ(*result, static_cast<int>(Errc::invalid));
    // The awaiting expression owns the child, so the frames go when its statement ends.
    EXPECT_EQ(log.size(), 3u);
    EXPECT_LT(std::find(log.begin(), log.end(), "~inner"),
              std::find(log.begin(), log.end(), "~outer"));
    EXPECT_EQ(std::count(log.begin(), log.end(), "not reached"), 0);
  }
}

Task<> unwrap_result(std::vector<int>& got) {
  Result<int> good = 7;
  Result<int> bad = fail(Errc::busy, "trying");
  got.push_back(co_await ok(std::move(good)));
  got.push_back(co_await ok(std::move(bad)));
  co_return {};
}
TEST(Task, OkUnwrapsPlainResultsToo) {
  sim::Scheduler scheduler(1);
  std::vector<int> got;
  const auto result = scheduler.run(scheduler.make_executor(), unwrap_result(got));
  EXPECT_EQ(result.error().code, Errc::busy);
  EXPECT_EQ(got, std::vector<int>{7});
}

Task<std::unique_ptr<int>> make_box(Executor& executor) {
  co_await yield(executor);
  auto box = std::make_unique<int>(5);
  co_return std::move(box);
}
Task<int> open_box(Executor& executor) {
  auto box = co_await ok(make_box(executor));
  co_return *box;
}
TEST(Task, CarriesWhatOnlyMoves) {
  sim::Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  EXPECT_EQ(*scheduler.run(executor, open_box(executor)), 5);
}

Task<> count_down(Executor& executor, int& left, u64 delay_ns) {
  if (delay_ns > 0) co_await sleep_for(executor, delay_ns);
  if (--left == 0) co_return fail(Errc::cancelled, "counting down");
  co_return {};
}
Task<size_t> join_many(Executor& executor, Prng& prng) {
  Scope scope;
  int left = 100;
  for (int i = 0; i < 99; ++i) {
    const u64 delay_ns = prng.below(3) * prng.below(100);
    scope.spawn(count_down(executor, left, delay_ns));
    if (prng.chance(1, 8)) co_await yield(executor);
  }
  auto first = co_await scope.join();
  CHECK(first);
  scope.spawn(count_down(executor, left, 1));
  auto second = co_await scope.join();
  CHECK(!second && second.error().code == Errc::cancelled);
  auto third = co_await scope.join();  // The error was reported once.
  CHECK(third);
  co_return scope.running();
}
TEST(Scope, JoinsAllAndReportsTheFirstError) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    sim::Scheduler scheduler(seed);
    auto& executor = scheduler.make_executor();
    EXPECT_EQ(*scheduler.run(executor, join_many(executor, scheduler.prng())), 0u);
  }
}

struct Owner {
  Scope scope;
  bool& gone;
  explicit Owner(bool& flag) : gone(flag) {}
  ~Owner() { gone = true; }
};
Task<> join_and_delete(std::unique_ptr<Owner> owner) {
  auto result = co_await owner->scope.join();
  owner.reset();  // While the last child is still below on the stack.
  co_return std::move(result);
}
TEST(Scope, ItsJoinerMayDestroyIt) {
  sim::Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  bool gone = false;
  int left = 10;
  auto owner = std::make_unique<Owner>(gone);
  for (int i = 0; i < 3; ++i) owner->scope.spawn(count_down(executor, left, 5));
  EXPECT_TRUE(scheduler.run(executor, join_and_delete(std::move(owner))));
  EXPECT_TRUE(gone);
}

Task<> consume(Event& event, int& available, int& taken) {
  while (available == 0) co_await event.wait();
  --available;
  ++taken;
  co_return {};
}
Task<> produce(Executor& executor, Event& event, int& available, int count) {
  for (int i = 0; i < count; ++i) {
    co_await sleep_for(executor, 10);
    ++available;
    event.pulse();
  }
  co_return {};
}
Task<> produce_and_consume(Executor& executor) {
  Event event;
  Scope scope;
  int available = 0;
  int taken = 0;
  for (int i = 0; i < 20; ++i) scope.spawn(consume(event, available, taken));
  scope.spawn(produce(executor, event, available, 20));
  co_await ok(scope.join());
  CHECK(taken == 20 && available == 0 && !event.waited_on());
  co_return {};
}
TEST(Event, WakesAllWhoWaitAndTheyMayWaitAgain) {
  sim::Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  EXPECT_TRUE(scheduler.run(executor, produce_and_consume(executor)));
}

Task<> critical(Executor& executor, Mutex& mutex, std::vector<int>& order, int id, u64 hold_ns) {
  auto lock = co_await mutex.lock();
  order.push_back(id);
  if (hold_ns > 0) co_await sleep_for(executor, hold_ns);
  CHECK(mutex.held());
  CHECK(order.back() == id);  // Nobody came in between.
  co_return {};
}
Task<> contend(Executor& executor, Prng& prng, std::vector<int>& order) {
  Mutex mutex(executor);
  Scope scope;
  for (int i = 0; i < 30; ++i) scope.spawn(critical(executor, mutex, order, i, prng.below(3) * 10));
  co_await ok(scope.join());
  CHECK(!mutex.held());
  auto lock = co_await mutex.lock();
  lock.release();
  CHECK(!mutex.held());
  co_return {};
}
TEST(Mutex, AdmitsOneAtATimeFirstComeFirstServed) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    sim::Scheduler scheduler(seed);
    auto& executor = scheduler.make_executor();
    std::vector<int> order;
    EXPECT_TRUE(scheduler.run(executor, contend(executor, scheduler.prng(), order)));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(order.size(), 30u);
  }
}

// Belongs to one executor: `inside` would rise above one if calls ran anywhere else.
Task<int> visit(Executor& there, int& visits, int value) {
  ++visits;
  co_await yield(there);
  if (value % 3 == 0) co_return fail(Errc::busy, "visiting");
  co_return value;
}
Task<int> caller(Executor& home, Executor& there, int& visits, int value) {
  auto result = co_await call(home, there, visit(there, visits, value));
  co_return result ? *result : -1;
}
TEST(Call, ComesBackWithTheResultOrTheError) {
  for (u64 seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    sim::Scheduler scheduler(seed);
    auto& home = scheduler.make_executor();
    auto& there = scheduler.make_executor();
    int visits = 0;
    EXPECT_EQ(*scheduler.run(home, caller(home, there, visits, 4)), 4);
    EXPECT_EQ(*scheduler.run(home, caller(home, there, visits, 6)), -1);
    EXPECT_EQ(*scheduler.run(home, caller(home, home, visits, 5)), 5);
    EXPECT_EQ(visits, 3);
  }
}

Task<> hold_everything(Executor& executor, Mutex& mutex, Event& event, Scope& scope) {
  auto lock = co_await mutex.lock();
  int left = 5;
  scope.spawn(count_down(executor, left, 1'000'000));
  co_await event.wait();
  co_return {};
}
TEST(Abandon, DropsCoroutinesThatHoldAndWait) {
  sim::Scheduler scheduler(1);
  auto& executor = scheduler.make_executor();
  auto mutex = std::make_unique<Mutex>(executor);
  auto event = std::make_unique<Event>();
  auto scope = std::make_unique<Scope>();
  std::vector<Task<>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(hold_everything(executor, *mutex, *event, *scope));
  for (auto& task : tasks) scheduler.start(executor, task);
  scheduler.run_steps(3);
  EXPECT_TRUE(mutex->held());
  scheduler.abandon();
  {
    Abandon guard;
    tasks.clear();
    scope.reset();
    event.reset();
    mutex.reset();
  }
  EXPECT_FALSE(scheduler.step());
}

}  // namespace
}  // namespace coppice::rt
