// Each stable tracepoint of the pool tells what happened, with the right values.
#include <gmock/gmock.h>

#include <array>
#include <map>

#include "pool/pool_bed.h"
#include "pool/trace_types.h"
#include "trace/testing/recorder.h"

namespace coppice::pool {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StrEq;
using trace::Point;
using trace::Recorder;

// A group is open, closes, is durable, one number after the other; none is left out.
TEST(Events, FollowEveryGroup) {
  Bed bed(1);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.sync();
  Recorder recorder({Point::txg_open, Point::txg_close, Point::txg_sync});
  const u64 written = 256_KiB;
  bed.write(bed.device(v), 0, pattern(1, written));
  bed.sync();
  bed.sync();
  const auto closed = recorder.all<coppice_txg_close>(Point::txg_close);
  const auto opened = recorder.all<coppice_txg_open>(Point::txg_open);
  const auto synced = recorder.all<coppice_txg_sync>(Point::txg_sync);
  ASSERT_EQ(closed.size(), 2u);
  ASSERT_EQ(opened.size(), 2u);
  ASSERT_EQ(synced.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(closed[i].pool, bed.pool->guid());
    EXPECT_EQ(closed[i].txg, closed[0].txg + i);
    EXPECT_EQ(opened[i].txg, closed[i].txg + 1);
    EXPECT_EQ(opened[i].time_ns, closed[i].time_ns);
    EXPECT_EQ(synced[i].txg, closed[i].txg);
    EXPECT_EQ(synced[i].latency_ns, synced[i].time_ns - closed[i].time_ns);
    EXPECT_EQ(synced[i].error, 0u);
  }
  EXPECT_EQ(closed[0].dirty_bytes, written);
  EXPECT_EQ(closed[1].dirty_bytes, 0u);
  EXPECT_EQ(closed[1].open_ns, closed[1].time_ns - opened[0].time_ns);
  EXPECT_EQ(synced[0].volumes, 1u);
  EXPECT_EQ(synced[1].volumes, 0u);
  EXPECT_GT(synced[0].bytes, written);
}

TEST(Events, NameSnapshotsClonesAndWhatIsDestroyed) {
  Bed bed(2);
  const DatasetId v = bed.make_volume("v", 1_MiB);
  Recorder recorder({Point::snapshot, Point::clone, Point::destroy});
  const SnapshotId s = bed.snapshot(v, "monday");
  const auto snapshots = recorder.all<coppice_snapshot>(Point::snapshot);
  ASSERT_EQ(snapshots.size(), 1u);
  EXPECT_EQ(snapshots[0].pool, bed.pool->guid());
  EXPECT_EQ(snapshots[0].volume, raw(v));
  EXPECT_EQ(snapshots[0].snapshot, raw(s));
  EXPECT_EQ(snapshots[0].txg, raw(bed.pool->catalog().snapshot(s)->createtxg));
  EXPECT_THAT(snapshots[0].name, StrEq("tank/v@monday"));

  const DatasetId c = bed.clone(s, "c");
  const auto clones = recorder.all<coppice_clone>(Point::clone);
  ASSERT_EQ(clones.size(), 1u);
  EXPECT_EQ(clones[0].volume, raw(c));
  EXPECT_EQ(clones[0].snapshot, raw(s));
  EXPECT_THAT(clones[0].name, StrEq("tank/c"));

  bed.drop_volume(c);
  bed.drop_snapshot(s);
  const auto destroyed = recorder.all<coppice_destroy>(Point::destroy);
  ASSERT_EQ(destroyed.size(), 2u);
  EXPECT_EQ(destroyed[0].volume, raw(c));
  EXPECT_EQ(destroyed[0].snapshot, 0u);
  EXPECT_THAT(destroyed[0].name, StrEq("tank/c"));
  EXPECT_EQ(destroyed[1].volume, raw(v));
  EXPECT_EQ(destroyed[1].snapshot, raw(s));
  EXPECT_THAT(destroyed[1].name, StrEq("tank/v@monday"));
  EXPECT_GT(destroyed[1].txg, destroyed[0].txg);
}

// What a transaction makes and destroys again has never been.
TEST(Events, PassOverWhatNeverWas) {
  Bed bed(3);
  const DatasetId v = bed.make_volume("v", 1_MiB);
  Recorder recorder({Point::snapshot, Point::destroy});
  bed.commit([&](Transaction& transaction) {
    Snapshot snap;
    snap.dataset = v;
    snap.name = "s";
    const SnapshotId id = transaction.new_snapshot(snap);
    transaction.add_tree_op(TakeSnapshot{v, id});
    transaction.erase_snapshot(id);
    transaction.add_tree_op(DropSnapshot{v, id, Txg{}});
  });
  EXPECT_THAT(recorder.events(), IsEmpty());
}

TEST(Events, SayWhichReadsMissTheCache) {
  Bed bed(4);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.write(bed.device(v), 0, pattern(1, 64_KiB));
  bed.close();
  bed.open();
  blk::Device& device = bed.device(v);
  Recorder recorder({Point::cache_miss});
  bed.read(device, 8_KiB, 4_KiB);
  const auto first = recorder.all<coppice_cache_miss>(Point::cache_miss);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].pool, bed.pool->guid());
  EXPECT_EQ(first[0].volume, raw(v));
  EXPECT_EQ(first[0].offset, 8_KiB);
  EXPECT_EQ(first[0].length, 4_KiB);
  EXPECT_GT(first[0].disk_offset, 0u);
  bed.read(device, 8_KiB, 4_KiB);
  EXPECT_EQ(recorder.events().size(), 1u);
  bed.read(device, 32_KiB + 512, 1024);  // Not aligned: what is asked for is told.
  const auto second = recorder.all<coppice_cache_miss>(Point::cache_miss);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(second[1].offset, 32_KiB + 512);
  EXPECT_EQ(second[1].length, 1024u);
}

// Every request that goes to the disk comes back once, as it went.
TEST(Events, PairRequestsToTheDisk) {
  Bed bed(5);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  Recorder recorder({Point::disk_submit, Point::disk_complete});
  blk::Device& device = bed.device(v);
  bed.write(device, 0, pattern(1, 512_KiB));
  ASSERT_TRUE(bed.on(device, device.flush()));
  bed.sync();
  std::map<u64, coppice_disk_submit> under_way;
  for (const auto& each : recorder.all<coppice_disk_submit>(Point::disk_submit)) {
    EXPECT_EQ(each.pool, bed.pool->guid());
    EXPECT_TRUE(under_way.emplace(each.request, each).second);
  }
  EXPECT_FALSE(under_way.empty());
  std::map<u32, u64> bytes, count;  // By operation.
  for (const auto& each : recorder.all<coppice_disk_complete>(Point::disk_complete)) {
    const auto begun = under_way.extract(each.request);
    ASSERT_FALSE(begun.empty());
    EXPECT_EQ(each.offset, begun.mapped().offset);
    EXPECT_EQ(each.length, begun.mapped().length);
    EXPECT_EQ(each.operation, begun.mapped().operation);
    EXPECT_EQ(each.lane, begun.mapped().lane);
    EXPECT_LT(each.lane, Bed::kLanes);
    EXPECT_EQ(each.latency_ns, each.time_ns - begun.mapped().time_ns);
    EXPECT_EQ(each.error, 0u);
    bytes[each.operation] += each.length;
    ++count[each.operation];
  }
  EXPECT_THAT(under_way, IsEmpty());
  EXPECT_GE(bytes[COPPICE_WRITE], 512_KiB);
  EXPECT_GE(count[COPPICE_FLUSH], 3u);  // Of the log; before and after the uberblock.
}

TEST(Events, TellOfErrorsOfTheDisk) {
  Bed bed(6);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.write(bed.device(v), 0, pattern(1, 64_KiB));
  bed.close();
  bed.open();
  blk::Device& device = bed.device(v);
  Recorder recorder({Point::error, Point::disk_complete});
  bed.media().faults.read_error_one_in = 1;
  std::vector<std::byte> into(4_KiB);
  EXPECT_FALSE(bed.try_read(device, 0, into));
  bed.media().faults = {};
  const auto errors = recorder.all<coppice_error>(Point::error);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].pool, bed.pool->guid());
  EXPECT_EQ(errors[0].kind, u32{COPPICE_ERROR_DISK});
  EXPECT_EQ(errors[0].error, u32{EIO});
  EXPECT_THAT(errors[0].message, Not(StrEq("")));
  const auto completed = recorder.all<coppice_disk_complete>(Point::disk_complete);
  ASSERT_FALSE(completed.empty());
  EXPECT_EQ(completed.back().error, u32{EIO});
  EXPECT_EQ(completed.back().offset, errors[0].disk_offset);
}

TEST(Events, TellOfWrongChecksums) {
  Bed bed(7);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  bed.write(bed.device(v), 0, pattern(1, 4_KiB));
  bed.close();
  bed.open();
  blk::Device& device = bed.device(v);
  Recorder recorder({Point::error, Point::cache_miss});
  std::vector<std::byte> into(4_KiB);
  {
    Bed copy(8, bed.media());  // Finds out where the block lies.
    copy.open();
    copy.read(copy.device(v), 0, 4_KiB);
  }
  const auto missed = recorder.all<coppice_cache_miss>(Point::cache_miss);
  ASSERT_EQ(missed.size(), 1u);
  bed.media().corrupt(missed[0].disk_offset + 7, 1);
  EXPECT_FALSE(bed.try_read(device, 0, into));
  const auto errors = recorder.all<coppice_error>(Point::error);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].kind, u32{COPPICE_ERROR_CHECKSUM});
  EXPECT_EQ(errors[0].volume, raw(v));
  EXPECT_EQ(errors[0].disk_offset, missed[0].disk_offset);
  EXPECT_THAT(errors[0].message, HasSubstr("checksum"));
}

TEST(Events, TellThatAPoolHasStopped) {
  Bed bed(9);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  blk::Device& device = bed.device(v);
  Recorder recorder({Point::error, Point::txg_sync});
  bed.media().faults.write_error_one_in = 1;
  bed.write(device, 0, pattern(1, 64_KiB));
  EXPECT_FALSE(bed.run(bed.pool->sync()));
  bed.settle();
  std::vector<u32> kinds;
  for (const auto& each : recorder.all<coppice_error>(Point::error)) kinds.push_back(each.kind);
  EXPECT_THAT(kinds, Contains(u32{COPPICE_ERROR_DISK}));
  EXPECT_EQ(std::ranges::count(kinds, u32{COPPICE_ERROR_POOL}), 1);
  const auto synced = recorder.all<coppice_txg_sync>(Point::txg_sync);
  ASSERT_FALSE(synced.empty());
  EXPECT_EQ(synced.back().error, u32{EIO});
}

// Internal ones: the addresses are of live structures, whose fields lie where they are said to.
TEST(Events, PointAtLiveStructures) {
  Bed bed(10);
  const DatasetId v = bed.make_volume("v", 4_MiB);
  blk::Device& device = bed.device(v);
  Recorder recorder({Point::page_put, Point::partial_read, Point::log_begin, Point::log_written,
                     Point::group_flip, Point::group_release, Point::group_written,
                     Point::overlay_flip, Point::space_take, Point::tree_merge, Point::node_write});
  bed.write(device, 512, pattern(1, 4_KiB));
  ASSERT_TRUE(bed.on(device, device.flush()));
  bed.sync();
  const auto put = recorder.all<std::array<u64, 4>>(Point::page_put);
  ASSERT_EQ(put.size(), 2u);
  EXPECT_EQ(put[0][1], 0u);  // The block, where in it, how much.
  EXPECT_EQ(put[0][2], 512u);
  EXPECT_EQ(put[0][3], 4_KiB - 512);
  EXPECT_EQ(put[1][3], 512u);
  EXPECT_EQ((recorder.all<std::array<u64, 2>>(Point::partial_read).size()), 2u);
  const auto types = TraceTypes::all();
  const auto volume = std::ranges::find(types, "pool_Volume", &trace::Structure::name);
  ASSERT_NE(volume, types.end());
  const auto value_of = [&](const char* name) {
    const auto field = std::ranges::find(volume->fields, name, &trace::Field::name);
    CHECK(field != volume->fields.end() && field->bytes == sizeof(u64));
    u64 value = 0;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(put[0][0]) + field->offset, 8);
    return value;
  };
  EXPECT_EQ(value_of("id"), raw(v));
  EXPECT_EQ(value_of("size_bytes"), 4_MiB);
  for (const Point each : {Point::log_begin, Point::log_written, Point::group_flip,
                           Point::group_release, Point::group_written, Point::overlay_flip,
                           Point::space_take, Point::tree_merge, Point::node_write}) {
    const auto events = recorder.events();
    EXPECT_TRUE(std::ranges::any_of(events, [&](const auto& e) { return e.point == each; }))
        << trace::info(each).name;
  }
}

}  // namespace
}  // namespace coppice::pool
