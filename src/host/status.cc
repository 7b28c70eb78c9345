#include "host/status.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "host/rpc.h"

namespace coppice::host {
namespace {

u64 nanoseconds(const timeval& time) {
  return static_cast<u64>(time.tv_sec) * 1'000'000'000 + static_cast<u64>(time.tv_usec) * 1000;
}

// How many descriptors are open, by trying: the daemon opens no file, /proc least of all.
u32 count_open_files(u32 max) {
  constexpr u32 kTried = 8192;
  u32 count = 0;
  for (u32 fd = 0; fd < std::min(max, kTried); ++fd)
    count += fcntl(static_cast<int>(fd), F_GETFD) >= 0;
  return count;
}

ProcessReport report_process(const Daemon& daemon) {
  ProcessReport report;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    report.memory_peak_bytes = static_cast<u64>(usage.ru_maxrss) * 1024;
    report.cpu_ns = nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0)
    report.open_files_max = static_cast<u32>(files.rlim_cur);
  report.open_files = count_open_files(report.open_files_max);
  report.memory_bytes = daemon.resident_bytes();
  return report;
}

Task<io::Reactor::Counters> read_counters(io::Reactor& reactor) { co_return reactor.counters(); }

Task<std::vector<ExportView>> all_exports(Exports& exports) { co_return exports.views(nullptr); }

}  // namespace

Task<Attempt<std::vector<PoolEntry>>> report_pools(Daemon& daemon) {
  std::vector<PoolEntry> entries;
  const auto pools = daemon.pools();
  for (const auto& pool : pools) {
    if (!pool->site) continue;
    auto asking = daemon.in_pool(pool, report_pool(*pool->site));
    auto report = co_await std::move(asking);
    if (!report || !*report) continue;
    entries.push_back({.pool = pool, .report = **std::move(report)});
  }
  co_return entries;
}

Task<Attempt<std::vector<ExportView>>> report_exports(Daemon& daemon) {
  auto asking = all_exports(daemon.exports());
  auto views = co_await ok(rt::call(daemon.loop(), daemon.lanes().sync(), std::move(asking)));
  co_return views;
}

Task<Attempt<DaemonReport>> report_daemon(Daemon& daemon) {
  DaemonReport report;
  report.version = daemon.settings().version;
  report.started_s = daemon.started_s();
  report.uptime_ns = daemon.loop().now_ns() - daemon.started_ns();
  report.process = report_process(daemon);
  report.warnings = daemon.warnings();
  for (size_t i = 0; i <= daemon.lanes().io_count(); ++i) {
    io::Reactor& reactor = i == 0 ? daemon.lanes().sync() : *daemon.lanes().io(i - 1).reactor;
    auto asking = read_counters(reactor);
    auto counters = co_await ok(rt::call(daemon.loop(), reactor, std::move(asking)));
    report.reactors.push_back(
        {.name = i == 0 ? "sync" : fmt::format("io-{}", i - 1), .counters = counters});
  }
  auto pools = co_await ok(report_pools(daemon));
  if (pools) report.pools = *std::move(pools);
  for (const auto& entry : report.pools) {
    if (!entry.pool->site) continue;
    auto asking = daemon.in_pool(entry.pool, report_exported_volumes(*entry.pool->site));
    auto volumes = co_await std::move(asking);
    if (!volumes || !*volumes) continue;
    for (auto& volume : **volumes) report.volumes.push_back(std::move(volume));
  }
  report.programs = co_await ok(daemon.programs().views());
  report.programs_now_ns = daemon.programs().now_ns();
  auto exports = co_await ok(report_exports(daemon));
  if (exports) report.exports = *std::move(exports);
  auto asking = daemon.exports().listener_views();
  report.listeners = co_await ok(rt::call(daemon.loop(), daemon.lanes().sync(), std::move(asking)));
  auto counting = daemon.exports().client_views();
  report.clients = co_await ok(rt::call(daemon.loop(), daemon.lanes().sync(), std::move(counting)));
  co_return report;
}

void write(schema::PoolStatus::Builder to, const OpenPool& pool, const PoolReport& report) {
  using Health = schema::PoolStatus::Health;
  const bool errors = report.stats.checksum_errors + report.stats.io_errors > 0;
  to.setName(report.name);
  to.setGuid(report.stats.guid);
  to.setHealth(!report.stats.failed.empty() ? Health::FAILED
               : errors                     ? Health::DEGRADED
                                            : Health::ONLINE);
  to.setFailed(report.stats.failed);
  to.setFormatVersion(report.stats.format_version);
  to.setBlockBytes(pool::kBlock);
  write(to.initStats(), report.stats);
  write(to.initScrub(), report.scrub);
  to.setDatasets(report.datasets);
  to.setSnapshots(report.snapshots);
  to.setExports(report.exports);
  to.setOrigin(pool.origin);
  to.setTransactions(report.transactions);
}

void write(schema::HostStatus::Builder to, const DaemonReport& report) {
  to.setVersion(report.version);
  to.setPid(static_cast<u32>(getpid()));
  to.setStartedS(report.started_s);
  to.setUptimeNs(report.uptime_ns);
  to.setMemoryBytes(report.process.memory_bytes);
  to.setMemoryPeakBytes(report.process.memory_peak_bytes);
  to.setCpuNs(report.process.cpu_ns);
  to.setOpenFiles(report.process.open_files);
  to.setOpenFilesMax(report.process.open_files_max);
  auto reactors = to.initReactors(static_cast<u32>(report.reactors.size()));
  for (u32 i = 0; i < reactors.size(); ++i) {
    const auto& [name, counters] = report.reactors[i];
    reactors[i].setName(name);
    reactors[i].setTurns(counters.turns);
    reactors[i].setCompletions(counters.completions);
    reactors[i].setJobs(counters.jobs);
    reactors[i].setSleeps(counters.sleeps);
    reactors[i].setWakes(counters.wakes);
  }
  auto pools = to.initPools(static_cast<u32>(report.pools.size()));
  for (u32 i = 0; i < pools.size(); ++i)
    write(pools[i], *report.pools[i].pool, report.pools[i].report);
  auto volumes = to.initVolumes(static_cast<u32>(report.volumes.size()));
  for (u32 i = 0; i < volumes.size(); ++i) {
    volumes[i].setName(report.volumes[i].name);
    volumes[i].setConnections(report.volumes[i].connections);
    write(volumes[i].initStats(), report.volumes[i].stats);
  }
  auto exports = to.initExports(static_cast<u32>(report.exports.size()));
  for (u32 i = 0; i < exports.size(); ++i) write(exports[i], report.exports[i]);
  auto listeners = to.initListeners(static_cast<u32>(report.listeners.size()));
  for (u32 i = 0; i < listeners.size(); ++i) {
    listeners[i].setAddress(report.listeners[i].address);
    listeners[i].setExports(report.listeners[i].exports);
    listeners[i].setConnections(report.listeners[i].connections);
    listeners[i].setAccepted(report.listeners[i].accepted);
  }
  auto clients = to.initClients(static_cast<u32>(report.clients.size()));
  for (u32 i = 0; i < clients.size(); ++i) {
    clients[i].setNumber(report.clients[i].number);
    clients[i].setVolume(report.clients[i].export_name);
    clients[i].setAddress(report.clients[i].address);
    clients[i].setPeer(report.clients[i].peer);
    clients[i].setReadOnly(report.clients[i].read_only);
  }
  write_texts(to.initWarnings(static_cast<u32>(report.warnings.size())), report.warnings);
  auto programs = to.initPrograms(static_cast<u32>(report.programs.size()));
  for (u32 i = 0; i < programs.size(); ++i)
    write(programs[i], report.programs[i], report.programs_now_ns);
}

}  // namespace coppice::host
