#include "io/reactor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "io/block_on.h"
#include "rt/scope.h"

namespace coppice::io {
namespace {

std::unique_ptr<Reactor> make_reactor(u64 poll_ns = 0) {
  auto reactor = Reactor::create({.name = "test", .poll_ns = poll_ns});
  CHECK(reactor.has_value());
  return *std::move(reactor);
}

Task<int> double_of(Reactor& reactor, int value) {
  CHECK(reactor.is_current());
  co_await rt::yield(reactor);
  if (value < 0) co_return fail(Errc::invalid, "doubling");
  co_return 2 * value;
}

TEST(Reactor, RunsTasksOfAnotherThread) {
  auto reactor = make_reactor();
  reactor->start();
  EXPECT_FALSE(reactor->is_current());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(*block_on(*reactor, double_of(*reactor, i)), 2 * i);
  EXPECT_EQ(block_on(*reactor, double_of(*reactor, -1)).error().code, Errc::invalid);
}

TEST(Reactor, StopsBeforeItStartedAndWithNothingToDo) {
  auto reactor = make_reactor();
  reactor->stop();
  reactor->run();
  auto never_started = make_reactor();
  auto started = make_reactor();
  started->start();
}

Task<> nap(Reactor& reactor, u64 ns, std::vector<u64>& order) {
  const u64 until = reactor.now_ns() + ns;
  co_await rt::sleep_for(reactor, ns);
  CHECK(reactor.now_ns() >= until);
  order.push_back(ns);
  co_return {};
}
Task<> nap_many(Reactor& reactor, std::vector<u64>& order) {
  rt::Scope scope;
  for (u64 ms : {30, 10, 20, 0}) scope.spawn(nap(reactor, ms * 1'000'000, order));
  co_return co_await scope.join();
}
TEST(Reactor, TimersFireInOrderOfTheirTime) {
  for (u64 poll_ns : {0, 50'000}) {
    auto reactor = make_reactor(poll_ns);
    reactor->start();
    std::vector<u64> order;
    ASSERT_TRUE(block_on(*reactor, nap_many(*reactor, order)));
    EXPECT_EQ(order, (std::vector<u64>{0, 10'000'000, 20'000'000, 30'000'000}));
    EXPECT_GT(reactor->wall_ns(), u64{1'700'000'000'000'000'000});
  }
}

Task<> nothing(Reactor& reactor) {
  const auto prepare = [](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); };
  const int res = co_await reactor.submit(prepare);
  CHECK(res == 0);
  co_return {};
}
Task<> nothing_many(Reactor& reactor, size_t count) {
  rt::Scope scope;
  for (size_t i = 0; i < count; ++i) scope.spawn(nothing(reactor));
  co_return co_await scope.join();
}
TEST(Reactor, TakesMoreRequestsThanTheRingHolds) {
  auto reactor = make_reactor();
  reactor->start();
  EXPECT_TRUE(block_on(*reactor, nothing_many(*reactor, 3 * Ring::kCompletionsMax + 7)));
  EXPECT_TRUE(block_on(*reactor, nothing_many(*reactor, Ring::kSubmissionsMax + 1)));
}

Task<> read_pipe(Reactor& reactor, int fd, char& into) {
  const auto prepare = [fd, &into](io_uring_sqe& sqe) {
    io_uring_prep_read(&sqe, fd, &into, 1, 0);
  };
  const int res = co_await reactor.submit(prepare);
  if (res != 1) co_return fail(Errc::io, "reading a pipe", -res);
  co_return {};
}
Task<> cancel_soon(Reactor& reactor, int fd) {
  char byte = 0;
  const auto prepare = [fd, &byte](io_uring_sqe& sqe) {
    io_uring_prep_read(&sqe, fd, &byte, 1, 0);
  };
  Completion* under_way = nullptr;
  struct Cancel : rt::Job {
    Completion** target;
    Reactor* reactor;
  } cancel;
  cancel.target = &under_way;
  cancel.reactor = &reactor;
  cancel.run = [](rt::Job& job) {
    auto& self = static_cast<Cancel&>(job);
    CHECK(*self.target != nullptr);
    self.reactor->cancel(**self.target);
  };
  reactor.post(cancel);
  const int res = co_await reactor.submit(prepare, &under_way);
  CHECK(under_way == nullptr);
  CHECK(res == -ECANCELED);
  co_return {};
}
TEST(Reactor, CancelsARequestThatWaits) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  auto reactor = make_reactor();
  reactor->start();
  EXPECT_TRUE(block_on(*reactor, cancel_soon(*reactor, ends[0])));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Reactor, WakesForJobsWhileARequestIsInTheKernel) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  auto reactor = make_reactor();
  reactor->start();
  char byte = 0;
  std::thread reader([&] { EXPECT_TRUE(block_on(*reactor, read_pipe(*reactor, ends[0], byte))); });
  EXPECT_EQ(*block_on(*reactor, double_of(*reactor, 4)), 8);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  reader.join();
  EXPECT_EQ(byte, 'x');
  ::close(ends[0]);
  ::close(ends[1]);
}

// The mailbox: jobs of one poster run in the order of posting, each exactly once, however the
// reactor falls asleep and wakes meanwhile.
struct Numbered : rt::Job {
  u64 number = 0;
  u64* next = nullptr;  // Only the reactor touches it.
};
void post_many(Reactor& reactor, std::vector<Numbered>& jobs, u64& next, u64 pause_every) {
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].number = i;
    jobs[i].next = &next;
    jobs[i].run = [](rt::Job& job) {
      auto& self = static_cast<Numbered&>(job);
      CHECK(self.number == *self.next);
      ++*self.next;
    };
    reactor.post(jobs[i]);
    if (pause_every > 0 && i % pause_every == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}
TEST(Reactor, MailboxKeepsOrderAndLosesNothing) {
  constexpr size_t kPosters = 4;
  constexpr size_t kJobs = 5'000;
  for (u64 pause_every : {0, 1000, 50}) {
    for (u64 poll_ns : {0, 5'000}) {
      SCOPED_TRACE(pause_every);
      auto reactor = make_reactor(poll_ns);
      reactor->start();
      std::vector<std::vector<Numbered>> jobs(kPosters);
      std::vector<u64> next(kPosters);
      std::vector<std::thread> posters;
      for (size_t i = 0; i < kPosters; ++i) {
        jobs[i].resize(kJobs);
        posters.emplace_back([&, i] { post_many(*reactor, jobs[i], next[i], pause_every); });
      }
      for (auto& poster : posters) poster.join();
      reactor->stop();  // Runs what was posted.
      reactor->join();
      EXPECT_EQ(next, std::vector<u64>(kPosters, kJobs));
    }
  }
}

Task<u64> count_up(Reactor& there, u64& counter) {
  CHECK(there.is_current());
  co_return ++counter;
}
Task<> ping(Reactor& home, Reactor& there, u64& counter, u64 times) {
  for (u64 i = 0; i < times; ++i) {
    auto result = co_await rt::call(home, there, count_up(there, counter));
    CHECK(result && home.is_current());
  }
  co_return {};
}
Task<> ping_many(Reactor& home, Reactor& there, u64& counter, u64 times) {
  rt::Scope scope;
  for (int i = 0; i < 8; ++i) scope.spawn(ping(home, there, counter, times));
  co_return co_await scope.join();
}
TEST(Reactor, CallsBetweenReactorsComeBack) {
  auto one = make_reactor();
  auto two = make_reactor();
  one->start();
  two->start();
  u64 counter_one = 0;  // Of `one`; not atomic.
  u64 counter_two = 0;
  std::thread other([&] { EXPECT_TRUE(block_on(*two, ping_many(*two, *one, counter_one, 500))); });
  EXPECT_TRUE(block_on(*one, ping_many(*one, *two, counter_two, 500)));
  other.join();
  EXPECT_EQ(counter_one, 4000u);
  EXPECT_EQ(counter_two, 4000u);
  one->stop();
  two->stop();
  one->join();
  two->join();
}

}  // namespace
}  // namespace coppice::io
