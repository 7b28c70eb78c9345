// hook/runner.h — Runner: what one thread runs programs with.
//
// Theory. A run begins and ends within one turn of its thread: nothing waits in it. A tracepoint
// that fires while a program runs on the same thread is not seen (it counts as dropped), as in the
// kernel: a program must not watch itself.
#pragma once

#include "hook/generation.h"
#include "hook/helpers.h"

namespace coppice::hook {

enum class Ran : u8 { ok, dropped, failed };

class Runner {
 public:
  // `slot`: of this thread alone.
  Runner(u32 slot, std::function<void(std::string_view)> log);
  Runner(const Runner&) = delete;

  u32 slot() const { return slot_; }
  // Runs the program on the context, with `call` beside it, and counts. `result`: what it returned.
  Ran run(const Bound& bound, void* context, Call* call, u64& result) {
    Counters::Slot& counts = bound.counters->slot(slot_);
    if (busy_) {
      Counters::count(counts.drops);
      return Ran::dropped;
    }
    const u64 runs = counts.runs.load(std::memory_order_relaxed);
    counts.runs.store(runs + 1, std::memory_order_relaxed);
    if (runs % kTimedEach == 0 || bound.native == nullptr) [[unlikely]]
      return run_timed(bound, context, call, result, counts);
    busy_ = true;
    machine_.call = call;
    result = machine_.run(*bound.native, reinterpret_cast<u64>(context));
    busy_ = false;
    if (machine_.stopped()) [[unlikely]]
      return fail(counts);
    return Ran::ok;
  }
  // For chains where results say no more than whether to go on: complete, timers, tracepoints.
  void run_all(const Chain& chain, void* context) {
    for (const Bound* bound : chain) {
      u64 result = 0;
      if (run(*bound, context, nullptr, result) != Ran::ok) continue;
      if ((bound->goes_on >> (result < 31 ? result : 31) & 1) == 0) return;
    }
  }
  void run_tracepoint(const Chain& chain, std::span<const std::byte> view) {
    if (!busy_) machine_.view = view;
    run_all(chain, const_cast<std::byte*>(view.data()));
  }
  Counters::Slot& counts_of(const Bound& bound) const { return bound.counters->slot(slot_); }

 private:
  static constexpr u64 kTimedEach = 256;  // A clock costs more than an empty program.
  Ran run_timed(const Bound& bound, void* context, Call* call, u64& result, Counters::Slot& counts);
  static Ran fail(Counters::Slot& counts) {
    Counters::count(counts.errors);
    return Ran::failed;
  }

  const u32 slot_;
  bool busy_ = false;
  HookMachine machine_;
};

}  // namespace coppice::hook
