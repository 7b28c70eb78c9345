// serve/nbd/transmission.h — the second life of a connection: answering requests.
#pragma once

#include "io/socket.h"
#include "serve/nbd/server.h"

namespace coppice::serve::nbd {

// Runs on the device's executor, on which `socket` lives too, until the client leaves or is cut
// off; by then no request is under way. Errors are for the log: closed (the client left inside a
// request), invalid or too_big (it broke the protocol), or the socket's.
Task<> serve_transmission(io::Socket& socket, Negotiated& negotiated, Limits limits);

}  // namespace coppice::serve::nbd
