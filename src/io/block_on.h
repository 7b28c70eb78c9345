// io/block_on.h — block_on(): lets a thread that is no executor wait for a task.
#pragma once

#include <future>

#include "rt/executor.h"

namespace coppice::io {

// Runs `task` on `executor`, whose thread is another one, and sleeps until it has finished. For the
// main thread's start and end, and for tests.
template <class T>
Result<T> block_on(rt::Executor& executor, Task<T> task) {
  struct Call : rt::Job {
    rt::Executor& executor;
    Task<T>& task;
    std::promise<void> done;
    Call(rt::Executor& e, Task<T>& t) : executor(e), task(t) {}
  };
  Call call(executor, task);
  auto done = call.done.get_future();
  call.run = [](rt::Job& job) {
    auto& self = static_cast<Call&>(job);
    self.task.start(
        [](PromiseBase& base) -> std::coroutine_handle<> {
          // The task's frames are still below on the stack: this thread may say so only afterwards.
          auto& finished = *static_cast<Call*>(base.owner);
          finished.run = [](rt::Job& last) {
            auto promise = std::move(static_cast<Call&>(last).done);
            promise.set_value();  // `last` may be gone from here on.
          };
          finished.executor.post(finished);
          return std::noop_coroutine();
        },
        &self);
  };
  executor.post(call);
  done.wait();
  return task.take();
}

}  // namespace coppice::io
