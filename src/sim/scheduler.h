// sim/scheduler.h — many executors on one thread, a virtual clock, and one seed that decides
// everything.
//
// Theory. Each Executor is a queue in order of posting. step() picks one that is ready, at random,
// and runs one job of it; so what separate threads could do to each other happens here between any
// two jobs, and the same seed does it again. Timers that fire may overtake what was posted, as a
// request's completion overtakes a reactor's mailbox. Time passes by kStepNs a job, and leaps to
// the next timer when nobody is ready. Power is cut between two steps: abandon() forgets all jobs
// and timers, after which the caller drops its coroutines and objects under an rt::Abandon. The
// executors may then be used again.
#pragma once

#include <deque>
#include <memory>
#include <queue>
#include <vector>

#include "base/prng.h"
#include "rt/executor.h"

namespace coppice::sim {

class Scheduler;

class Executor final : public rt::Executor {
 public:
  explicit Executor(Scheduler& scheduler) : scheduler_(scheduler) {}
  Executor(const Executor&) = delete;
  void post(rt::Job& job) override;
  void post_at(u64 due_ns, rt::Job& job) override;
  u64 now_ns() const override;
  u64 wall_ns() const override;

 private:
  friend class Scheduler;
  Scheduler& scheduler_;
  rt::Job* first_ = nullptr;
  rt::Job** last_ = &first_;
};

class Scheduler {
 public:
  static constexpr u64 kStepNs = 100;
  static constexpr u64 kEpochNs = 1'767'225'600'000'000'000;  // The wall clock's start: 2026-01-01.
  static constexpr u64 kStepsMax = 100'000'000;               // More without an end is a live lock.

  explicit Scheduler(u64 seed) : prng_(seed) {}
  Scheduler(const Scheduler&) = delete;
  ~Scheduler();  // Everything has run, or was abandoned.

  Executor& make_executor();
  Executor& executor(size_t index) { return *executors_.at(index); }
  u64 now_ns() const { return now_ns_; }
  u64 steps() const { return steps_; }
  Prng& prng() { return prng_; }

  // Starts `task`, which its caller keeps, as a job of `on`.
  template <class T>
  void start(rt::Executor& on, Task<T>& task) {
    starts_.push_back({{}, &task});
    starts_.back().run = [](rt::Job& job) {
      static_cast<Task<T>*>(static_cast<Start&>(job).task)->start();
    };
    on.post(starts_.back());
  }
  // Runs everybody until `task` has finished. Stops the process if it never can.
  template <class T>
  Result<T> run(rt::Executor& on, Task<T> task) {
    start(on, task);
    for (u64 count = 0; !task.finished(); ++count) must_step(count);
    return task.take();
  }
  bool step();                // One job. False: nothing is ready and no timer is set.
  bool run_steps(u64 count);  // False: ran out of work earlier.
  void run_until_idle();      // Only where no timer is set again and again.
  void run_for(u64 ns);       // Until the clock has passed by `ns`.
  void abandon();             // The power is gone. See above.

 private:
  friend class Executor;
  struct Start : rt::Job {
    void* task;
    Start(rt::Job job, void* what) : rt::Job(job), task(what) {}
  };
  struct Timer {
    u64 due_ns;
    u64 order;  // Timers of one moment fire in the order they were set.
    Executor* executor;
    rt::Job* job;
    bool operator<(const Timer& other) const {  // The earliest is the greatest.
      return due_ns != other.due_ns ? due_ns > other.due_ns : order > other.order;
    }
  };
  void must_step(u64 count);
  void enqueue(Executor& executor, rt::Job& job, bool first = false);
  void fire_timers();

  Prng prng_;
  u64 now_ns_ = 0;
  u64 steps_ = 0;
  u64 timers_set_ = 0;
  std::vector<std::unique_ptr<Executor>> executors_;
  std::vector<Executor*> ready_;  // Whose queue is not empty.
  std::priority_queue<Timer> timers_;
  std::deque<Start> starts_;  // Jobs do not move.
};

}  // namespace coppice::sim
