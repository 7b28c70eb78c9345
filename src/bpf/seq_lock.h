// bpf/seq_lock.h — one writer at a time; readers never wait for long and never write.
//
// Theory. The number is odd while a writer is at work. A reader takes the number, reads with
// relaxed atomic loads, and believes what it read only if the number is even and still the same. So
// it must survive whatever it reads meanwhile: links stay indices into memory that lives as long as
// the lock, and a walk asks unchanged() at each step, so that it cannot go in circles.
#pragma once

#include <sched.h>

#include <atomic>

#include "base/check.h"
#include "base/types.h"

namespace coppice::bpf {

class SeqLock {
 public:
  u32 begin() const { return number_.load(std::memory_order_acquire); }
  bool unchanged(u32 begun) const {
    std::atomic_thread_fence(std::memory_order_acquire);
    return (begun & 1) == 0 && number_.load(std::memory_order_relaxed) == begun;
  }
  void lock() {
    for (u32 tries = 0;; ++tries) {
      u32 number = number_.load(std::memory_order_relaxed);
      if ((number & 1) == 0 &&
          number_.compare_exchange_weak(number, number + 1, std::memory_order_acquire))
        break;
      pause(tries);
    }
    std::atomic_thread_fence(std::memory_order_release);
  }
  void unlock() {
    const u32 number = number_.load(std::memory_order_relaxed);
    CHECK((number & 1) == 1);
    number_.store(number + 1, std::memory_order_release);
  }
  static void pause(u32 tries) {
    if (tries % 128 == 127) {
      ::sched_yield();  // Who holds it may have been preempted.
    } else {
      __builtin_ia32_pause();
    }
  }

 private:
  std::atomic<u32> number_{0};
};

// For the length of a block.
class Locked {
 public:
  explicit Locked(SeqLock& lock) : lock_(lock) { lock_.lock(); }
  ~Locked() { lock_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  SeqLock& lock_;
};

}  // namespace coppice::bpf
