// cli/trace_tools.h — `coppice trace`: what people look at when something is slow.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace coppice::cli {

Attempt<> list_tracepoints(Session& session, const Format& format);
Attempt<> write_types(Session& session);  // BTF, to standard output.

struct StreamWishes {
  std::vector<std::string> events;  // Each "a,b".
  std::string filter;
  u64 count = 0;  // Then it ends; 0: until it is interrupted.
  bool json = false;
};
Attempt<> stream_events(Session& session, const StreamWishes& wishes);

struct LatencyWishes {
  std::string target;
  u64 seconds = 0;  // 0: until it is interrupted.
  bool json = false;
};
Attempt<> show_latency(Session& session, const LatencyWishes& wishes);

struct TopWishes {
  u64 seconds = 0;  // As above.
  Format format;
};
Attempt<> show_clients(Session& session, const TopWishes& wishes);

struct RecordWishes {
  std::string file;
  std::vector<std::string> events;  // None: what a request meets on its way.
  u64 seconds = 0;
};
Attempt<> record_events(Session& session, const RecordWishes& wishes);

struct ReportWishes {
  std::string file;
  u64 request = 0;  // 0: the slowest.
  bool json = false;
};
Attempt<> report_request(const ReportWishes& wishes);

}  // namespace coppice::cli
