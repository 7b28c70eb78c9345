// hook/timers.h — Timers: runs the programs of timer links, each at its interval.
//
// Theory. One job looks, at least ten times a second while there is a timer link, which of them are
// due. A link's first run is an interval after it was seen first; runs that could not be in time
// are counted, not made up for.
#pragma once

#include "hook/table.h"

namespace coppice::hook {

inline constexpr u64 kTimerIntervalNsMin = 1'000'000;

class Timers {
 public:
  Timers(Table& table, const PointType& timer) : table_(table), timer_(timer) {
    tick_.timers = this;
  }
  Timers(const Timers&) = delete;
  ~Timers() { CHECK(!ticking_); }

  void look();     // At the table's home, after links were changed.
  Task<> close();  // Takes a tenth of a second at most.

 private:
  struct Due {
    u64 at_ns = 0;
    u64 count = 0, missed = 0;
  };
  struct Tick : rt::Job {
    Timers* timers = nullptr;
  };
  void tick();
  void run(const Link& link, Due& due, u64 now);

  Table& table_;
  const PointType& timer_;
  std::map<LinkId, Due> due_;
  Tick tick_;
  bool ticking_ = false, closed_ = false;
  rt::Event stopped_;
};

}  // namespace coppice::hook
