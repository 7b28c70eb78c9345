// rt/task.h — Task<T>: a lazily started coroutine that ends in a Result<T>.
//
// Theory. `co_await task` yields Result<T>; `co_await ok(task)` yields T, or ends the awaiting
// coroutine with the error. An awaited child is started inside await_suspend and, if it finishes
// without suspending, the parent simply goes on: no symmetric transfer, which g++-12 turns into
// unbounded recursion at -O0 and under sanitizers. A coroutine ended by ok() is not resumed; it
// stays suspended until its Task is destroyed, which runs destructors innermost frame first.
//
// A coroutine stays on the executor it runs on, except across `call()` (rt/executor.h), which
// brings it back whatever the outcome. A Task that was started must finish before it is destroyed.
#pragma once

#include <coroutine>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/result.h"

namespace coppice {

template <class T>
class Task;
template <class A>
struct Ok {
  A inner;
};
template <class A>
Ok<A> ok(A inner) {
  return {std::move(inner)};
}

struct PromiseBase {
  std::coroutine_handle<> (*next)(PromiseBase&) = nullptr;  // Whom to resume once finished.
  PromiseBase* parent = nullptr;
  std::coroutine_handle<> parent_handle{};
  void* owner = nullptr;  // For `next`, when a Scope set it.
  bool finished = false;

  std::coroutine_handle<> finish() noexcept {
    CHECK(!finished);
    finished = true;
    return next ? next(*this) : std::noop_coroutine();
  }
  std::suspend_always initial_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::abort(); }
};

template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : PromiseBase {
    std::optional<Result<T>> value;

    Task get_return_object() {
      return Task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    struct Final {
      bool await_ready() noexcept { return false; }
      auto await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().finish();
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_value(Result<T> result) { value.emplace(std::move(result)); }
    std::coroutine_handle<> end_with(Error error) noexcept {
      value.emplace(std::unexpected(std::move(error)));
      return finish();
    }

    template <class U>
    struct Plain {
      Task<U> child;
      bool await_ready() noexcept { return false; }
      bool await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        auto& promise = child.handle_.promise();
        child.handle_.resume();
        if (promise.finished) return false;
        promise.parent_handle = self;
        promise.next = [](PromiseBase& base) { return base.parent_handle; };
        return true;
      }
      Result<U> await_resume() { return *std::move(child.handle_.promise().value); }
    };
    template <class U>
    struct Unwrap {
      Task<U> child;
      using Child = typename Task<U>::promise_type;
      static std::coroutine_handle<> relay(PromiseBase& base) {
        auto& promise = static_cast<Child&>(base);
        if (promise.value->has_value()) return promise.parent_handle;
        return static_cast<promise_type&>(*promise.parent).end_with(promise.value->error());
      }
      // Here rather than in await_suspend(), so that a loop over children that do not suspend needs
      // no symmetric transfer back to the parent either.
      bool await_ready() noexcept {
        auto& promise = child.handle_.promise();
        child.handle_.resume();
        return promise.finished && promise.value->has_value();
      }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        auto& promise = child.handle_.promise();
        promise.parent = &self.promise();
        promise.parent_handle = self;
        if (promise.finished) return relay(promise);
        promise.next = &relay;
        return std::noop_coroutine();
      }
      U await_resume() {
        if constexpr (!std::is_void_v<U>) return **std::move(child.handle_.promise().value);
      }
    };
    template <class U>
    struct UnwrapResult {
      Result<U> result;
      bool await_ready() noexcept { return result.has_value(); }
      auto await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().end_with(result.error());
      }
      U await_resume() {
        if constexpr (!std::is_void_v<U>) return *std::move(result);
      }
    };
    template <class U>
    auto await_transform(Task<U> task) {
      return Plain<U>{std::move(task)};
    }
    template <class U>
    auto await_transform(Ok<Task<U>> wrapped) {
      return Unwrap<U>{std::move(wrapped.inner)};
    }
    template <class U>
    auto await_transform(Ok<Result<U>> wrapped) {
      return UnwrapResult<U>{std::move(wrapped.inner)};
    }
    template <class A>
    A&& await_transform(A&& awaitable) {
      return std::forward<A>(awaitable);
    }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  void start() { handle_.resume(); }
  // As start(); `next` is asked for the coroutine to go on with once this one has finished.
  void start(std::coroutine_handle<> (*next)(PromiseBase&), void* owner) {
    handle_.promise().next = next;
    handle_.promise().owner = owner;
    handle_.resume();
  }
  bool finished() const { return handle_.promise().finished; }
  const Result<T>& result() const {
    CHECK(finished());
    return *handle_.promise().value;
  }
  Result<T> take() {
    CHECK(finished());
    return *std::move(handle_.promise().value);
  }

 private:
  template <class>
  friend class Task;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

}  // namespace coppice
