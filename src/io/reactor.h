// io/reactor.h — Reactor: one thread, one ring, one queue of jobs.
//
// Theory. A turn reaps completions, takes the mailbox, fires timers, runs all of that, and hands
// every new request to the kernel in one call, in which the thread also sleeps if nothing is left
// to run. The mailbox is a stack that any thread pushes to and the reactor takes whole. A reactor
// that is about to sleep first says so (sleeping_), then looks at the mailbox once more; a poster
// first pushes, then looks at sleeping_. Both in sequentially consistent order, so one of them sees
// the other, and a poster makes a system call only to a reactor that sleeps. A post may still look
// at the reactor after its job has run: reactors that post to each other are all joined before the
// first is destroyed.
#pragma once

#include <atomic>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include "base/lookout.h"
#include "io/ring.h"
#include "rt/executor.h"

namespace coppice::io {

class Reactor final : public rt::Executor {
 public:
  static constexpr u64 kJobsPerTurn = 256;  // Then the kernel has its turn.

  struct Options {
    std::string name = "reactor";  // The thread's; at most 15 bytes are shown.
    u64 poll_ns = 0;               // How long to look for work before sleeping, where that pays.
    int nice = 0;                  // How far its thread gives way to others: 0 to 19.
  };
  static Result<std::unique_ptr<Reactor>> create(Options options);
  Reactor(const Reactor&) = delete;
  ~Reactor() override;  // Stops and joins.

  void start();  // A thread of its own, or
  void run();    // this thread, until stop().
  // Any thread. run() returns once all jobs have run and every request has ended; whoever stops a
  // reactor has ended what would not end by itself. Timers not due are forgotten.
  void stop();
  void join();

  void post(rt::Job& job) override;
  void post_at(u64 due_ns, rt::Job& job) override;
  u64 now_ns() const override;
  u64 wall_ns() const override;
  bool is_current() const { return current_ == this; }  // Whether this thread is the reactor's.

  // const auto prepare = [=](io_uring_sqe& sqe) {...};  int res = co_await reactor.submit(prepare);
  // Own thread. `res` is the kernel's: a negative errno, or what the operation returns. While it
  // waits,
  // `*under_way` is what cancel() takes; only the operation itself knows, for g++-12 awaits a copy
  // of it.
  template <class Prepare>
  struct Operation final : Completion {
    Reactor& reactor;
    Prepare prepare_sqe;
    Completion** under_way;
    std::coroutine_handle<> waiter{};
    Operation(Reactor& r, Prepare p, Completion** u) : reactor(r), prepare_sqe(p), under_way(u) {
      prepare = [](Completion& self, io_uring_sqe& sqe) {
        static_cast<Operation&>(self).prepare_sqe(sqe);
      };
      complete = [](Completion& self) { static_cast<Operation&>(self).waiter.resume(); };
    }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      waiter = handle;
      if (under_way != nullptr) *under_way = this;
      reactor.enqueue(*this);
    }
    int await_resume() const noexcept {
      if (under_way != nullptr) *under_way = nullptr;
      return res;
    }
  };
  template <class Prepare>
  Operation<Prepare> submit(Prepare prepare, Completion** under_way = nullptr) {
    return Operation<Prepare>(*this, prepare, under_way);
  }
  void enqueue(Completion& completion);
  void cancel(Completion& completion);

  struct Counters {
    u64 turns = 0;
    u64 jobs = 0;
    u64 completions = 0;
    u64 sleeps = 0;
    u64 wakes = 0;  // By other threads.
  };
  const Counters& counters() const { return counters_; }  // Own thread.

 private:
  friend struct TraceTypes;
  struct Timer {
    u64 due_ns;
    u64 order;
    rt::Job* job;
    bool operator<(const Timer& other) const {  // The earliest is the greatest.
      return due_ns != other.due_ns ? due_ns > other.due_ns : order > other.order;
    }
  };
  struct Wake final : Completion {
    Reactor* reactor = nullptr;
    u64 count = 0;  // The kernel writes here.
  };

  explicit Reactor(Options options) : options_(std::move(options)) {}
  bool stopping() const { return stop_.load(std::memory_order_acquire); }
  void append(rt::Job& job);
  void turn();
  void take_mailbox();
  void fire_timers();
  void run_completions();
  void run_jobs();
  bool poll_for_work();
  void sleep();
  void arm_wake();
  void write_wake();

  Options options_;
  Ring ring_;
  int wake_fd_ = -1;
  Wake wake_;
  rt::Job* first_ = nullptr;
  rt::Job** last_ = &first_;
  std::priority_queue<Timer> timers_;
  u64 timers_set_ = 0;
  Lookout lookout_;
  Counters counters_;
  std::thread thread_;

  // What other threads touch stands on lines of its own.
  alignas(64) std::atomic<rt::Job*> mailbox_{nullptr};
  alignas(64) std::atomic<bool> sleeping_{false};
  std::atomic<bool> stop_{false};

  static thread_local const Reactor* current_;
};

}  // namespace coppice::io
