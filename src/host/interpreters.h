// host/interpreters.h — where the daemon's channel programs run: coppice-lua, and Programs before
// it.
//
// Theory. The zygote is started before any thread, because it forks. Everything else lives on the
// sync lane. A daemon without coppice-lua works, says so once, and refuses programs.
#pragma once

#include <memory>
#include <string>

#include "channel/nursery.h"
#include "channel/programs.h"
#include "host/daemon.h"

namespace coppice::host {

class ProgramHost {
 public:
  // `zygote` null: none could be started, `why_not` says why.
  ProgramHost(io::Reactor& sync, std::unique_ptr<channel::Zygote> zygote, channel::Limits limits);
  ProgramHost(const ProgramHost&) = delete;
  // On the main thread, once, before programs are asked for. Warns if there can be none.
  static Task<> open(ProgramHost& host, Daemon& daemon, std::string why_not);
  static Task<> close(ProgramHost& host, Daemon& daemon);  // After the last program.

 private:
  std::unique_ptr<channel::Nursery> nursery_;
  std::unique_ptr<channel::Programs> programs_;
};

}  // namespace coppice::host
