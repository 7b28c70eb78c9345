// host/address.h — addresses of exports: "unix:/run/x.sock", "tcp:HOST:PORT".
#pragma once

#include <string>
#include <string_view>

#include "cap/descriptor.h"

namespace coppice::host {

// The kernel lets go of a killed daemon's files and sockets some time after its end, because
// requests in its rings hold them. So at start-up, what is busy is tried this often.
inline constexpr u32 kPredecessorTries = 40;
inline constexpr u32 kPredecessorWaitUs = 50'000;

// A listening socket at the address, for pinned exports at start-up. A Unix socket that nobody
// listens on is replaced; waits a while for one that is about to go. invalid: no such form; busy:
// somebody listens there.
Result<cap::Fd> bind_address(const std::string& address);

// "nbd+unix:///tank/vm?socket=/run/x.sock", "nbd://HOST:PORT/tank/vm".
std::string nbd_uri(std::string_view address, std::string_view name);

}  // namespace coppice::host
