// trace list, --btf, stream.
#include <unistd.h>

#include <cstdio>

#include "cli/trace_events.h"
#include "cli/trace_tools.h"

namespace coppice::cli {

Attempt<> list_tracepoints(Session& session, const Format& format) {
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().tracepointsRequest()));
  Table table{.columns = {{.name = "name"},
                          {.name = "tier"},
                          {.name = "programs", .right = true},
                          {.name = "arguments"}},
              .rows = {}};
  for (auto each : response.getValue())
    table.rows.push_back(
        {Cell::text(each.getName().cStr()),
         Cell::text(each.getTier() == schema::Tier::STABLE ? "stable" : "internal"),
         Cell::exact(each.getPrograms()), Cell::text(each.getView().cStr())});
  print(table, format);
  return {};
}

Attempt<> write_types(Session& session) {
  if (::isatty(STDOUT_FILENO) != 0)
    return misuse("BTF is no text: write it to a file (coppice trace --btf > coppice.btf)");
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().typesRequest()));
  const auto btf = response.getValue().getBtf();
  const size_t written = std::fwrite(btf.begin(), 1, btf.size(), stdout);
  if (written != btf.size() || std::fflush(stdout) != 0)
    return refuse("cannot write the types to standard output");
  return {};
}

Attempt<> stream_events(Session& session, const StreamWishes& wishes) {
  TRY(const EventFilter filter, EventFilter::parse(wishes.filter));
  Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  TRY(EventStream stream, EventStream::open(*connection, split(wishes.events, ',')));
  u64 seen = 0;
  while (true) {
    stream.poll([&](const Event& event) {
      if (!filter.passes(event) || (wishes.count != 0 && seen >= wishes.count)) return;
      ++seen;
      if (wishes.json) {
        fmt::print("{}\n", json_of(event).dump(-1, ' ', false, Json::error_handler_t::replace));
      } else {
        fmt::print("{}\n", line_of(event));
      }
    });
    if (std::fflush(stdout) != 0) return {};  // Whoever read it has seen enough.
    if (wishes.count != 0 && seen >= wishes.count) break;
    const auto woken = stream.wait();
    if (woken == Connection::Woken::by_signal) break;
    if (woken == Connection::Woken::by_daemon) return refuse("the daemon has gone");
  }
  if (const u64 lost = stream.lost())
    fmt::print(stderr, "coppice: {} events found no room and were left out\n", lost);
  return {};
}

}  // namespace coppice::cli
