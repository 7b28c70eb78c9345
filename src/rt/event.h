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
    explicit operator bool() const { return mutex_ != nullptr; }
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

  // To give up waiting. For one lock() at a time; must outlive it.
  class Ticket {
   public:
    // lock() yields an empty Lock, unless the mutex is handed over already. For good.
    void cancel() {
      cancelled_ = true;
      if (job_ == nullptr || !mutex_->forget(*job_)) return;
      forgotten_ = true;
      mutex_->executor_.post(*job_);
    }

   private:
    friend class Mutex;
    bool cancelled_ = false;
    bool forgotten_ = false;  // Taken out of the queue.
    Mutex* mutex_ = nullptr;
    Job* job_ = nullptr;  // While it waits.
  };

  // auto lock = co_await mutex.lock();
  auto lock(Ticket* ticket = nullptr) {
    struct Wait : Job {
      Mutex& mutex;
      Ticket* ticket;
      std::coroutine_handle<> waiter{};
      Wait(Mutex& m, Ticket* t) : mutex(m), ticket(t) {}
      bool await_ready() const noexcept {
        return !mutex.held_ || (ticket != nullptr && ticket->cancelled_);
      }
      void await_suspend(std::coroutine_handle<> handle) noexcept {
        waiter = handle;
        run = [](Job& job) { static_cast<Wait&>(job).waiter.resume(); };
        *mutex.last_ = this;
        mutex.last_ = &link;
        ++mutex.waiting_;
        if (ticket != nullptr) {
          ticket->mutex_ = &mutex;
          ticket->job_ = this;
        }
      }
      Lock await_resume() const noexcept {
        if (ticket != nullptr) ticket->job_ = nullptr;
        if (waiter && ticket != nullptr && ticket->forgotten_) return {};
        if (!waiter && mutex.held_) return {};  // Cancelled before it began.
        mutex.held_ = true;                     // Handed over by unlock(), which left it set.
        return Lock(&mutex);
      }
    };
    return Wait(*this, ticket);
  }
  bool held() const { return held_; }
  size_t waiting() const { return waiting_; }

 private:
  // Takes a waiting job out of the queue. False: it is not in it.
  bool forget(Job& job) {
    for (Job** at = &first_; *at != nullptr; at = &(*at)->link) {
      if (*at != &job) continue;
      *at = job.link;
      if (*at == nullptr) last_ = at;
      job.link = nullptr;
      --waiting_;
      return true;
    }
    return false;
  }
  void unlock() {
    if (Abandon::active()) return;  // Those who wait may be gone already.
    CHECK(held_);
    Job* next = first_;
    held_ = next != nullptr;
    if (next == nullptr) return;
    first_ = std::exchange(next->link, nullptr);
    if (first_ == nullptr) last_ = &first_;
    --waiting_;
    executor_.post(*next);
  }
  Executor& executor_;
  bool held_ = false;
  size_t waiting_ = 0;
  Job* first_ = nullptr;
  Job** last_ = &first_;
};

}  // namespace coppice::rt
