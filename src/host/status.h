// host/status.h — what `coppice status` shows: the daemon, its threads, its pools and exports.
#pragma once

#include <string>
#include <vector>

#include "host/daemon.h"
#include "host/queries.h"
#include "host/running_programs.h"
#include "host/wire.h"

namespace coppice::host {

struct PoolEntry {
  Ref<OpenPool> pool;
  PoolReport report;
};
struct ReactorReport {
  std::string name;
  io::Reactor::Counters counters;
};
struct ProcessReport {
  u64 memory_bytes = 0, memory_peak_bytes = 0, cpu_ns = 0;
  u32 open_files = 0, open_files_max = 0;
};
struct DaemonReport {
  std::string version;
  u64 started_s = 0, uptime_ns = 0;
  ProcessReport process;
  std::vector<ReactorReport> reactors;
  std::vector<PoolEntry> pools;
  std::vector<VolumeReport> volumes;
  std::vector<ExportView> exports;
  std::vector<ListenerView> listeners;
  std::vector<ClientView> clients;
  std::vector<std::string> warnings;
  std::vector<channel::ProgramView> programs;
  u64 programs_now_ns = 0;  // The clock of their started_ns.
};

// On the main thread. Pools that close meanwhile are left out.
Task<Attempt<std::vector<PoolEntry>>> report_pools(Daemon& daemon);
Task<Attempt<std::vector<ExportView>>> report_exports(Daemon& daemon);
Task<Attempt<DaemonReport>> report_daemon(Daemon& daemon);
void write(schema::HostStatus::Builder to, const DaemonReport& report);

}  // namespace coppice::host
