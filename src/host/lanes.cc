#include "host/lanes.h"

#include <fmt/format.h>

namespace coppice::host {
namespace {
// A client that waits for each answer asks again within this time; to sleep in between costs more
// than to look.
constexpr u64 kPollNs = 30'000;
// Requests come first: what the sync lane does is administration, and a commit has seconds.
constexpr int kSyncNice = 5;
}  // namespace

Result<std::unique_ptr<Lanes>> Lanes::create(size_t io_lanes) {
  CHECK(io_lanes > 0 && io_lanes <= kIoLanesMax);
  std::unique_ptr<Lanes> lanes(new Lanes());
  TRY(lanes->sync_, io::Reactor::create({.name = "sync", .poll_ns = kPollNs, .nice = kSyncNice}));
  for (size_t i = 0; i < io_lanes; ++i) {
    auto lane = std::make_unique<IoLane>();
    TRY(lane->reactor, io::Reactor::create({.name = fmt::format("io-{}", i), .poll_ns = kPollNs}));
    lanes->io_.push_back(std::move(lane));
  }
  lanes->sync_->start();
  for (auto& lane : lanes->io_) lane->reactor->start();
  return lanes;
}

Lanes::~Lanes() {
  for (auto& lane : io_) {
    if (!lane->reactor) continue;
    lane->reactor.reset();
    CHECK(lane->clients.empty());
  }
  sync_.reset();
}

IoLane& Lanes::io_of(const rt::Executor& executor) {
  for (auto& lane : io_)
    if (lane->reactor.get() == &executor) return *lane;
  CHECK(!"a device lives on one of the I/O reactors");
  return *io_.front();
}

IoLane& Lanes::choose() { return *io_[next_++ % io_.size()]; }

}  // namespace coppice::host
