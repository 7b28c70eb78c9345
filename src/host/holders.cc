#include "host/holders.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>

namespace coppice::host {
namespace {

// The kernel's number of a socket, the same for all copies of its descriptor; 0: it is none.
u64 cookie_of(int fd) {
  u64 cookie = 0;
  socklen_t size = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

// On the sync lane.
Task<> drop_there(Hooks& hooks, std::vector<hook::LinkId> ids) {
  std::erase_if(ids, [&](hook::LinkId id) {
    const auto link = hooks.table().find(id);
    return link == nullptr || link->pinned();
  });
  hooks.detach(ids);
  co_return {};
}

Task<> drop_from(cap::Loop& loop, Lanes& lanes, Hooks& hooks, std::vector<hook::LinkId> ids) {
  auto dropping = drop_there(hooks, std::move(ids));
  co_await ok(rt::call(loop, lanes.sync(), std::move(dropping)));
  co_return {};
}

}  // namespace

struct Holders::Handle {
  cap::Fd ours;
  std::vector<hook::LinkId> ids;
  u64 cookie = 0;
  kj::UnixEventPort::FdObserver observer;
  Handle(kj::UnixEventPort& port, cap::Fd fd, std::vector<hook::LinkId> i, u64 c)
      : ours(std::move(fd)),
        ids(std::move(i)),
        cookie(c),
        observer(port, ours.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ) {}
};

Holders::Holders(cap::Loop& loop, Lanes& lanes, Hooks& hooks)
    : loop_(loop), lanes_(lanes), hooks_(hooks), watches_(failure_) {}
Holders::~Holders() noexcept {}  // NOLINT: kj's destructors say they may throw.

void Holders::drop(std::vector<hook::LinkId> ids) {
  if (ids.empty()) return;
  // Runs to its end, whether or not anybody waits for it.
  auto promise = loop_.start(drop_from(loop_, lanes_, hooks_, std::move(ids)));
  (void)promise;
}

void Holders::let_go(std::vector<hook::LinkId> ids) {
  std::vector<hook::LinkId> free;
  for (const hook::LinkId id : ids) {
    const auto found = counts_.find(id);
    CHECK(found != counts_.end() && found->second > 0);
    if (--found->second > 0) continue;
    counts_.erase(found);
    free.push_back(id);
  }
  drop(std::move(free));
}

u32 Holders::count(hook::LinkId id) const {
  const auto found = counts_.find(id);
  return found == counts_.end() ? 0 : found->second;
}

kj::Promise<void> Holders::watch(Handle& handle) {
  return handle.observer.whenBecomesReadable().then([this, &handle]() -> kj::Promise<void> {
    char ignored[256];
    while (true) {
      const ssize_t got = recv(handle.ours.get(), ignored, sizeof ignored, MSG_DONTWAIT);
      if (got > 0 || (got < 0 && errno == EINTR)) continue;
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return watch(handle);
      break;  // The last copy of the other end is closed.
    }
    auto ids = std::move(handle.ids);
    const u64 cookie = handle.cookie;
    let_go(std::move(ids));
    // Not here: the observer's own promise is being run.
    return kj::evalLater([this, cookie] { handles_.erase(cookie); });
  });
}

Result<cap::Fd> Holders::make_handle(std::vector<hook::LinkId> ids) {
  if (handles_.size() >= kHandlesMax)
    return fail(Errc::too_big, "hand out a link", fmt::format("{} handles are out", kHandlesMax));
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return fail(Errc::too_big, "hand out a link", errno);
  cap::Fd ours(ends[0]), theirs(ends[1]);
  const u64 cookie = cookie_of(theirs.get());
  CHECK(cookie != 0 && !handles_.contains(cookie));
  for (const hook::LinkId id : ids) hold(id);
  auto handle =
      std::make_unique<Handle>(loop_.io().unixEventPort, std::move(ours), std::move(ids), cookie);
  watches_.add(watch(*handle));
  handles_.emplace(cookie, std::move(handle));
  return theirs;
}

std::vector<hook::LinkId> Holders::links_of(const cap::Fd& copy) const {
  const auto found = handles_.find(cookie_of(copy.get()));
  return found == handles_.end() ? std::vector<hook::LinkId>{} : found->second->ids;
}

}  // namespace coppice::host
