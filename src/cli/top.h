// cli/top.h — the live view of what the exported volumes do.
#pragma once

#include "cli/connection.h"
#include "cli/table.h"

namespace coppice::cli {

// One view, of one second.
Attempt<> top_once(Connection& connection, const Format& format);
// A new view every second, until interrupted. For terminals.
Attempt<> top_live(Connection& connection);

// The latency below which `share` of the requests of a histogram stayed, to the bucket's upper end.
u64 quantile_ns(const std::vector<u64>& buckets, double share);

}  // namespace coppice::cli
