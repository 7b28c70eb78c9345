// bench/engine_bench.cc — coppice-engine-bench: the engine without NBD, on a real file.
//
//   coppice-engine-bench FILE [VOLUME_MIB]
//
// Makes a pool in FILE (16 times the volume, sparse; what is there is lost) and prints what one I/O
// lane does: sequential fill, cached and uncached random reads, random writes with and without
// flushes, bytes to the device per byte written.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/prng.h"
#include "io/aligned.h"
#include "io/block_on.h"
#include "io/file_disk.h"
#include "io/open_file.h"
#include "io/reactor.h"
#include "pool/pool.h"
#include "rt/scope.h"

namespace coppice {
namespace {

enum class Load { fill, read, write, write_flush };

struct Worker {
  blk::Device* device;
  Load load;
  u64 operations;
  u64 seed;
};

Task<> work(Worker worker) {
  Prng prng(worker.seed);
  const size_t unit = worker.load == Load::fill ? 1_MiB : blk::kBlock;
  io::AlignedBuffer buffer(unit);
  for (size_t i = 0; i < unit; ++i) buffer.data()[i] = static_cast<std::byte>(prng.next());
  blk::Device& device = *worker.device;
  const u64 units = device.size_bytes() / unit;
  for (u64 i = 0; i < worker.operations; ++i) {
    const u64 at = (worker.load == Load::fill ? i : prng.below(units)) * unit;
    Result<> done;
    if (worker.load == Load::read) {
      Task<> reading = device.read(at, buffer.span());
      done = co_await std::move(reading);
    } else {
      Task<> writing = device.write(at, buffer.span(), {});
      done = co_await std::move(writing);
    }
    if (done && worker.load == Load::write_flush && i % 32 == 31) {
      Task<> flushing = device.flush();
      done = co_await std::move(flushing);
    }
    if (!done) co_return std::move(done);
    if (i % 32 == 0) co_await rt::yield(device.executor());
  }
  co_return {};
}

Task<> run_all(blk::Device& device, Load load, u64 operations, u64 workers) {
  rt::Scope scope;
  for (u64 i = 0; i < workers; ++i) scope.spawn(work({&device, load, operations / workers, i + 1}));
  Task<> joining = scope.join();
  co_return co_await std::move(joining);
}

template <class T>
T must(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, describe(result.error()).c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

int run(const char* path, u64 volume_bytes) {
  const int fd = ::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(volume_bytes * 16)) != 0) return 1;
  const io::DiskFile file = must(io::adopt_disk_file(fd), "open");
  auto sync = must(io::Reactor::create({.name = "sync"}), "reactor");
  auto lane = must(io::Reactor::create({.name = "lane"}), "reactor");
  sync->start();
  lane->start();
  io::FileDisk sync_disk(*sync, file), lane_disk(*lane, file);
  const std::vector<pool::Lane> lanes = {{sync.get(), &sync_disk}, {lane.get(), &lane_disk}};
  must(io::block_on(*sync, pool::Pool::create(lanes[0], {.name = "bench", .seed = 7})), "create");
  pool::Options options;
  options.cache_bytes = volume_bytes * 5 / 4;
  auto pool = must(io::block_on(*sync, pool::Pool::open(lanes, options)), "open");
  auto session = must(io::block_on(*sync, pool->begin()), "begin");
  pool::Dataset dataset;
  dataset.parent = session.transaction->root();
  dataset.name = "v";
  dataset.type = pool::DatasetType::volume;
  dataset.volsize_bytes = volume_bytes;
  const pool::DatasetId id = session.transaction->new_dataset(dataset);
  session.transaction->add_tree_op(pool::MakeVolume{id});
  must(io::block_on(*sync, pool->commit(std::move(session), {})), "commit");
  auto handle = must(io::block_on(*sync, pool->open_volume(id)), "volume");
  blk::Device& device = handle->device();

  const auto measure = [&](const char* name, Load load, u64 operations, u64 workers) {
    const pool::PoolStats before = must(io::block_on(*sync, pool->stats()), "stats");
    const u64 begun = lane->now_ns();
    must(io::block_on(*lane, run_all(device, load, operations, workers)), name);
    const double seconds = static_cast<double>(lane->now_ns() - begun) / 1e9;
    must(io::block_on(*sync, pool->sync()), "sync");
    const pool::PoolStats after = must(io::block_on(*sync, pool->stats()), "stats");
    const double user = static_cast<double>(after.user_bytes_written - before.user_bytes_written);
    const double device_bytes =
        static_cast<double>(after.device_bytes_written - before.device_bytes_written);
    std::printf("%-28s %10.0f/s", name, static_cast<double>(operations) / seconds);
    if (user > 0) std::printf("  device/user bytes %.3f", device_bytes / user);
    std::printf("  groups %llu\n", static_cast<unsigned long long>(after.groups - before.groups));
    std::fflush(stdout);
  };
  const u64 blocks = volume_bytes / blk::kBlock;
  measure("fill, 1 MiB", Load::fill, volume_bytes / 1_MiB, 1);
  measure("4K read, cached", Load::read, blocks, 32);
  for (int i = 0; i < 4; ++i) measure("4K write", Load::write, blocks / 2, 32);
  measure("4K write, flush every 32", Load::write_flush, blocks / 16, 1);
  measure("4K read, cached", Load::read, blocks, 32);
  handle.reset();
  must(io::block_on(*sync, pool->wait_for_jobs()), "jobs");
  must(io::block_on(*sync, pool->close()), "close");
  pool.reset();
  sync->stop();
  lane->stop();
  sync->join();
  lane->join();
  ::close(fd);
  return 0;
}

}  // namespace
}  // namespace coppice

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: %s FILE [VOLUME_MIB]\n", arguments[0]);
    return 2;
  }
  const unsigned long long mib = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1024;
  return coppice::run(arguments[1], mib << 20);
}
