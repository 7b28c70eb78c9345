// channel/testing/workshop.h — Workshop: a pool in a file, on real reactors, on which programs run.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "channel/programs.h"
#include "io/block_on.h"
#include "io/file_disk.h"
#include "io/open_file.h"

namespace coppice::channel {

template <class T>
T must(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, describe(result.error()).c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class PlainHost final : public verb::Host {
 public:
  std::vector<verb::RunningExport> exports_of(pool::DatasetId) const override { return {}; }
  bool listening(const std::string&) const override { return true; }
};

// One sync lane, one I/O lane, as a daemon has them.
class Workshop {
 public:
  struct Options {
    u64 pool_bytes = 256_MiB;
    u64 sync_poll_ns = 30'000;
    std::string folder = "/tmp";
  };
  explicit Workshop(const Options& options) {
    std::string path = options.folder + "/coppice-programs-XXXXXX";
    fd_ = ::mkostemp(path.data(), O_CLOEXEC);
    CHECK(fd_ >= 0);
    ::unlink(path.c_str());
    CHECK(::ftruncate(fd_, static_cast<off_t>(options.pool_bytes)) == 0);
    const io::DiskFile file = must(io::adopt_disk_file(fd_), "open the file");
    sync_ = must(io::Reactor::create({.name = "sync", .poll_ns = options.sync_poll_ns}), "reactor");
    lane_ = must(io::Reactor::create({.name = "io"}), "reactor");
    sync_->start();
    lane_->start();
    sync_disk_ = std::make_unique<io::FileDisk>(*sync_, file);
    lane_disk_ = std::make_unique<io::FileDisk>(*lane_, file);
    const std::vector<pool::Lane> lanes = {{sync_.get(), sync_disk_.get()},
                                           {lane_.get(), lane_disk_.get()}};
    must(run(pool::Pool::create(lanes[0], {.name = "tank", .seed = 7})), "create the pool");
    pool::Options opening{.name = "tank"};
    opening.warn = [](std::string line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    pool_ = must(run(pool::Pool::open(lanes, std::move(opening))), "open the pool");
  }
  Workshop(const Workshop&) = delete;
  ~Workshop() {
    must(run(pool_->close()), "close the pool");
    pool_.reset();
    sync_->stop();
    lane_->stop();
    sync_->join();
    lane_->join();
    ::close(fd_);
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return io::block_on(*sync_, std::move(task));
  }
  io::Reactor& sync() { return *sync_; }
  io::Reactor& lane() { return *lane_; }
  pool::Pool& pool() { return *pool_; }
  PlainHost exports;

 private:
  int fd_ = -1;
  std::unique_ptr<io::Reactor> sync_, lane_;
  std::unique_ptr<io::FileDisk> sync_disk_, lane_disk_;
  std::unique_ptr<pool::Pool> pool_;
};

}  // namespace coppice::channel
