// coppiced: puts the parts together, and takes them apart in the right order.
#include <kj/async-unix.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <csignal>

#include "host/interpreters.h"
#include "host/rpc.h"
#include "host/startup.h"

namespace coppice::host {
namespace {

int run(const Options& options, const std::string& version) {
  for (const int number : {SIGTERM, SIGINT}) kj::UnixEventPort::captureSignal(number);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  auto control = control_sockets(options);
  if (!control) {
    log_line(describe(control.error()));
    return 1;
  }
  auto zygote = channel::Zygote::start(options.lua);  // It forks: before there is any thread.
  const std::string no_programs = zygote ? "" : describe(zygote.error());
  auto lanes = Lanes::create(options.reactors);
  if (!lanes) {
    log_line(describe(lanes.error()));
    return 1;
  }
  auto io = kj::setupAsyncIo();
  cap::Loop loop(io);
  Daemon daemon(loop, **lanes,
                {.cache_bytes = options.cache_bytes,
                 .dirty_bytes_max = options.dirty_bytes,
                 .version = version},
                log_line);
  ProgramHost programs((*lanes)->sync(), zygote ? *std::move(zygote) : nullptr, options.programs);
  auto readied = loop.start(ProgramHost::open(programs, daemon, no_programs)).wait(io.waitScope);
  CHECK(readied.has_value());
  auto files = options.pools;
  if (auto configured = configured_pools(options.config))
    files.insert(files.end(), configured->begin(), configured->end());
  else
    daemon.warn(describe(configured.error()));
  auto opened = loop.start(open_pools(daemon, std::move(files))).wait(io.waitScope);
  CHECK(opened.has_value());

  cap::Server server(io, [&](const cap::Peer& peer) -> capnp::Capability::Client {
    return make_host({.daemon = &daemon, .who = peer.text(), .server = &server});
  });
  for (auto& socket : control->sockets) server.listen(std::move(socket));
  sd_notify(0, "READY=1");
  log_line("ready" + (control->bound.empty() ? "" : " at " + control->bound));

  auto& port = io.unixEventPort;
  port.onSignal(SIGTERM).exclusiveJoin(port.onSignal(SIGINT)).wait(io.waitScope);
  sd_notify(0, "STOPPING=1");
  log_line("stopping");
  server.stop();
  server.disconnect_all();
  loop.idle().wait(io.waitScope);
  auto closed = loop.start(daemon.shutdown()).wait(io.waitScope);
  CHECK(closed.has_value());
  auto ended = loop.start(ProgramHost::close(programs, daemon)).wait(io.waitScope);
  CHECK(ended.has_value());
  if (!control->bound.empty()) unlink(control->bound.c_str());
  return 0;
}

}  // namespace
}  // namespace coppice::host

int main(int argc, char** argv) {
  const std::string version = COPPICE_VERSION;
  const auto parsed = coppice::host::parse_options(argc, argv, version);
  return parsed.exit_status ? *parsed.exit_status : coppice::host::run(parsed.options, version);
}
