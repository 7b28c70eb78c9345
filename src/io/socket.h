// io/socket.h — byte streams to peers; the ring and the simulator both stand behind them.
#pragma once

#include <memory>
#include <span>

#include "rt/task.h"

namespace coppice::io {

// A connected stream on one reactor. One receive and one send may be under way at a time each.
class Socket {
 public:
  using Parts = std::span<const std::span<const std::byte>>;
  virtual ~Socket() = default;
  virtual Task<size_t> receive(std::span<std::byte> into) = 0;  // At least one byte; 0 at the end.
  virtual Task<> send(Parts parts) = 0;                         // All of it, or an error.
  virtual void shutdown() = 0;  // Both directions; pending calls end soon. Idempotent.
  virtual int
  release_fd() = 0;  // Gives the descriptor away (to another reactor). -1 if there is none.
};

}  // namespace coppice::io
