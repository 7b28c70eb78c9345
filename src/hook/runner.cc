#include "hook/runner.h"

#include <chrono>

namespace coppice::hook {

namespace {
constexpr u64 kInterpreterBudget = 100'000'000;  // Programs were proved to end far below.
}

Runner::Runner(u32 slot, std::function<void(std::string_view)> log)
    : slot_(slot), machine_({.slot = slot, .budget = kInterpreterBudget, .log = std::move(log)}) {}

Ran Runner::run_timed(const Bound& bound, void* context, Call* call, u64& result,
                      Counters::Slot& counts) {
  const auto began = std::chrono::steady_clock::now();
  busy_ = true;
  machine_.call = call;
  bool stopped = false;
  if (bound.native != nullptr) {
    result = machine_.run(*bound.native, reinterpret_cast<u64>(context));
    stopped = machine_.stopped();
  } else {
    const bpf::Outcome outcome = machine_.run(*bound.code, reinterpret_cast<u64>(context));
    result = outcome.r0;
    stopped = outcome.stop != bpf::Stop::exited;
  }
  busy_ = false;
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - began;
  Counters::count(counts.timed_runs);
  Counters::count(counts.timed_ns, static_cast<u64>(took.count()));
  return stopped ? fail(counts) : Ran::ok;
}

}  // namespace coppice::hook
