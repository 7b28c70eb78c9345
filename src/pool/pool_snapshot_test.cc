// Snapshots: what they show while all changes around them, in numbers, and what they cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/node_store.h"
#include "pool/pool_bed.h"
#include "pool/tree.h"
#include "pool/volume_map.h"

namespace coppice::pool {
namespace {

// Views held open show their group's content, whatever becomes of the live volume, of older and
// younger snapshots, and of the space that was theirs.
TEST(PoolSnapshots, ViewsStandStillWhileTheVolumeChanges) {
  for (u64 seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(seed, 32_MiB);
    Prng prng(seed);
    const DatasetId v = bed.make_volume("v", 2_MiB);
    blk::Device& device = bed.device(v);
    std::vector<std::byte> now(2_MiB);
    struct Held {
      SnapshotId id;
      blk::Device* view;
      std::vector<std::byte> content;
    };
    std::vector<Held> held;
    for (u64 i = 0; i < 40; ++i) {
      for (u64 w = prng.between(1, 4); w > 0; --w) {
        const auto part = pattern(prng.next(), prng.between(1, 100'000));
        const u64 at = prng.below(now.size() - part.size());
        bed.write(device, at, part);
        std::copy(part.begin(), part.end(), now.begin() + static_cast<long>(at));
      }
      if (prng.chance(1, 3)) bed.sync();
      if (prng.chance(1, 2)) {
        const SnapshotId id = bed.snapshot(v, "s" + std::to_string(i));
        if (prng.chance(1, 2)) {
          held.push_back({id, &bed.view(id), now});
        } else if (prng.chance(1, 2)) {
          bed.drop_snapshot(id);
        }
      }
      for (const Held& each : held) {
        const u64 at = prng.below(now.size() - 70'000);
        const auto begin = each.content.begin() + static_cast<long>(at);
        ASSERT_EQ(bed.read(*each.view, at, 70'000), std::vector(begin, begin + 70'000));
      }
    }
    for (const Held& each : held) ASSERT_EQ(bed.read(*each.view, 0, now.size()), each.content);
    if (!held.empty()) {
      EXPECT_TRUE(bed.pool->in_use(held[0].id));
      EXPECT_EQ(bed.try_write(*held[0].view, 0, now).error().code, Errc::read_only);
    }
    bed.expect_sound();
  }
}

// A thousand snapshots of a volume, taken in one transaction, cost no space, and go in one.
TEST(PoolSnapshots, ThousandsComeAndGoInOneTransaction) {
  constexpr int kCount = 1000;
  Bed bed(5);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  const auto bytes = pattern(1, 1_MiB);
  blk::Device& device = bed.device(v);
  bed.write(device, 0, bytes);
  bed.sync();
  const u64 before = bed.used_by_volumes();
  std::vector<SnapshotId> ids;
  bed.commit([&](Transaction& transaction) {
    for (int i = 0; i < kCount; ++i) {
      Snapshot snap;
      snap.dataset = v;
      snap.name = "s" + std::to_string(i);
      snap.volsize_bytes = 4_MiB;
      ids.push_back(transaction.new_snapshot(snap));
      transaction.add_tree_op(TakeSnapshot{v, ids.back()});
    }
  });
  EXPECT_EQ(bed.used_by_volumes(), before);
  bed.write(device, 512_KiB, pattern(2, 1_MiB));
  bed.sync();
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.view(ids[500]), 0, 1_MiB), bytes);
  bed.power_loss();
  EXPECT_EQ(bed.read(bed.view(ids[999]), 0, 1_MiB), bytes);
  bed.let_go();
  const auto freed = bed.run(bed.pool->reclaimable_blocks(v, ids));
  const u64 full = bed.used_by_volumes();
  bed.commit([&](Transaction& transaction) {
    for (const SnapshotId id : ids) {
      const Txg txg = transaction.snapshot(id)->createtxg;
      transaction.erase_snapshot(id);
      transaction.add_tree_op(DropSnapshot{v, id, txg});
    }
  });
  EXPECT_EQ(bed.used_by_volumes(), full - *freed);
  EXPECT_GE(*freed, 128u);
  bed.expect_sound();
  EXPECT_EQ(bed.read(bed.device(v), 512_KiB, 1_MiB), pattern(2, 1_MiB));
}

// Of a map: how many blocks, nodes and data, were born after some group.
class CountYoung final : public Walk {
 public:
  explicit CountYoung(Txg since) : since_(since) {}
  bool enter(const NodePtr&) override { return true; }
  Task<> node(const NodePtr& ptr, const Node& node) override {
    if (ptr.birth > since_) blocks += ptr.blocks;
    for (size_t i = 0; ptr.level == 0 && i < node.count(); ++i) {
      const auto extent = decode_extent(node.key(i), node.value(i));
      if (extent && extent->birth > since_) blocks += extent->count;
    }
    co_return {};
  }
  Result<> bad(const NodePtr&, const Error& error) override { return std::unexpected(error); }
  Task<> leave(const NodePtr&) override { co_return {}; }
  u64 blocks = 0;

 private:
  const Txg since_;
};

// A random history over a volume and its clones, with several snapshots each.
class History {
 public:
  explicit History(u64 seed) : bed(seed, 32_MiB), prng_(seed) {
    volumes.push_back(bed.make_volume("v", 1_MiB));
    for (int i = 0; i < 14; ++i) step(i);
    bed.let_go();
    bed.sync();
    bed.used();
  }
  std::vector<SnapshotId> snapshots(DatasetId id) { return bed.pool->catalog().snapshots(id); }
  bool has_clones(SnapshotId id) { return !bed.pool->catalog().clones(id).empty(); }

  Bed bed;
  std::vector<DatasetId> volumes;

 private:
  void step(int i) {
    const DatasetId id = volumes[prng_.below(volumes.size())];
    for (u64 w = prng_.between(1, 3); w > 0; --w) {
      const auto part = pattern(prng_.next(), prng_.between(1, 150'000));
      bed.write(bed.device(id), prng_.below(1_MiB - part.size()), part);
    }
    if (prng_.chance(1, 4)) bed.sync();
    if (prng_.chance(1, 8)) {
      blk::Device& device = bed.device(id);
      ASSERT_TRUE(bed.on(device, device.discard(prng_.below(512_KiB), 256_KiB, {})));
    }
    bed.let_go();
    if (prng_.chance(1, 2) || i == 2) bed.snapshot(id, "s" + std::to_string(i));
    const auto have = snapshots(id);
    if (volumes.size() < 3 && !have.empty() && prng_.chance(1, 4))
      volumes.push_back(bed.clone(have[prng_.below(have.size())], "c" + std::to_string(i)));
    if (volumes.size() > 1 && prng_.chance(1, 10)) {
      const DatasetId clone = volumes[1];
      if (raw(bed.pool->catalog().dataset(clone)->origin) != 0) bed.promote(clone);
    }
  }
  Prng prng_;
};

// What the engine says destroying snapshots would free is what destroying them frees: tried on
// copies.
TEST(PoolSnapshots, SpaceQuestionsAreAnsweredExactly) {
  u64 asked = 0, clones = 0;
  for (u64 seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    History history(seed);
    Prng prng(seed + 100);
    Bed& bed = history.bed;
    clones += history.volumes.size() - 1;
    for (const DatasetId id : history.volumes) {
      SCOPED_TRACE(full_name(bed.pool->catalog(), id));
      const auto unique = bed.run(bed.pool->unique_blocks(id));
      const auto snapshots = history.snapshots(id);
      ASSERT_TRUE(unique);
      ASSERT_EQ(unique->size(), snapshots.size());
      const auto freed_by = [&](const std::vector<SnapshotId>& going) {
        Bed copy(seed, bed.media());
        copy.open();
        const u64 before = copy.used_by_volumes();
        copy.commit([&](Transaction& transaction) {
          for (const SnapshotId each : going) {
            const Txg txg = transaction.snapshot(each)->createtxg;
            transaction.erase_snapshot(each);
            transaction.add_tree_op(DropSnapshot{id, each, txg});
          }
        });
        const u64 after = copy.used_by_volumes();
        copy.expect_sound();
        return before - after;
      };
      std::vector<SnapshotId> some;
      for (size_t i = 0; i < snapshots.size(); ++i) {
        if (history.has_clones(snapshots[i])) continue;
        if (prng.chance(1, 2)) some.push_back(snapshots[i]);
        if (!prng.chance(1, 2)) continue;
        EXPECT_EQ((*unique)[i], freed_by({snapshots[i]})) << "snapshot " << i;
        ++asked;
      }
      EXPECT_EQ(*bed.run(bed.pool->reclaimable_blocks(id, some)), freed_by(some));
      for (size_t i = 0; i < snapshots.size(); ++i) {
        const Txg since = bed.pool->catalog().snapshot(snapshots[i])->createtxg;
        NodeStore store(bed.sync_lane(), bed.disk(), 1_MiB);
        CountYoung young(since);
        const NodePtr root = bed.pool->catalog().volume_state(id)->live.root;
        ASSERT_TRUE(bed.run(walk(store, root, {}, young)));
        EXPECT_EQ(*bed.run(bed.pool->written_since(id, since)), young.blocks) << "snapshot " << i;
      }
    }
  }
  EXPECT_GT(asked, 20u);
  EXPECT_GT(clones, 5u);
}

}  // namespace
}  // namespace coppice::pool
