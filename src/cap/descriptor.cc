#include "cap/descriptor.h"

#include <fcntl.h>

#include <cerrno>

namespace coppice::cap {
namespace {

Result<Fd> duplicate(kj::Maybe<int> borrowed) {
  KJ_IF_MAYBE (fd, borrowed) {
    const int own = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
      return fail(errno == EMFILE ? Errc::too_big : Errc::io, "take a descriptor", errno);
    return Fd(own);
  }
  return fail(Errc::invalid, "take a descriptor", "the capability carries none");
}

}  // namespace

kj::Promise<Result<Fd>> take_descriptor(capnp::Capability::Client holder) {
  auto found = holder.getFd();
  return found.then([holder = kj::mv(holder)](kj::Maybe<int> fd) { return duplicate(fd); },
                    [](kj::Exception&&) -> Result<Fd> {
                      return fail(Errc::invalid, "take a descriptor", "the capability is broken");
                    });
}

}  // namespace coppice::cap
