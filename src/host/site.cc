#include "host/site.h"

namespace coppice::host {
namespace {

Task<> set_size(io::FileDisk& disk, u64 size_bytes) {
  disk.set_size_bytes(size_bytes);
  co_return {};
}

}  // namespace

Result<std::unique_ptr<PoolFile>> PoolFile::adopt(cap::Fd fd, Lanes& lanes) {
  TRY(const io::DiskFile file, io::adopt_disk_file(fd.get()));
  auto adopted = std::make_unique<PoolFile>();
  adopted->fd_ = std::move(fd);
  const auto add = [&](io::Reactor& reactor) {
    adopted->views_.push_back(
        std::unique_ptr<View>(new View{&reactor, io::FileDisk(reactor, file)}));
  };
  add(lanes.sync());
  for (size_t i = 0; i < lanes.io_count(); ++i) add(*lanes.io(i).reactor);
  return adopted;
}

std::vector<pool::Lane> PoolFile::pool_lanes() {
  std::vector<pool::Lane> lanes;
  for (auto& view : views_) lanes.push_back({.executor = view->reactor, .disk = &view->disk});
  return lanes;
}

Task<> PoolFile::refresh(Lanes& lanes) {
  const u64 size_bytes = co_await ok(size_now());
  for (auto& view : views_) {
    auto change = set_size(view->disk, size_bytes);
    co_await ok(rt::call(lanes.sync(), *view->reactor, std::move(change)));
  }
  co_return {};
}

}  // namespace coppice::host
