// rt/abandon.h — Abandon: while one lives, coroutines are being dropped where they stand.
#pragma once

#include "base/check.h"

namespace coppice::rt {

// A simulated power cut drops every coroutine without resuming it, so what it holds (a lock, a
// place in a queue, a running child) is never given back. Under the guard, destructors do not
// insist on that, and nobody is woken. Only the simulator makes one; it holds for the calling
// thread.
class Abandon {
 public:
  Abandon() {
    CHECK(!active_);
    active_ = true;
  }
  Abandon(const Abandon&) = delete;
  ~Abandon() { active_ = false; }
  static bool active() { return active_; }

 private:
  static inline thread_local bool active_ = false;
};

}  // namespace coppice::rt
