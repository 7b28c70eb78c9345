// rt/scope.h — Scope: starts tasks side by side on one executor and joins them all.
#pragma once

#include <list>

#include "rt/abandon.h"
#include "rt/task.h"

namespace coppice::rt {

// Tasks spawned must end on the executor that owns the Scope. Whoever destroys a Scope has awaited
// join() since the last spawn(), or knows that nothing runs. At most one join() waits at a time.
class Scope {
 public:
  Scope() = default;
  Scope(const Scope&) = delete;
  ~Scope() { CHECK(running_ == 0 || Abandon::active()); }

  void spawn(Task<> task) {
    if (children_.size() > 2 * running_ + kReapAt) reap();
    ++running_;
    children_.push_back(std::move(task));
    children_.back().start(&Scope::child_done, this);
  }
  size_t running() const { return running_; }

  // Waits until nothing runs any more; the first error of any task since the last join().
  Task<> join() {
    if (running_ > 0) co_await Joiner{*this};
    reap();
    Result<> outcome = std::exchange(outcome_, Result<>{});
    co_return outcome;
  }

 private:
  static constexpr size_t kReapAt = 16;
  struct Joiner {
    Scope& scope;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      CHECK(!scope.joiner_);
      scope.joiner_ = handle;
    }
    void await_resume() const noexcept {}
  };
  // The child is suspended for good when this runs, so the joiner may destroy it.
  static std::coroutine_handle<> child_done(PromiseBase& base) {
    auto& child = static_cast<Task<>::promise_type&>(base);
    auto& scope = *static_cast<Scope*>(base.owner);
    CHECK(scope.running_ > 0);
    if (!child.value->has_value() && scope.outcome_) scope.outcome_ = *child.value;
    if (--scope.running_ > 0 || !scope.joiner_) return std::noop_coroutine();
    return std::exchange(scope.joiner_, nullptr);
  }
  void reap() {
    std::erase_if(children_, [](const Task<>& child) { return child.finished(); });
  }

  std::list<Task<>> children_;
  size_t running_ = 0;
  Result<> outcome_{};
  std::coroutine_handle<> joiner_{};
};

}  // namespace coppice::rt
