// host/startup.h — what coppiced does with names: at its start, and never again.
#pragma once

#include <string>
#include <vector>

#include "cap/server.h"
#include "host/daemon.h"
#include "host/options.h"

namespace coppice::host {

void log_line(const std::string& line);  // To stderr, whole. Any thread.
void raise_file_limit();

// The control sockets: those of systemd, else one of our own.
struct ControlSockets {
  std::vector<cap::Fd> sockets;
  std::string bound;  // The path that we bound ourselves and remove at the end; empty: systemd's.
};
Result<ControlSockets> control_sockets(const Options& options);

// Opens the pools of the command line and of the configuration folder. One that does not open is a
// warning: the others are served.
Task<> open_pools(Daemon& daemon, std::vector<std::string> files);

}  // namespace coppice::host
