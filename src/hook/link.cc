#include "hook/link.h"

namespace coppice::hook {

Counts Counters::sum() const {
  const auto read = [](const std::atomic<u64>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  Counts sum;
  u64 timed_runs = 0, timed_ns = 0;
  for (u32 i = 0; i < count_; ++i) {
    const Slot& slot = slots_[i];
    sum.runs += read(slot.runs);
    timed_runs += read(slot.timed_runs);
    timed_ns += read(slot.timed_ns);
    sum.drops += read(slot.drops);
    sum.errors += read(slot.errors);
    sum.denials += read(slot.denials);
  }
  if (timed_runs > 0)
    sum.run_ns = static_cast<u64>(static_cast<double>(timed_ns) / static_cast<double>(timed_runs) *
                                  static_cast<double>(sum.runs));
  return sum;
}

std::shared_ptr<const Bound> bind(const Link& link) {
  if (link.instance == nullptr || link.options.replaces != 0) return nullptr;
  const auto& instance = link.patched != nullptr ? link.patched : link.instance;
  const LoadedProgram* program = instance->find(link.program);
  CHECK(program != nullptr);
  auto bound = std::make_shared<Bound>();
  bound->native = program->native.get();
  bound->code = program->code.get();
  bound->goes_on = link.options.goes_on != 0 ? link.options.goes_on : link.point.type->goes_on;
  bound->on_error = link.options.on_error;
  bound->counters = link.counters.get();
  bound->link = link.id;
  bound->instance = instance;
  bound->kept_counters = link.counters;
  bound->kept_redirects = link.redirects;
  for (const auto& each : link.redirects) bound->redirects.push_back(each.get());
  return bound;
}

}  // namespace coppice::hook
