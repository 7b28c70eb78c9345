// io/ring.h — Ring: a thin hold on one io_uring, used by one thread.
#pragma once

#include <liburing.h>

#include <optional>

#include "base/result.h"

namespace coppice::io {

// One request in flight. Lives in the awaiting coroutine's frame; the kernel holds its address.
struct Completion {
  void (*prepare)(Completion&, io_uring_sqe&) = nullptr;
  void (*complete)(Completion&) = nullptr;  // May end the Completion's life.
  Completion* link = nullptr;
  int res = 0;
};

class Ring {
 public:
  static constexpr unsigned kSubmissionsMax = 512;   // In one system call; more wait their turn.
  static constexpr unsigned kCompletionsMax = 4096;  // More are kept by the kernel until reaped.

  Ring() = default;
  Ring(const Ring&) = delete;
  ~Ring();

  Result<> open();    // Any thread, once.
  Result<> enable();  // The thread that will use it, before all that follows.

  void enqueue(Completion& completion);
  // Asks the kernel to end a request early (res: -ECANCELED), if it can and if it is not too late.
  void cancel(Completion& completion);
  size_t in_flight() const { return in_flight_; }  // Enqueued and not reaped.

  // Whether submit() has anything to do.
  bool wants_submit() const { return unsubmitted_ > 0 || kernel_calls(); }
  bool has_completions() const { return io_uring_cq_ready(&ring_) > 0 || kernel_calls(); }
  void submit();                             // Never sleeps.
  void wait(std::optional<u64> timeout_ns);  // Submits, then sleeps until a completion or a signal.
  Completion* reap();                        // A list, in order of completion.

 private:
  bool kernel_calls() const {  // It has completions, but not yet where we see them.
    return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  bool push(Completion& completion);
  void refill();

  io_uring ring_{};
  bool open_ = false;
  bool disabled_ = false;
  size_t in_flight_ = 0;
  size_t unsubmitted_ = 0;       // Enqueued and not yet the kernel's.
  Completion* first_ = nullptr;  // Found the submission queue full.
  Completion** last_ = &first_;
};

}  // namespace coppice::io
