// cli/command_status.cc — status, top, history, version: how the daemon is, and what was done to
// its pools.
#include <unistd.h>

#include <algorithm>

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

const char* name_of(schema::ProgramInfo::State state) {
  switch (state) {
    case schema::ProgramInfo::State::WAITING: return "waiting";
    case schema::ProgramInfo::State::RUNNING: return "running";
    case schema::ProgramInfo::State::COMMITTING: return "committing";
  }
  return "unknown";
}

nlohmann::ordered_json program_facts(schema::ProgramInfo::Reader program) {
  return {{"id", program.getId()},
          {"pool", program.getPool().cStr()},
          {"name", program.getName().cStr()},
          {"caller", program.getCaller().cStr()},
          {"state", name_of(program.getState())},
          {"read_only", program.getReadOnly()},
          {"verbs", program.getVerbs()},
          {"elapsed_ns", program.getElapsedNs()},
          {"interpreter_pid", program.getInterpreterPid()}};
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
  auto& programs = list("programs");
  for (auto each : status.getPrograms()) programs.push_back(program_facts(each));
  auto& warnings = list("warnings");
  for (auto each : status.getWarnings()) warnings.push_back(each.cStr());
  return facts;
}

// Which programs run, and who waits for them.
void print_programs(schema::HostStatus::Reader status) {
  if (status.getPrograms().size() == 0) return;
  Table table{.columns = {{.name = "id", .right = true},
                          {.name = "pool"},
                          {.name = "program"},
                          {.name = "state"},
                          {.name = "verbs", .right = true},
                          {.name = "elapsed", .right = true},
                          {.name = "caller"}},
              .rows = {}};
  for (auto each : status.getPrograms()) {
    table.rows.push_back({Cell::exact(each.getId()), Cell::text(each.getPool().cStr()),
                          Cell::text(each.getName().cStr()), Cell::text(name_of(each.getState())),
                          Cell::exact(each.getVerbs()), Cell::nanoseconds(each.getElapsedNs()),
                          Cell::text(each.getCaller().cStr())});
  }
  fmt::print("\n");
  print(table, {});
  for (auto holder : status.getPrograms()) {
    if (holder.getState() == schema::ProgramInfo::State::WAITING) continue;
    size_t programs = 0;
    u32 commands = 0;
    for (auto each : status.getPrograms())
      programs += each.getState() == schema::ProgramInfo::State::WAITING &&
                          each.getPool() == holder.getPool()
                      ? 1
                      : 0;
    for (auto pool : status.getPools())
      if (pool.getName() == holder.getPool()) commands = pool.getTransactions();
    if (programs + commands == 0) continue;
    fmt::print(
        "{} command{} and {} program{} wait for program {}, which changes {} (coppice program "
        "--kill {} ends it)\n",
        commands, commands == 1 ? "" : "s", programs, programs == 1 ? "" : "s", holder.getId(),
        holder.getPool().cStr(), holder.getId());
  }
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
  print_programs(status);
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
  add_history_command(line);
  add_version(line);
}

}  // namespace coppice::cli
