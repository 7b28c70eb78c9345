// host/lanes.h — the daemon's threads: one sync reactor, and the I/O reactors.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "hook/lane.h"
#include "io/reactor.h"
#include "io/socket.h"

namespace coppice::host {

// One I/O reactor, and the NBD clients that are served on it: what is needed to cut one off.
struct IoLane {
  std::unique_ptr<io::Reactor> reactor;
  std::unordered_map<u64, io::Socket*> clients;  // By client number; the reactor's own.
  hook::Lane* hooks = nullptr;                   // What programs run on there.
};

class Lanes {
 public:
  static constexpr size_t kIoLanesMax = 32;  // With the sync lane fewer than a pool can have.
  static Result<std::unique_ptr<Lanes>> create(size_t io_lanes);
  ~Lanes();  // Stops and joins; whatever ran has been joined before.

  io::Reactor& sync() { return *sync_; }
  size_t io_count() const { return io_.size(); }
  IoLane& io(size_t index) { return *io_[index]; }
  IoLane& io_of(const rt::Executor& executor);  // Which must be one of ours.
  IoLane& choose();  // Sync lane only: each in turn, for listening sockets.

 private:
  Lanes() = default;
  std::unique_ptr<io::Reactor> sync_;
  std::vector<std::unique_ptr<IoLane>> io_;
  size_t next_ = 0;
};

}  // namespace coppice::host
