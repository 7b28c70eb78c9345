// Figures of a running pool, and questions about space that the dead index answers.
#include <algorithm>

#include "pool/engine.h"
#include "pool/volume.h"

namespace coppice::pool {
namespace {

struct LaneFigures {
  BlockCache::Stats blocks;
  NodeStore::Stats nodes;
};
Task<LaneFigures> figures_of(IoLane& lane) {
  co_return LaneFigures{lane.cache().stats(), lane.nodes().stats()};
}

Task<VolumeStats> stats_of(IoLane& lane, DatasetId id) {
  const Volume* volume = lane.find(id);
  co_return volume != nullptr ? volume->stats : VolumeStats{};
}

}  // namespace

Task<PoolStats> Engine::stats() {
  PoolStats stats;
  stats.device_blocks = uberblock_.device_blocks;
  stats.total_blocks = space_->total_blocks();
  stats.used_blocks = space_->used_blocks();
  stats.free_blocks = space_->free_blocks();
  stats.dying_blocks = space_->dying_blocks();
  stats.metadata_blocks = metadata_blocks_;
  for (const auto& [id, job] : catalog_->jobs()) stats.freeing_blocks += job.blocks_left;
  stats.reserve_blocks = reserve_blocks(stats.total_blocks);
  stats.dirty_bytes = static_cast<u64>(std::max(i64{0}, shared_.dirty_bytes.load()));
  stats.user_bytes_written = shared_.user_bytes_written;
  stats.device_bytes_written = shared_.device_bytes_written;
  stats.device_bytes_read = shared_.device_bytes_read;
  stats.groups = groups_;
  stats.group_ns_last = group_ns_last_;
  stats.group_ns_max = group_ns_max_;
  stats.group_ns_total = group_ns_total_;
  stats.log_records = shared_.log_records;
  stats.log_replayed = log_replayed_;
  stats.checksum_errors = shared_.checksum_errors + nodes_.stats().corrupt;
  stats.io_errors = shared_.io_errors + nodes_.stats().io_errors;
  stats.txg = durable_;
  stats.guid = uberblock_.guid;
  stats.format_version = kFormatVersion;
  stats.turn_taken = admin_.held();
  stats.turn_waiting = admin_.waiting();
  stats.failed = failure_;
  for (auto& lane : lanes_) {
    Task<LaneFigures> asking = rt::call(sync_executor(), lane->executor(), figures_of(*lane));
    const LaneFigures figures = co_await ok(std::move(asking));
    stats.block_cache_hits += figures.blocks.hits;
    stats.block_cache_misses += figures.blocks.misses;
    stats.block_cache_bytes += figures.blocks.bytes;
    stats.node_cache_hits += figures.nodes.hits;
    stats.node_cache_misses += figures.nodes.misses;
    stats.node_cache_bytes += figures.nodes.bytes;
    stats.checksum_errors += figures.nodes.corrupt;
    stats.io_errors += figures.nodes.io_errors;
  }
  co_return stats;
}

u64 Engine::available_blocks() const {
  const u64 free = space_->free_blocks() + space_->dying_blocks();
  const u64 reserve = reserve_blocks(space_->total_blocks());
  return free > reserve ? free - reserve : 0;
}

Task<VolumeStats> Engine::volume_stats(DatasetId id) {
  IoLane& lane = lane_of(id);
  return rt::call(sync_executor(), lane.executor(), stats_of(lane, id));
}

// An entry is one snapshot's alone if exactly one lies in [birth, death).
Task<std::vector<u64>> Engine::unique_blocks(DatasetId dataset) {
  Task<> settling = between_groups();
  co_await ok(std::move(settling));
  const VolumeState* state = catalog_->volume_state(dataset);
  std::vector<Txg> seers;
  for (const SnapshotId id : catalog_->snapshots(dataset)) {
    const Txg txg = catalog_->snapshot(id)->createtxg;
    seers.push_back(raw(txg) == 0 ? kForever : txg);
  }
  std::vector<u64> unique(seers.size());
  if (state == nullptr) co_return unique;
  const Txg origin = state->origin_txg;
  const std::function<void(const DeadEntry&)> look = [&](const DeadEntry& entry) {
    if (entry.birth <= origin) return;  // The origin keeps it.
    const auto first = std::lower_bound(seers.begin(), seers.end(), entry.birth);
    if (first == seers.end() || *first >= entry.death) return;
    const auto second = std::next(first);
    if (second != seers.end() && *second < entry.death) return;
    unique[static_cast<size_t>(first - seers.begin())] += entry.run.count;
  };
  Task<> scanning =
      for_each_dead(nodes_, uberblock_.dead_index, state->dead, Txg{}, kForever, look);
  co_await ok(held(std::move(scanning)));
  co_return unique;
}

Task<u64> Engine::reclaimable_blocks(DatasetId dataset, std::vector<SnapshotId> going) {
  Task<> settling = between_groups();
  co_await ok(std::move(settling));
  const VolumeState* state = catalog_->volume_state(dataset);
  if (state == nullptr) co_return 0;
  std::sort(going.begin(), going.end());
  std::vector<Txg> staying, leaving;
  for (const SnapshotId id : catalog_->snapshots(dataset)) {
    const bool goes = std::binary_search(going.begin(), going.end(), id);
    const Txg txg = catalog_->snapshot(id)->createtxg;
    if (raw(txg) != 0) (goes ? leaving : staying).push_back(txg);
  }
  const auto seen_by = [](const std::vector<Txg>& seers, const DeadEntry& entry) {
    const auto first = std::lower_bound(seers.begin(), seers.end(), entry.birth);
    return first != seers.end() && *first < entry.death;
  };
  u64 blocks = 0;
  const Txg origin = state->origin_txg;
  const std::function<void(const DeadEntry&)> look = [&](const DeadEntry& entry) {
    if (entry.birth > origin && seen_by(leaving, entry) && !seen_by(staying, entry))
      blocks += entry.run.count;
  };
  Task<> scanning =
      for_each_dead(nodes_, uberblock_.dead_index, state->dead, Txg{}, kForever, look);
  co_await ok(held(std::move(scanning)));
  co_return blocks;
}

// What the snapshot of that group showed and is not dropped since is not new; all else is.
Task<u64> Engine::written_since(DatasetId dataset, Txg since) {
  Task<> settling = between_groups();
  co_await ok(std::move(settling));
  const VolumeState* state = catalog_->volume_state(dataset);
  if (state == nullptr) co_return 0;
  const Snapshot* snapshot = catalog_->snapshot(catalog_->last_snapshot_upto(dataset, since));
  u64 seen = state->inherited_blocks;
  u64 live = state->live.referenced_blocks;
  u64 lost = 0;
  if (snapshot != nullptr) {
    seen = snapshot->tree.referenced_blocks;
    const Txg at = snapshot->createtxg;
    const std::function<void(const DeadEntry&)> look = [&](const DeadEntry& entry) {
      if (entry.birth <= at) lost += entry.run.count;
    };
    Task<> scanning = for_each_dead(nodes_, uberblock_.dead_index, state->dead, at, kForever, look);
    co_await ok(held(std::move(scanning)));
  }
  co_return live - std::min(live, seen - std::min(seen, lost));
}

// Runs a scan of trees that are durable now, keeping what dies meanwhile from being reused.
Task<> Engine::held(Task<> scan) {
  space_->hold();
  Result<> result = co_await std::move(scan);
  space_->unhold();
  co_return std::move(result);
}

Task<> Engine::grow() {
  const u64 blocks = disk().size_bytes() / kBlock;
  if (blocks < uberblock_.device_blocks)
    co_return fail(Errc::invalid, "grow the pool", "its device has become smaller, not larger");
  Task<> settling = between_groups();
  co_await ok(std::move(settling));
  space_->grow(blocks);
  uberblock_.device_blocks = blocks;
  Task<> syncing = sync();
  co_return co_await std::move(syncing);
}

}  // namespace coppice::pool
