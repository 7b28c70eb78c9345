#include "hook/timers.h"

#include <algorithm>

namespace coppice::hook {
namespace {
constexpr u64 kLookNs = 100'000'000;
}

void Timers::look() {
  if (ticking_ || closed_ || !table_.any(timer_)) return;
  ticking_ = true;
  tick_.run = [](rt::Job& job) { static_cast<Tick&>(job).timers->tick(); };
  table_.home().executor().post(tick_);
}

Task<> Timers::close() {
  closed_ = true;
  while (ticking_) co_await stopped_.wait();
  co_return {};
}

void Timers::run(const Link& link, Due& due, u64 now) {
  coppice_timer context{.time_ns = now,
                        .wall_ns = table_.home().executor().wall_ns(),
                        .count = due.count++,
                        .missed = due.missed,
                        .interval_ns = link.options.interval_ns};
  u64 result = 0;
  table_.home().runner().run(*link.bound, &context, nullptr, result);
  const u64 late = (now - due.at_ns) / link.options.interval_ns;
  due.missed += late;
  due.at_ns += (late + 1) * link.options.interval_ns;
}

void Timers::tick() {
  rt::Executor& executor = table_.home().executor();
  const u64 now = executor.now_ns();
  u64 next = now + kLookNs;
  std::map<LinkId, Due> seen;
  for (const auto& [point, list] : table_.points()) {
    if (point.type != &timer_) continue;
    for (const auto& link : *list) {
      if (!link->bound) continue;
      CHECK(link->options.interval_ns >= kTimerIntervalNsMin);
      const auto known = due_.find(link->id);
      Due due = known != due_.end() ? known->second : Due{.at_ns = now + link->options.interval_ns};
      if (due.at_ns <= now) run(*link, due, now);
      next = std::min(next, due.at_ns);
      seen.emplace(link->id, due);
    }
  }
  due_ = std::move(seen);
  if (closed_ || due_.empty()) {
    ticking_ = false;
    stopped_.pulse();
    return;
  }
  executor.post_at(std::max(next, now + 1), tick_);
}

}  // namespace coppice::hook
