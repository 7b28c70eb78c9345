// rt/executor.h — where coroutines run: a queue of jobs, a clock and timers.
//
// Theory. An executor is one thread's turn-taker (io::Reactor) or one of many on the simulator's
// single thread (sim::Scheduler). Objects belong to one executor; others reach them with
// `call(home, there, task)`, which runs the task there and resumes the caller at home. post() is
// the mailbox: the only thing in Coppice that is safe to touch from any thread.
#pragma once

#include <coroutine>
#include <utility>

#include "rt/task.h"

namespace coppice::rt {

// One queued piece of work. Lives in its owner (mostly an awaiting coroutine's frame) until it has
// run.
struct Job {
  void (*run)(Job&) = nullptr;
  Job* link = nullptr;
  u64 due_ns = 0;
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(Job& job) = 0;                 // Any thread. Runs after what was posted before.
  virtual void post_at(u64 due_ns, Job& job) = 0;  // Own thread. Runs once now_ns() >= due_ns.
  virtual u64 now_ns() const = 0;                  // Monotonic.
  virtual u64 wall_ns() const = 0;                 // Since the Unix epoch.
};

// Resumes the coroutine as a job of `executor`. As the executor's own coroutine: lets others have a
// turn.
struct Hop : Job {
  Executor& executor;
  std::coroutine_handle<> waiter{};
  explicit Hop(Executor& e) : executor(e) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiter = handle;
    run = [](Job& job) { static_cast<Hop&>(job).waiter.resume(); };
    executor.post(*this);
  }
  void await_resume() const noexcept {}
};
inline Hop yield(Executor& executor) { return Hop(executor); }

struct Sleep : Job {
  Executor& executor;
  u64 until_ns;
  std::coroutine_handle<> waiter{};
  Sleep(Executor& e, u64 until) : executor(e), until_ns(until) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiter = handle;
    run = [](Job& job) { static_cast<Sleep&>(job).waiter.resume(); };
    executor.post_at(until_ns, *this);
  }
  void await_resume() const noexcept {}
};
inline Sleep sleep_for(Executor& executor, u64 ns) { return {executor, executor.now_ns() + ns}; }

// Runs `task` on `there`, then comes back to `home`, whether it succeeded or not. `home` is where
// the caller runs; home == there costs nothing.
template <class T>
Task<T> call(Executor& home, Executor& there, Task<T> task) {
  if (&home == &there) co_return co_await std::move(task);
  co_await Hop(there);
  Result<T> result = co_await std::move(task);
  co_await Hop(home);
  co_return std::move(result);
}

}  // namespace coppice::rt
