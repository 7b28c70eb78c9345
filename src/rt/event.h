// rt/event.h — Event and Mutex: waiting for one another on one executor.
#pragma once

#include <coroutine>
#include <utility>

#include "rt/abandon.h"
#include "rt/executor.h"

namespace coppice::rt {

// A list of waiting coroutines. wait() always suspends; pulse() resumes all who wait now, in order,
// on the spot. State is the caller's: test it in a loop around wait().
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  ~Event() { CHECK(first_ == nullptr || Abandon::active()); }

  struct Wait {
    Event& event;
    std::coroutine_handle<> waiter{};
    Wait* link = nullptr;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      waiter = handle;
      *event.last_ = this;
      event.last_ = &link;
    }
    void await_resume() const noexcept {}
  };
  Wait wait() { return Wait{*this}; }
  void pulse() {
    Wait* each = std::exchange(first_, nullptr);
    last_ = &first_;
    while (each != nullptr) {
      Wait* next = each->link;
      each->waiter.resume();
      each = next;
    }
  }
  bool waited_on() const { return first_ != nullptr; }

 private:
  Wait* first_ = nullptr;
  Wait** last_ = &first_;
};

// First come, first served. Held across suspensions; one executor only.
class Mutex {
 public:
  explicit Mutex(Executor& executor) : executor_(executor) {}
  Mutex(const Mutex&) = delete;
  ~Mutex() { CHECK(!held_ || Abandon::active()); }

  class [[nodiscard]] Lock {
   public:
    Lock() = default;
    explicit Lock(Mutex* mutex) : mutex_(mutex) {}
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&& other) noexcept {
      std::swap(mutex_, other.mutex_);
      return *this;
    }
    ~Lock() { release(); }
    void release() {
      if (Mutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
    }

   private:
    Mutex* mutex_ = nullptr;
  };

  // auto lock = co_await mutex.lock();
  auto lock() {
    struct Wait : Job {
      Mutex& mutex;
      std::coroutine_handle<> waiter{};
      explicit Wait(Mutex& m) : mutex(m) {}
      bool await_ready() const noexcept { return !mutex.held_; }
      void await_suspend(std::coroutine_handle<> handle) noexcept {
        waiter = handle;
        run = [](Job& job) { static_cast<Wait&>(job).waiter.resume(); };
        *mutex.last_ = this;
        mutex.last_ = &link;
      }
      Lock await_resume() const noexcept {
        mutex.held_ = true;  // Handed over by unlock(), which left it set.
        return Lock(&mutex);
      }
    };
    return Wait(*this);
  }
  bool held() const { return held_; }

 private:
  void unlock() {
    if (Abandon::active()) return;  // Those who wait may be gone already.
    CHECK(held_);
    Job* next = first_;
    held_ = next != nullptr;
    if (next == nullptr) return;
    first_ = std::exchange(next->link, nullptr);
    if (first_ == nullptr) last_ = &first_;
    executor_.post(*next);
  }
  Executor& executor_;
  bool held_ = false;
  Job* first_ = nullptr;
  Job** last_ = &first_;
};

}  // namespace coppice::rt
