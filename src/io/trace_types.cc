#include "io/trace_types.h"

#include "io/reactor.h"

// Offsets in a class that is no plain structure: both compilers know them all the same.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace coppice::io {

std::vector<trace::Structure> TraceTypes::all() {
  using Counters = Reactor::Counters;
  return {
      {"io_ReactorCounters",
       sizeof(Counters),
       {COPPICE_FIELD(Counters, turns), COPPICE_FIELD(Counters, jobs),
        COPPICE_FIELD(Counters, completions), COPPICE_FIELD(Counters, sleeps),
        COPPICE_FIELD(Counters, wakes)}},
      {"io_Reactor",
       sizeof(Reactor),
       {COPPICE_FIELD(Reactor, wake_fd_), COPPICE_FIELD(Reactor, timers_set_),
        COPPICE_FIELD_OF(Reactor, counters_, "io_ReactorCounters"),
        COPPICE_FIELD(Reactor, sleeping_), COPPICE_FIELD(Reactor, stop_)}},
  };
}

}  // namespace coppice::io
