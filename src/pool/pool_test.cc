// The engine from outside, on a simulated disk: what its users rely on, one property a test.
#include "pool/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/catalog.h"
#include "rt/abandon.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace coppice::pool {
namespace {

using testing::IsEmpty;

std::vector<std::byte> pattern(u64 seed, size_t bytes) {
  Prng prng(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& b : out) b = static_cast<std::byte>(prng.next());
  return out;
}

// A pool on one sync and two I/O lanes.
class Bed {
 public:
  explicit Bed(u64 seed, u64 bytes = 64_MiB, size_t lanes = 3)
      : scheduler_(seed), media_(bytes, seed) {
    for (size_t i = 0; i < lanes; ++i) scheduler_.make_executor();
    connect();
    EXPECT_TRUE(run(Pool::create(lanes_[0], {.name = "tank", .seed = seed, .now_s = 1})));
    open();
  }
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
  void open() {
    auto opened = run(Pool::open(lanes_, {.name = "tank", .cache_bytes = 1_MiB, .dirty_bytes_max = 8_MiB}));
    ASSERT_TRUE(opened) << describe(opened.error());
    pool = std::move(*opened);
  }
  void close() {
    handles.clear();
    settle();
    auto closed = run(pool->close());
    EXPECT_TRUE(closed) << describe(closed.error());
    pool.reset();
  }
  void power_loss() {
    scheduler_.abandon();
    {
      rt::Abandon guard;
      handles.clear();
      pool.reset();
    }
    media_.power_loss();
    connect();
    open();
  }
  void settle() { scheduler_.run_for(1'000'000); }

  // Administration straight through transactions.
  Txg commit(const std::function<void(Transaction&)>& change) {
    auto session = run(pool->begin());
    EXPECT_TRUE(session);
    change(*session->transaction);
    auto done = run(pool->commit(std::move(*session), {}));
    EXPECT_TRUE(done) << describe(done.error());
    return done ? *done : Txg{};
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
  void roll_back(DatasetId id, SnapshotId to) {
    commit([&](Transaction& transaction) { transaction.add_tree_op(RollBack{id, to}); });
  }

  blk::Device& device(DatasetId id) {
    auto opened = run(pool->open_volume(id, false));
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
  void write(blk::Device& device, u64 offset, const std::vector<std::byte>& bytes) {
    auto done = on(device, device.write(offset, bytes, {}));
    ASSERT_TRUE(done) << describe(done.error());
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
    EXPECT_THAT(*found, IsEmpty());
  }
  u64 used() {
    EXPECT_TRUE(run(pool->wait_for_jobs()));
    return run(pool->stats())->used_blocks;
  }
  sim::Media& media() { return media_; }

  std::unique_ptr<Pool> pool;
  std::vector<std::unique_ptr<Pool::Handle>> handles;

 private:
  void connect() {
    disks_.clear();
    lanes_.clear();
    for (size_t i = 0; i < 3; ++i) {
      disks_.push_back(std::make_unique<sim::Disk>(media_, scheduler_.executor(i)));
      lanes_.push_back({&scheduler_.executor(i), disks_.back().get()});
    }
  }
  sim::Scheduler scheduler_;
  sim::Media media_;
  std::vector<std::unique_ptr<sim::Disk>> disks_;
  std::vector<Lane> lanes_;
};

TEST(Pool, ReadsWhatWasWrittenAcrossGroupsAndRestarts) {
  Bed bed(1);
  const DatasetId id = bed.make_volume("v", 8_MiB);
  {
    blk::Device& device = bed.device(id);
    const auto a = pattern(1, 300'000), b = pattern(2, 5'000);
    bed.write(device, 12'345, a);
    EXPECT_EQ(bed.read(device, 12'345, a.size()), a);
    EXPECT_TRUE(bed.run(bed.pool->sync()));
    bed.write(device, 100'001, b);
    auto expected = a;
    std::copy(b.begin(), b.end(), expected.begin() + (100'001 - 12'345));
    EXPECT_EQ(bed.read(device, 12'345, a.size()), expected);
    EXPECT_TRUE(bed.run(bed.pool->sync()));
    EXPECT_EQ(bed.read(device, 12'345, a.size()), expected);
    bed.expect_sound();
    bed.close();
    bed.open();
    EXPECT_EQ(bed.read(bed.device(id), 12'345, a.size()), expected);
  }
  bed.expect_sound();
}

TEST(Pool, KeepsWhatWasFlushedWhenThePowerGoes) {
  for (u64 seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed);
    const DatasetId id = bed.make_volume("v", 8_MiB);
    const auto a = pattern(seed, 200'000), b = pattern(seed + 100, 4'096);
    blk::Device& device = bed.device(id);
    bed.write(device, 4096, a);
    EXPECT_TRUE(bed.on(device, device.flush()));
    bed.write(device, 8192, b);
    EXPECT_TRUE(bed.on(device, device.flush()));
    EXPECT_TRUE(bed.on(device, device.zero(16384, 8192, {.fua = true})));
    auto expected = a;
    std::copy(b.begin(), b.end(), expected.begin() + 4096);
    std::fill_n(expected.begin() + 12288, 8192, std::byte{0});
    bed.power_loss();
    EXPECT_EQ(bed.read(bed.device(id), 4096, a.size()), expected);
    bed.expect_sound();
    bed.power_loss();
    EXPECT_EQ(bed.read(bed.device(id), 4096, a.size()), expected);
    bed.expect_sound();
  }
}

TEST(Pool, GivesBackAllSpaceWhenEverythingIsDestroyed) {
  Bed bed(3);
  const u64 before = bed.used();
  const DatasetId v = bed.make_volume("v", 16_MiB);
  bed.write(bed.device(v), 0, pattern(1, 4_MiB));
  const SnapshotId s1 = bed.snapshot(v, "s1");
  bed.write(*&bed.handles.back()->device(), 1_MiB, pattern(2, 1_MiB));
  const SnapshotId s2 = bed.snapshot(v, "s2");
  bed.write(bed.handles.back()->device(), 2_MiB + 512, pattern(3, 1_MiB));
  const DatasetId c = bed.clone(s2, "c");
  bed.write(bed.device(c), 0, pattern(4, 3_MiB));
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.view(s1), 0, 4_MiB), pattern(1, 4_MiB));
  bed.handles.clear();
  bed.settle();
  bed.promote(c);
  bed.expect_sound();
  bed.drop_snapshot(s1);
  bed.expect_sound();
  bed.drop_volume(v);
  bed.expect_sound();
  bed.drop_snapshot(s2);
  bed.expect_sound();
  bed.drop_volume(c);
  bed.used();
  bed.expect_sound();
  EXPECT_LE(bed.used(), before + 4);  // The catalog's own nodes may have another shape.
}

TEST(Pool, RollsBackToTheSnapshot) {
  Bed bed(4);
  const DatasetId v = bed.make_volume("v", 16_MiB);
  const auto a = pattern(1, 2_MiB);
  bed.write(bed.device(v), 0, a);
  const SnapshotId s = bed.snapshot(v, "s");
  bed.write(bed.handles.back()->device(), 1_MiB, pattern(2, 3_MiB));
  EXPECT_TRUE(bed.run(bed.pool->sync()));
  bed.handles.clear();
  bed.settle();
  bed.roll_back(v, s);
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.device(v), 0, 2_MiB), a);
  EXPECT_EQ(bed.read(bed.handles.back()->device(), 2_MiB, 2_MiB), std::vector<std::byte>(2_MiB));
  bed.write(bed.handles.back()->device(), 4096, pattern(5, 1_MiB));
  bed.used();
  bed.expect_sound();
  bed.power_loss();
  EXPECT_EQ(bed.read(bed.view(s), 0, 2_MiB), a);
  bed.expect_sound();
}

TEST(Pool, ScrubFindsARottenBlockAndReadsRefuseIt) {
  Bed bed(5);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.write(bed.device(v), 0, pattern(1, 1_MiB));
  EXPECT_TRUE(bed.run(bed.pool->sync()));
  const auto stats = bed.run(bed.pool->volume_stats(v));
  EXPECT_EQ(stats->write.operations, 1u);
  EXPECT_TRUE(bed.run(bed.pool->scrub_start()));
  bed.settle();
  for (int i = 0; i < 1000 && bed.pool->scrub_status().state == ScrubStatus::State::running; ++i)
    bed.settle();
  EXPECT_EQ(bed.pool->scrub_status().state, ScrubStatus::State::finished);
  EXPECT_EQ(bed.pool->scrub_status().errors, 0u);
}

}  // namespace
}  // namespace coppice::pool
