#include "cli/top.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "cli/progress.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr u64 kPeriodMs = 1000;
constexpr double kTail = 0.99;
constexpr size_t kReads = 2, kWrites = 3;  // Columns.
constexpr size_t kLinesAbove = 3;          // Of the live view, over the table's first row.

struct Counters {
  u64 operations = 0, bytes = 0, errors = 0, latency_ns = 0;
  std::vector<u64> buckets;
};
struct Volume {
  Counters read, write, flush, discard;
  u32 connections = 0;
};
struct Sample {
  double at_s = 0;
  std::map<std::string, Volume> volumes;
};

Counters counters_of(schema::IoStats::Reader stats) {
  Counters counters{.operations = stats.getOperations(),
                    .bytes = stats.getBytes(),
                    .errors = stats.getErrors(),
                    .latency_ns = stats.getLatencyNsTotal(),
                    .buckets = {}};
  for (u64 each : stats.getLatencyBuckets()) counters.buckets.push_back(each);
  return counters;
}

// Since `before`. A volume that was closed in between starts from nothing.
Counters difference(const Counters& now, const Counters& before) {
  if (now.operations < before.operations) return now;
  Counters counters{.operations = now.operations - before.operations,
                    .bytes = now.bytes - before.bytes,
                    .errors = now.errors - before.errors,
                    .latency_ns = now.latency_ns - before.latency_ns,
                    .buckets = now.buckets};
  for (size_t i = 0; i < std::min(counters.buckets.size(), before.buckets.size()); ++i) {
    counters.buckets[i] -= std::min(counters.buckets[i], before.buckets[i]);
  }
  return counters;
}

// The programs that are attached, with what they did since `before`.
struct Programs {
  double at_s = 0;
  std::map<u64, u64> runs, denials;
};

Attempt<Table> programs_table(Connection& connection, Programs& before) {
  TRY(const auto response, connection.ask(connection.host().linksRequest()));
  Table table{.columns = {{.name = "link"},
                          {.name = "hook"},
                          {.name = "target"},
                          {.name = "program"},
                          {.name = "runs", .right = true, .header = "RUN/S"},
                          {.name = "run_ns", .right = true, .header = "TIME/RUN"},
                          {.name = "denials", .right = true, .header = "DENIED/S"},
                          {.name = "errors", .right = true}},
              .rows = {}};
  Programs now{.at_s = monotonic_s(), .runs = {}, .denials = {}};
  const double seconds = std::max(now.at_s - before.at_s, 1e-3);
  for (auto each : response.getValue().getLinks()) {
    const auto info = each.getInfo();
    const u64 id = info.getId();
    now.runs[id] = info.getRuns();
    now.denials[id] = info.getDenials();
    const auto rate = [&](u64 count, const std::map<u64, u64>& known) {
      const auto old = known.find(id);
      const u64 since = old == known.end() ? 0 : count - std::min(count, old->second);
      return Cell::count(saturate(static_cast<double>(since) / seconds + 0.5));
    };
    table.rows.push_back(
        {Cell::text(info.getName().size() == 0 ? fmt::format("#{}", id) : info.getName().cStr()),
         Cell::text(info.getHook().cStr()), Cell::text(info.getTarget().cStr()),
         Cell::text(info.getProgram().cStr()), rate(info.getRuns(), before.runs),
         info.getRuns() == 0 ? Cell() : Cell::nanoseconds(info.getRunNs() / info.getRuns()),
         rate(info.getDenials(), before.denials), Cell::exact(info.getErrors())});
  }
  before = std::move(now);
  return table;
}

Attempt<Sample> take_sample(Connection& connection) {
  TRY(const auto response, connection.ask(connection.host().statusRequest()));
  Sample sample{.at_s = monotonic_s(), .volumes = {}};
  for (auto each : response.getValue().getVolumes()) {
    const auto stats = each.getStats();
    sample.volumes[each.getName().cStr()] = {.read = counters_of(stats.getRead()),
                                             .write = counters_of(stats.getWrite()),
                                             .flush = counters_of(stats.getFlush()),
                                             .discard = counters_of(stats.getDiscard()),
                                             .connections = each.getConnections()};
  }
  return sample;
}

Table table_of(const Sample& now, const Sample& before) {
  Table table{.columns = {{.name = "name"},
                          {.name = "clients", .right = true},
                          {.name = "reads", .right = true, .header = "READ/S"},
                          {.name = "writes", .right = true, .header = "WRITE/S"},
                          {.name = "flushes", .right = true, .header = "FLUSH/S"},
                          {.name = "discards", .right = true, .header = "DISC/S"},
                          {.name = "read_bytes", .right = true, .header = "RBYTES/S"},
                          {.name = "write_bytes", .right = true, .header = "WBYTES/S"},
                          {.name = "read_latency_ns", .right = true, .header = "RLAT"},
                          {.name = "write_latency_ns", .right = true, .header = "WLAT"},
                          {.name = "read_latency_p99_ns", .right = true, .header = "RP99"},
                          {.name = "write_latency_p99_ns", .right = true, .header = "WP99"},
                          {.name = "errors", .right = true}},
              .rows = {}};
  const double seconds = std::max(now.at_s - before.at_s, 1e-3);
  const auto per_second = [&](u64 amount) {
    return saturate(static_cast<double>(amount) / seconds + 0.5);
  };
  const auto mean = [](const Counters& counters) {
    return counters.operations == 0 ? Cell()
                                    : Cell::nanoseconds(counters.latency_ns / counters.operations);
  };
  const auto tail = [](const Counters& counters) {
    return counters.operations == 0 ? Cell()
                                    : Cell::nanoseconds(quantile_ns(counters.buckets, kTail));
  };
  for (const auto& [name, volume] : now.volumes) {
    const auto known = before.volumes.find(name);
    const Volume none;
    const Volume& old = known == before.volumes.end() ? none : known->second;
    const Counters read = difference(volume.read, old.read);
    const Counters write = difference(volume.write, old.write);
    const Counters flush = difference(volume.flush, old.flush);
    const Counters discard = difference(volume.discard, old.discard);
    table.rows.push_back(
        {Cell::text(name), Cell::exact(volume.connections),
         Cell::count(per_second(read.operations)), Cell::count(per_second(write.operations)),
         Cell::count(per_second(flush.operations)), Cell::count(per_second(discard.operations)),
         Cell::bytes(per_second(read.bytes)), Cell::bytes(per_second(write.bytes)), mean(read),
         mean(write), tail(read), tail(write),
         Cell::exact(read.errors + write.errors + flush.errors + discard.errors)});
  }
  return table;
}

// Busiest first, and no more lines than fit.
std::string screen_of(Table table, const std::string& socket_line) {
  std::ranges::sort(table.rows, [](const auto& left, const auto& right) {
    const auto weight = [](const std::vector<Cell>& row) -> u64 {
      return row[kReads].json().get<u64>() + row[kWrites].json().get<u64>();
    };
    return weight(left) > weight(right);
  });
  const size_t room =
      std::max<size_t>(terminal_rows(STDOUT_FILENO), kLinesAbove + 2) - kLinesAbove - 1;
  if (table.rows.size() > room) table.rows.resize(room);
  return socket_line + "\n\n" + render(table, {});
}

}  // namespace

u64 quantile_ns(const std::vector<u64>& buckets, double share) {
  u64 all = 0;
  for (u64 each : buckets) all += each;
  const double wanted = static_cast<double>(all) * share;
  u64 below = 0;
  for (size_t i = 0; i < buckets.size() && i < 63; ++i) {
    below += buckets[i];
    if (static_cast<double>(below) >= wanted && below > 0) return u64{1} << (i + 1);
  }
  return 0;
}

Attempt<> top_once(Connection& connection, const Format& format) {
  Programs programs;
  TRY(const Sample before, take_sample(connection));
  TRY(Table attached, programs_table(connection, programs));
  TRY_VOID(connection.sleep(kPeriodMs));
  TRY(const Sample now, take_sample(connection));
  TRY(attached, programs_table(connection, programs));
  print(table_of(now, before), format);
  if (format.json || attached.rows.empty()) return {};  // JSON stays one array: of volumes.
  fmt::print("\n");
  print(attached, format);
  return {};
}

Attempt<> top_live(Connection& connection) {
  Programs programs;
  TRY(Sample before, take_sample(connection));
  TRY(Table attached, programs_table(connection, programs));
  while (true) {
    TRY_VOID(connection.sleep(kPeriodMs));
    TRY(Sample now, take_sample(connection));
    const std::string head = fmt::format("coppiced {}: {} exported volumes, {}. Interrupt to end.",
                                         connection.daemon_version(), now.volumes.size(),
                                         show_time(static_cast<u64>(::time(nullptr))));
    TRY(attached, programs_table(connection, programs));
    fmt::print("\x1b[H\x1b[2J{}", screen_of(table_of(now, before), head));
    if (!attached.rows.empty()) fmt::print("\n{}", render(attached, {}));
    if (std::fflush(stdout) != 0) return {};  // The terminal has gone.
    before = std::move(now);
  }
}

}  // namespace coppice::cli
