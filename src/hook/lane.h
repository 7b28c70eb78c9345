// hook/lane.h — Lane: a thread that runs programs, as the hooks see it.
#pragma once

#include <set>

#include "hook/runner.h"

namespace coppice::hook {

class HookedDevice;

// What the table and all lanes share: where the current generation is. Never null once the table is
// there.
struct Dispatch {
  alignas(64) std::atomic<const Generation*> current{nullptr};
  std::atomic<u64> next_request{1};  // Lanes take numbers in blocks.
};

class Lane {
 public:
  Lane(rt::Executor& executor, Dispatch& dispatch, u32 slot,
       std::function<void(std::string_view)> log)
      : executor_(executor), dispatch_(dispatch), runner_(slot, std::move(log)) {}
  Lane(const Lane&) = delete;
  ~Lane() { CHECK(devices_.empty()); }

  rt::Executor& executor() { return executor_; }
  Dispatch& dispatch() { return dispatch_; }
  Runner& runner() { return runner_; }
  u64 next_request() {
    if (request_ % kRequestBlock == 0)
      request_ = dispatch_.next_request.fetch_add(1, std::memory_order_relaxed) * kRequestBlock;
    return request_++;
  }

  // Own thread. Tracepoints that fire on it from now on are seen by programs.
  void bind_thread();
  static void unbind_thread();
  static Lane* of_thread();  // Null: this thread runs no programs.

  void add(HookedDevice& device) { devices_.insert(&device); }
  void remove(HookedDevice& device) { devices_.erase(&device); }
  // Idle devices let go of older generations.
  void refresh();

 private:
  static constexpr u64 kRequestBlock = u64{1} << 20;
  rt::Executor& executor_;
  Dispatch& dispatch_;
  Runner runner_;
  u64 request_ = 0;
  std::set<HookedDevice*> devices_;
};

}  // namespace coppice::hook
