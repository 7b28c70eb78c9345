// cli/command_status.cc — status, top, history, version: how the daemon is, and what was done to
// its pools.
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <deque>

#include "cli/command.h"
#include "cli/pool_report.h"
#include "cli/size.h"
#include "cli/top.h"

namespace coppice::cli {
namespace {

// --- status ---

nlohmann::ordered_json io_facts(const std::string& what, schema::IoStats::Reader stats) {
  nlohmann::ordered_json buckets = nlohmann::ordered_json::array();
  for (u64 each : stats.getLatencyBuckets()) buckets.push_back(each);
  return {{what + "_operations", stats.getOperations()},
          {what + "_bytes", stats.getBytes()},
          {what + "_errors", stats.getErrors()},
          {what + "_latency_ns_total", stats.getLatencyNsTotal()},
          {what + "_latency_buckets", std::move(buckets)}};
}

nlohmann::ordered_json volume_facts(schema::VolumeStatus::Reader volume) {
  nlohmann::ordered_json facts = {{"name", volume.getName().cStr()},
                                  {"connections", volume.getConnections()}};
  const auto stats = volume.getStats();
  facts.update(io_facts("read", stats.getRead()));
  facts.update(io_facts("write", stats.getWrite()));
  facts.update(io_facts("flush", stats.getFlush()));
  facts.update(io_facts("discard", stats.getDiscard()));
  facts["checksum_errors"] = stats.getChecksumErrors();
  return facts;
}

nlohmann::ordered_json export_facts(schema::ExportInfo::Reader info) {
  return {{"name", info.getName().cStr()},
          {"protocol", info.getSpec().getProtocol().cStr()},
          {"address", info.getSpec().getAddress().cStr()},
          {"uri", info.getUri().cStr()},
          {"read_only", info.getSpec().getReadOnly()},
          {"pinned", info.getPinned()},
          {"running", info.getRunning()},
          {"problem", info.getProblem().cStr()},
          {"volsize", info.getVolsize()},
          {"connections", info.getConnections()}};
}

nlohmann::ordered_json host_facts(schema::HostStatus::Reader status) {
  nlohmann::ordered_json facts = {{"version", status.getVersion().cStr()},
                                  {"pid", status.getPid()},
                                  {"started_s", status.getStartedS()},
                                  {"uptime_ns", status.getUptimeNs()},
                                  {"memory_bytes", status.getMemoryBytes()},
                                  {"memory_peak_bytes", status.getMemoryPeakBytes()},
                                  {"cpu_ns", status.getCpuNs()},
                                  {"open_files", status.getOpenFiles()},
                                  {"open_files_max", status.getOpenFilesMax()},
                                  {"control_connections", status.getControlConnections()},
                                  {"control_connections_max", status.getControlConnectionsMax()},
                                  {"sandboxed", status.getSandboxed()}};
  const auto list = [&](const char* name) -> nlohmann::ordered_json& {
    return facts[name] = nlohmann::ordered_json::array();
  };
  auto& pools = list("pools");
  for (auto each : status.getPools()) pools.push_back(report_of(each).facts);
  auto& volumes = list("volumes");
  for (auto each : status.getVolumes()) volumes.push_back(volume_facts(each));
  auto& exports = list("exports");
  for (auto each : status.getExports()) exports.push_back(export_facts(each));
  auto& listeners = list("listeners");
  for (auto each : status.getListeners()) {
    listeners.push_back({{"address", each.getAddress().cStr()},
                         {"exports", each.getExports()},
                         {"connections", each.getConnections()},
                         {"accepted", each.getAccepted()}});
  }
  auto& reactors = list("reactors");
  for (auto each : status.getReactors()) {
    reactors.push_back({{"name", each.getName().cStr()},
                        {"turns", each.getTurns()},
                        {"completions", each.getCompletions()},
                        {"jobs", each.getJobs()},
                        {"sleeps", each.getSleeps()},
                        {"wakes", each.getWakes()}});
  }
  auto& warnings = list("warnings");
  for (auto each : status.getWarnings()) warnings.push_back(each.cStr());
  return facts;
}

void print_host(schema::HostStatus::Reader status) {
  constexpr u64 kNsPerS = 1'000'000'000;
  fmt::print("coppiced {}, process {}, up {}{}\n", status.getVersion().cStr(), status.getPid(),
             show_duration(status.getUptimeNs() / kNsPerS),
             status.getSandboxed() ? ", sandboxed" : "");
  fmt::print("memory {} (at most {}), cpu {}, {} of {} descriptors, {} of {} control connections\n",
             show_bytes(status.getMemoryBytes()), show_bytes(status.getMemoryPeakBytes()),
             show_duration(status.getCpuNs() / kNsPerS), status.getOpenFiles(),
             status.getOpenFilesMax(), status.getControlConnections(),
             status.getControlConnectionsMax());
  u32 clients = 0, running = 0;
  for (auto each : status.getExports()) {
    clients += each.getConnections();
    running += each.getRunning() ? 1 : 0;
  }
  fmt::print("{} of {} exports run, with {} clients\n\n", running, status.getExports().size(),
             clients);
  std::vector<PoolReport> pools;
  for (auto each : status.getPools()) pools.push_back(report_of(each));
  print(pool_table(pools), {});
  if (status.getWarnings().size() > 0) fmt::print("\n");
  for (auto each : status.getWarnings()) fmt::print("warning: {}\n", each.cStr());
}

Attempt<> status(Session& session, const Format& format) {
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().statusRequest()));
  if (!format.json) {
    print_host(response.getValue());
    return {};
  }
  fmt::print("{}\n", host_facts(response.getValue())
                         .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  return {};
}

void add_status(CommandLine& line) {
  auto format = std::make_shared<Format>();
  CLI::App& command =
      line.add(line.root(), {.name = "status",
                             .summary = "Show how the daemon, its pools and exports are",
                             .example = "coppice status --json",
                             .group = "Looking"});
  add_json_flag(command, *format);
  line.runs(command, [format](Session& session) { return status(session, *format); });
}

// --- top ---

struct TopOptions {
  bool once = false;
  Format format;
};

void add_top(CommandLine& line) {
  auto options = std::make_shared<TopOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "top",
                             .summary = "Watch requests, bytes and latency of each exported volume",
                             .example = "coppice top --once -p",
                             .group = "Looking"});
  command.add_flag("--once", options->once,
                   "Show one second and end (as when this is no terminal)");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    const Format& format = options->format;
    const bool plain = format.json || format.exact || !format.headers;
    if (options->once || plain || ::isatty(STDOUT_FILENO) != 1)
      return top_once(*connection, format);
    return top_live(*connection);
  });
}

// --- history ---

struct HistoryOptions {
  std::string pool;
  u64 last = 0;  // 0: all.
  bool detailed = false;
  Format format;
};

struct Event {
  u64 sequence, txg, time_s, elapsed_us;
  std::string who, command, result, effects;
};

// Local, to the second, and sortable: "2026-11-21.10:05:00".
std::string stamp(u64 unix_s) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  char text[32];
  if (::localtime_r(&time, &parts) == nullptr) return std::to_string(unix_s);
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d.%H:%M:%S", &parts)};
}

Attempt<std::deque<Event>> fetch_events(Connection& connection, const HistoryOptions& options) {
  TRY(auto pool, connection.pool(options.pool));
  std::deque<Event> events;
  u64 from = 0;
  while (true) {
    auto request = pool.historyRequest();
    request.setFrom(from);
    TRY(const auto response, connection.ask(kj::mv(request)));
    if (response.getValue().size() == 0) return events;
    for (auto each : response.getValue()) {
      from = each.getSequence() + 1;
      events.push_back({.sequence = each.getSequence(),
                        .txg = each.getTxg(),
                        .time_s = each.getTimeS(),
                        .elapsed_us = each.getElapsedUs(),
                        .who = each.getWho().cStr(),
                        .command = each.getCommand().cStr(),
                        .result = each.getResult().cStr(),
                        .effects = each.getEffects().cStr()});
      if (options.last != 0 && events.size() > options.last) events.pop_front();
    }
  }
}

Attempt<> history(Session& session, const HistoryOptions& options) {
  TRY(Connection * connection, session.connect());
  TRY(const auto events, fetch_events(*connection, options));
  constexpr u64 kNsPerUs = 1000;
  const bool all = options.detailed || options.format.json;
  Table table;
  if (all)
    table.columns = {{.name = "sequence", .right = true, .header = "SEQ"},
                     {.name = "txg", .right = true}};
  table.columns.push_back({.name = "time"});
  if (all) {
    table.columns.push_back({.name = "who"});
    table.columns.push_back({.name = "elapsed_ns", .right = true, .header = "ELAPSED"});
  }
  table.columns.push_back({.name = "command"});
  table.columns.push_back({.name = "result"});
  if (all) table.columns.push_back({.name = "effects"});
  for (const Event& event : events) {
    std::vector<Cell>& row = table.rows.emplace_back();
    if (all) {
      row.push_back(Cell::exact(event.sequence));
      row.push_back(Cell::exact(event.txg));
    }
    row.push_back(Cell::named(event.time_s, stamp(event.time_s)));
    if (all) {
      row.push_back(Cell::text(event.who));
      row.push_back(Cell::nanoseconds(event.elapsed_us * kNsPerUs));
    }
    row.push_back(Cell::text(event.command));
    row.push_back(Cell::text(event.result));
    if (all) row.push_back(Cell::text(event.effects));
  }
  print(table, options.format);
  return {};
}

void add_history(CommandLine& line) {
  auto options = std::make_shared<HistoryOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "history",
                             .summary = "Show every administrative command of a pool, oldest first",
                             .example = "coppice history -l -n 20 tank",
                             .group = "Looking"});
  add_name(command, "POOL", options->pool, "An open pool");
  command.add_flag("-l", options->detailed, "Also who did it, how long it took, and what it did");
  command.add_option("-n", options->last, "Only the last N")->type_name("N");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) { return history(session, *options); });
}

// --- version ---

void add_version(CommandLine& line) {
  auto format = std::make_shared<Format>();
  CLI::App& command =
      line.add(line.root(), {.name = "version",
                             .summary = "Show the versions of this program and of the daemon",
                             .example = "coppice version",
                             .group = "Looking"});
  add_json_flag(command, *format);
  line.runs(command, [format](Session& session) -> Attempt<> {
    const auto connection = session.connect();
    const std::string daemon = connection ? (*connection)->daemon_version() : "";
    if (format->json) {
      nlohmann::ordered_json shown = {{"coppice", COPPICE_VERSION}, {"coppiced", nullptr}};
      if (connection) shown["coppiced"] = daemon;
      fmt::print("{}\n", shown.dump(2));
    } else {
      fmt::print("coppice {}\n", COPPICE_VERSION);
      fmt::print("coppiced {}\n", connection ? daemon : "(not running)");
    }
    return {};
  });
}

}  // namespace

void add_status_commands(CommandLine& line) {
  add_status(line);
  add_top(line);
  add_history(line);
  add_version(line);
}

}  // namespace coppice::cli
