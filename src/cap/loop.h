// cap/loop.h — Loop: the thread of the RPC event loop as an executor, and tasks as its promises.
//
// Theory. The control plane is written as coroutines like everything else; only at its rim do they
// become promises of kj. Loop is the bridge: it is an rt::Executor whose jobs run on kj's event
// loop, so that `rt::call(loop, reactor, task)` takes a coroutine to a reactor and back. start()
// runs a task on the loop and promises its result. The task belongs to the loop, not to the
// promise: a client that goes away drops the promise, and the task goes on to its end, because half
// of an administrative act is worse than either half. So a task may refer only to what outlives the
// loop's tasks, or to what its own frame keeps.
#pragma once

#include <kj/async-io.h>
#include <kj/async-unix.h>
#include <kj/io.h>

#include <atomic>

#include "rt/executor.h"

namespace coppice::cap {

class Loop final : public rt::Executor {
 public:
  explicit Loop(kj::AsyncIoContext& io);
  Loop(const Loop&) = delete;
  ~Loop() noexcept override;  // Nothing runs.

  void post(rt::Job& job) override;
  void post_at(u64 due_ns, rt::Job& job) override;
  u64 now_ns() const override;
  u64 wall_ns() const override;

  // Runs `task` on this thread, at once and to its end, whether or not the promise is kept.
  template <class T>
  kj::Promise<Result<T>> start(Task<T> task);
  size_t running() const { return running_; }
  kj::Promise<void> idle();  // Once nothing runs that was started. One at a time.

  kj::AsyncIoContext& io() { return io_; }

 private:
  template <class T>
  struct Errand;
  void ended();
  kj::Promise<void> pump();
  void run_jobs();
  kj::Promise<void> wait_until(u64 due_ns, rt::Job& job);

  struct Failure final : kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&& exception) override;
  };

  kj::AsyncIoContext& io_;
  kj::AutoCloseFd wake_;  // An eventfd: there is something in posted_.
  kj::UnixEventPort::FdObserver wake_observer_;
  std::atomic<rt::Job*> posted_ = nullptr;  // Newest first.
  size_t running_ = 0;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> idle_;
  Failure failure_;
  kj::TaskSet tasks_;  // The last member: what it runs uses the others.
};

// One task under way. It deletes itself in a job of its own: its coroutine may not be destroyed by
// what it calls as its last act.
template <class T>
struct Loop::Errand : rt::Job {
  Loop& loop;
  Task<T> task;
  kj::Own<kj::PromiseFulfiller<Result<T>>> result;

  Errand(Loop& l, Task<T> t, kj::Own<kj::PromiseFulfiller<Result<T>>> r)
      : loop(l), task(std::move(t)), result(kj::mv(r)) {}
  static std::coroutine_handle<> done(PromiseBase& base) {
    auto* errand = static_cast<Errand*>(base.owner);
    errand->run = [](rt::Job& job) {
      auto& self = static_cast<Errand&>(job);
      Loop& loop = self.loop;
      self.result->fulfill(self.task.take());
      delete &self;
      loop.ended();
    };
    errand->loop.post(*errand);
    return std::noop_coroutine();
  }
};

template <class T>
kj::Promise<Result<T>> Loop::start(Task<T> task) {
  auto [promise, fulfiller] = kj::newPromiseAndFulfiller<Result<T>>();
  ++running_;
  auto* errand = new Errand<T>(*this, std::move(task), kj::mv(fulfiller));
  errand->task.start(&Errand<T>::done, errand);  // Deleted by its last job.
  return kj::mv(promise);
}

}  // namespace coppice::cap
