// pool/pool_bed.h — what tests of whole pools stand on: a pool on a simulated disk, administered
// without verbs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/catalog.h"
#include "pool/pool.h"
#include "rt/abandon.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace coppice::pool {

inline std::vector<std::byte> pattern(u64 seed, size_t bytes) {
  Prng prng(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& b : out) b = static_cast<std::byte>(prng.next());
  return out;
}

// A pool on one sync and two I/O lanes.
class Bed {
 public:
  static constexpr size_t kLanes = 3;
  explicit Bed(u64 seed, u64 bytes = 64_MiB) : Bed(seed, sim::Media(bytes, seed)) {
    EXPECT_TRUE(run(Pool::create(lanes_[0], {.name = "tank", .seed = seed, .now_s = 1})));
    open();
  }
  // On what another bed has left; not open yet.
  Bed(u64 seed, const sim::Media& media) : scheduler_(seed), media_(media) {
    media_.reseed(seed);
    for (size_t i = 0; i < kLanes; ++i) scheduler_.make_executor();
    connect();
  }
  Bed(const Bed&) = delete;
  ~Bed() {
    if (pool) close();
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return scheduler_.run(scheduler_.executor(0), std::move(task));
  }
  template <class T>
  Result<T> on(blk::Device& device, Task<T> task) {
    return scheduler_.run(device.executor(), std::move(task));
  }
  Options options() {
    return {.name = "tank",
            .cache_bytes = 1_MiB,
            .dirty_bytes_max = 8_MiB,
            .warn = [this](std::string line) { warnings.push_back(std::move(line)); }};
  }
  Result<> try_open() {
    auto opened = run(Pool::open(lanes_, options()));
    if (!opened) return std::unexpected(opened.error());
    pool = std::move(*opened);
    return {};
  }
  void open() {
    const auto opened = try_open();
    ASSERT_TRUE(opened) << describe(opened.error());
  }
  void close() {
    let_go();
    const bool failed = !stats().failed.empty();
    auto closed = run(pool->close());
    EXPECT_EQ(closed.has_value(), !failed) << (closed ? "ok" : describe(closed.error()));
    pool.reset();
  }
  void power_loss() {
    lose([](sim::Media& media) { media.power_loss(); });
    open();
  }
  void lose(const std::function<void(sim::Media&)>& how) {  // Everything in memory, too.
    scheduler_.abandon();
    {
      rt::Abandon guard;
      handles.clear();
      pool.reset();
    }
    how(media_);
    connect();
  }
  // Opens the pool, and cuts the power after so many steps. true: it was open by then.
  bool open_and_lose_power(u64 steps) {
    auto opening = std::make_unique<Task<std::unique_ptr<Pool>>>(Pool::open(lanes_, options()));
    scheduler_.start(scheduler_.executor(0), *opening);
    scheduler_.run_steps(steps);
    const bool finished = opening->finished();
    if (finished) {
      auto opened = opening->take();
      EXPECT_TRUE(opened);
      if (opened) pool = std::move(*opened);
    }
    scheduler_.abandon();
    {
      rt::Abandon guard;
      opening.reset();
    }
    lose([](sim::Media& media) { media.power_loss(); });
    return finished;
  }
  // Starts the task, and cuts the power after so many steps; then `drop` drops what else there is
  // in memory. true: it had finished by then.
  template <class T>
  bool lose_power_during(Task<T> task, u64 steps, const std::function<void()>& drop) {
    auto running = std::make_unique<Task<T>>(std::move(task));
    scheduler_.start(scheduler_.executor(0), *running);
    scheduler_.run_steps(steps);
    const bool finished = running->finished();
    scheduler_.abandon();
    {
      rt::Abandon guard;
      running.reset();
      drop();
    }
    power_loss();
    return finished;
  }
  void settle() { scheduler_.run_for(1'000'000); }

  // Administration straight through transactions.
  Result<Txg> try_commit(const std::function<void(Transaction&)>& change) {
    auto session = run(pool->begin());
    if (!session) return std::unexpected(session.error());
    change(*session->transaction);
    return run(pool->commit(std::move(*session), {}));
  }
  Txg commit(const std::function<void(Transaction&)>& change) {
    const auto done = try_commit(change);
    EXPECT_TRUE(done) << describe(done.error());
    return done ? *done : Txg{};
  }
  void sync() {
    const auto synced = run(pool->sync());
    EXPECT_TRUE(synced) << describe(synced.error());
  }
  DatasetId make_volume(const std::string& name, u64 bytes) {
    DatasetId id{};
    commit([&](Transaction& transaction) {
      Dataset dataset;
      dataset.parent = transaction.root();
      dataset.name = name;
      dataset.type = DatasetType::volume;
      dataset.volsize_bytes = bytes;
      id = transaction.new_dataset(dataset);
      transaction.add_tree_op(MakeVolume{id});
    });
    return id;
  }
  SnapshotId snapshot(DatasetId dataset, const std::string& name) {
    SnapshotId id{};
    commit([&](Transaction& transaction) {
      Snapshot snap;
      snap.dataset = dataset;
      snap.name = name;
      snap.volsize_bytes = transaction.dataset(dataset)->volsize_bytes;
      id = transaction.new_snapshot(snap);
      transaction.add_tree_op(TakeSnapshot{dataset, id});
    });
    return id;
  }
  DatasetId clone(SnapshotId origin, const std::string& name) {
    DatasetId id{};
    commit([&](Transaction& transaction) {
      Dataset dataset;
      dataset.parent = transaction.root();
      dataset.name = name;
      dataset.type = DatasetType::volume;
      dataset.origin = origin;
      dataset.volsize_bytes = transaction.snapshot(origin)->volsize_bytes;
      id = transaction.new_dataset(dataset);
      transaction.add_tree_op(MakeClone{origin, id});
    });
    return id;
  }
  void drop_snapshot(SnapshotId id) {
    commit([&](Transaction& transaction) {
      const Snapshot snap = *transaction.snapshot(id);
      transaction.erase_snapshot(id);
      transaction.add_tree_op(DropSnapshot{snap.dataset, id, snap.createtxg});
    });
  }
  void drop_volume(DatasetId id) {
    commit([&](Transaction& transaction) {
      transaction.erase_dataset(id);
      transaction.add_tree_op(DropVolume{id});
    });
  }
  void promote(DatasetId id) {
    commit([&](Transaction& transaction) {
      Dataset clone = *transaction.dataset(id);
      const SnapshotId origin = clone.origin;
      const DatasetId old_id = transaction.snapshot(origin)->dataset;
      Dataset old = *transaction.dataset(old_id);
      for (const SnapshotId each : transaction.snapshots(old_id)) {
        Snapshot moved = *transaction.snapshot(each);
        moved.dataset = id;
        transaction.edit_snapshot(each, moved);
        if (each == origin) break;
      }
      clone.origin = old.origin;
      old.origin = origin;
      transaction.edit_dataset(id, clone);
      transaction.edit_dataset(old_id, old);
      transaction.add_tree_op(Promote{id, old_id, origin});
    });
  }
  void resize(DatasetId id, u64 bytes) {
    commit([&](Transaction& transaction) {
      Dataset dataset = *transaction.dataset(id);
      const u64 before = std::exchange(dataset.volsize_bytes, bytes);
      transaction.edit_dataset(id, dataset);
      transaction.add_tree_op(ResizeVolume{id, before, bytes});
    });
  }
  void set(DatasetId id, const std::string& property, const std::string& value) {
    commit([&](Transaction& transaction) {
      Dataset dataset = *transaction.dataset(id);
      dataset.properties[property] = value;
      transaction.edit_dataset(id, dataset);
    });
  }
  void roll_back(DatasetId id, SnapshotId to) {
    commit([&](Transaction& transaction) { transaction.add_tree_op(RollBack{id, to}); });
  }

  blk::Device& device(DatasetId id) {
    auto opened = run(pool->open_volume(id));
    EXPECT_TRUE(opened);
    handles.push_back(std::move(*opened));
    return handles.back()->device();
  }
  blk::Device& view(SnapshotId id) {
    auto opened = run(pool->open_snapshot(id));
    EXPECT_TRUE(opened);
    handles.push_back(std::move(*opened));
    return handles.back()->device();
  }
  void let_go() {  // Of every device.
    handles.clear();
    settle();
  }
  Result<> try_write(blk::Device& device, u64 offset, const std::vector<std::byte>& bytes) {
    return on(device, device.write(offset, bytes, {}));
  }
  void write(blk::Device& device, u64 offset, const std::vector<std::byte>& bytes) {
    const auto done = try_write(device, offset, bytes);
    ASSERT_TRUE(done) << describe(done.error());
  }
  Result<> try_read(blk::Device& device, u64 offset, std::span<std::byte> into) {
    return on(device, device.read(offset, into));
  }
  std::vector<std::byte> read(blk::Device& device, u64 offset, size_t length) {
    std::vector<std::byte> bytes(length);
    auto done = on(device, device.read(offset, bytes));
    EXPECT_TRUE(done) << describe(done.error());
    return bytes;
  }
  void expect_sound() {
    auto found = run(pool->check());
    ASSERT_TRUE(found) << describe(found.error());
    EXPECT_THAT(*found, testing::IsEmpty());
  }
  PoolStats stats() { return *run(pool->stats()); }
  u64 used() {
    EXPECT_TRUE(run(pool->wait_for_jobs()));
    return stats().used_blocks;
  }
  u64 used_by_volumes() {  // The shape of the catalog does not matter to it.
    const u64 blocks = used();
    return blocks - stats().metadata_blocks;
  }
  sim::Disk& disk() { return *disks_[0]; }
  sim::Executor& sync_lane() { return scheduler_.executor(0); }
  sim::Media& media() { return media_; }

  std::unique_ptr<Pool> pool;
  std::vector<std::unique_ptr<Pool::Handle>> handles;
  std::vector<std::string> warnings;

 private:
  void connect() {
    disks_.clear();
    lanes_.clear();
    for (size_t i = 0; i < kLanes; ++i) {
      disks_.push_back(std::make_unique<sim::Disk>(media_, scheduler_.executor(i)));
      lanes_.push_back({&scheduler_.executor(i), disks_.back().get()});
    }
  }
  sim::Scheduler scheduler_;
  sim::Media media_;
  std::vector<std::unique_ptr<sim::Disk>> disks_;
  std::vector<Lane> lanes_;
};

}  // namespace coppice::pool
