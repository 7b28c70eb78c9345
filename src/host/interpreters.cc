#include "host/interpreters.h"

#include "host/running_programs.h"

namespace coppice::host {
namespace {

// --- On the sync lane ---

Task<> close_there(channel::Programs& programs, channel::Nursery& nursery) {
  auto closing = programs.close();
  co_await ok(std::move(closing));
  auto leaving = nursery.close();
  co_await ok(std::move(leaving));
  co_return {};
}

}  // namespace

ProgramHost::ProgramHost(io::Reactor& sync, std::unique_ptr<channel::Zygote> zygote,
                         channel::Limits limits) {
  if (!zygote) return;
  nursery_ = std::make_unique<channel::Nursery>(sync, std::move(zygote));
  programs_ = std::make_unique<channel::Programs>(*nursery_, sync, limits);
}

Task<> ProgramHost::open(ProgramHost& host, Daemon& daemon, std::string why_not) {
  if (host.nursery_) {
    auto opening = host.nursery_->open();
    auto calling = rt::call(daemon.loop(), daemon.lanes().sync(), std::move(opening));
    auto opened = co_await std::move(calling);
    if (opened) {
      daemon.programs().use(*host.programs_);
      co_return {};
    }
    why_not = describe(opened.error());
  }
  daemon.warn("channel programs are refused: " + why_not);
  daemon.programs().refuse("the daemon has no interpreter: " + why_not);
  co_return {};
}

Task<> ProgramHost::close(ProgramHost& host, Daemon& daemon) {
  if (!host.nursery_) co_return {};
  auto closing = close_there(*host.programs_, *host.nursery_);
  auto calling = rt::call(daemon.loop(), daemon.lanes().sync(), std::move(closing));
  auto closed = co_await std::move(calling);
  if (!closed) daemon.log("the interpreter of programs: " + describe(closed.error()));
  co_return {};
}

}  // namespace coppice::host
