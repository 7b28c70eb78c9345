#include "serve/nbd/transmission.h"

#include "serve/nbd/connection.h"

namespace coppice::serve::nbd {

Task<> serve_transmission(io::Socket& socket, Negotiated& negotiated, Limits limits) {
  Connection connection(socket, negotiated, limits);
  auto outcome = co_await connection.run();
  co_return outcome;
}

}  // namespace coppice::serve::nbd
