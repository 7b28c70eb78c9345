// The commit of a transaction group; see the Theory in pool/engine.h.
#include <algorithm>

#include "pool/engine.h"
#include "pool/volume.h"
#include "trace/fire.h"

namespace coppice::pool {
namespace {
constexpr u64 kReserveShare = 32;        // Of the pool, kept for administration,
constexpr u64 kReserveBlocksMin = 1024;  // at least so much, but
constexpr u64 kReserveShareMax = 4;      // never more than this share.
constexpr i64 kNodeCostBlocks = 8;       // What one dirty block may cost in map nodes, at worst.
constexpr i64 kGroupBytesMin = 256_KiB;
constexpr u32 kPunchBlocksMin = 32;  // Smaller holes cost the file system more than they give.
constexpr size_t kPunchesAtOnce = 64;
constexpr u64 kMutantDelayNs = 2'000'000;  // Between lanes that do not wait for each other.

Task<> run_flip(IoLane& lane, Txg closing) { return lane.flip(closing); }
Task<> run_release(IoLane& lane) {
  lane.release();
  co_return {};
}
Task<> run_write(rt::Executor& home, IoLane& lane, Txg closing, LaneReport& into) {
  Task<LaneReport> writing = rt::call(home, lane.executor(), lane.write_group(closing));
  into = co_await ok(std::move(writing));
  co_return {};
}
}  // namespace

u64 reserve_blocks(u64 total) {
  return std::max(total / kReserveShare, std::min(kReserveBlocksMin, total / kReserveShareMax));
}

std::vector<Change> tree_changes(const std::vector<Catalog::StoredChange>& stored) {
  std::vector<Change> changes;
  changes.reserve(stored.size());
  for (const auto& [key, value] : stored)
    changes.push_back({key, value ? std::optional<std::string_view>(*value) : std::nullopt});
  return changes;
}

void Engine::fire_opened() const {
  trace::fire(coppice_txg_open{.time_ns = opened_ns_, .pool = uberblock_.guid, .txg = raw(open_)});
}

void Engine::fire_synced(const Commit& commit, const Result<>& result) const {
  u32 volumes = 0;
  for (const LaneReport& report : commit.reports)
    volumes += static_cast<u32>(report.volumes.size());
  const u64 now = sync_executor().now_ns();
  trace::fire(
      coppice_txg_sync{.time_ns = now,
                       .pool = uberblock_.guid,
                       .txg = raw(commit.txg),
                       .latency_ns = now - commit.begun_ns,
                       .bytes = shared_.device_bytes_written - commit.written_before_bytes,
                       .error = result ? 0 : static_cast<u32>(errno_of(result.error().code)),
                       .volumes = volumes});
}

Task<> Engine::commit_group(Commit& commit) {
  commit.txg = open_;
  commit.dead_root = uberblock_.dead_index;
  commit.catalog_root = uberblock_.catalog;
  const u64 begun = commit.begun_ns = sync_executor().now_ns();
  commit.written_before_bytes = shared_.device_bytes_written;
  if (trace::on(trace::Point::txg_close)) [[unlikely]]
    trace::fire(coppice_txg_close{.time_ns = begun,
                                  .pool = uberblock_.guid,
                                  .txg = raw(open_),
                                  .open_ns = begun - opened_ns_,
                                  .dirty_bytes = static_cast<u64>(shared_.open_bytes)});
  // From here until the catalog is written, no transaction is accepted: what was, is in this group.
  frozen_ = true;
  open_ = next(open_);
  opened_ns_ = begun;
  if (trace::on(trace::Point::txg_open)) [[unlikely]]
    fire_opened();
  shared_.open_changed = false;
  std::vector<TreeOp> ops = catalog_->take_tree_ops();
  Catalog::Uncommitted fresh = catalog_->take_uncommitted();
  for (const DatasetId id : fresh.datasets) catalog_->commit_dataset(id, commit.txg);
  for (const auto& [id, bookmark] : fresh.bookmarks)
    catalog_->commit_bookmark(id, bookmark, commit.txg);

  Task<> flipping = barrier(commit.txg);
  co_await ok(std::move(flipping));
  if (mutant(Mutant::snapshot_misses_closing_group)) {
    Task<> early = run_tree_ops(commit, std::exchange(ops, {}));
    co_await ok(std::move(early));
  }
  Task<> gathering = gather(commit);
  co_await ok(std::move(gathering));
  account(commit);
  if (mutant(Mutant::free_one_group_early)) {
    for (const Run& run : space_->settle(commit.txg)) {
      if (!space_->claim(run)) continue;
      sync_space_.adopt(commit.txg, run);  // So that this very commit writes over it.
      sync_space_.untake(run, commit.txg);
    }
  }
  Task<> merging = merge_dead(commit);  // Tree operations look at what died in this group, too.
  co_await ok(std::move(merging));
  Task<> operating = run_tree_ops(commit, std::move(ops));
  co_await ok(std::move(operating));
  Task<> working = run_jobs(commit);
  co_await ok(std::move(working));
  Task<> merging_again = merge_dead(commit);
  co_await ok(std::move(merging_again));
  Task<> storing = merge_catalog(commit);
  co_await ok(std::move(storing));
  frozen_ = false;
  thawed_.pulse();
  Task<> writing = write_roots(commit);
  co_await ok(std::move(writing));

  refresh_limits();
  Task<> telling = tell_lanes(commit);
  co_await ok(std::move(telling));
  settle(commit.txg);
  shared_.charged_blocks -= static_cast<i64>(commit.charged);
  durable_ = commit.txg;
  ++groups_;
  group_ns_last_ = sync_executor().now_ns() - begun;
  group_ns_max_ = std::max(group_ns_max_, group_ns_last_);
  group_ns_total_ += group_ns_last_;
  durable_event_.pulse();
  jobs_event_.pulse();
  co_return {};
}

// Every lane flips before any acknowledges a write to the new group: so if one write was
// acknowledged before another was made, they cannot land on the wrong sides.
Task<> Engine::barrier(Txg closing) {
  if (mutant(Mutant::ack_before_barrier)) {
    for (auto& lane : lanes_) {
      Task<> flipping = rt::call(sync_executor(), lane->executor(), run_flip(*lane, closing));
      co_await ok(std::move(flipping));
      Task<> releasing = rt::call(sync_executor(), lane->executor(), run_release(*lane));
      co_await ok(std::move(releasing));
      co_await rt::sleep_for(sync_executor(), kMutantDelayNs);
    }
    co_return {};
  }
  rt::Scope flips;
  for (auto& lane : lanes_)
    flips.spawn(rt::call(sync_executor(), lane->executor(), run_flip(*lane, closing)));
  Task<> joining = flips.join();
  co_await ok(std::move(joining));
  rt::Scope releases;
  for (auto& lane : lanes_)
    releases.spawn(rt::call(sync_executor(), lane->executor(), run_release(*lane)));
  Task<> releasing = releases.join();
  co_return co_await std::move(releasing);
}

Task<> Engine::gather(Commit& commit) {
  commit.reports.resize(lanes_.size());
  rt::Scope writes;
  for (size_t i = 0; i < lanes_.size(); ++i)
    writes.spawn(run_write(sync_executor(), *lanes_[i], commit.txg, commit.reports[i]));
  Task<> joining = writes.join();
  co_return co_await std::move(joining);
}

void Engine::account(Commit& commit) {
  for (LaneReport& report : commit.reports) {
    for (const Run& run : report.taken.used) space_->use(run);
    for (const Run& run : report.taken.log) space_->kill_granted(commit.txg, run);
    for (VolumeReport& volume : report.volumes) {
      commit.changed.push_back(volume.volume);
      commit.charged += volume.charged_blocks;
      for (const Run& run : volume.superseded) space_->kill(commit.txg, run);
      VolumeState* state = catalog_->edit_volume_state(volume.volume);
      CHECK(state != nullptr);
      state->live.root = volume.root;
      state->live.logical_blocks += volume.data_blocks;
      state->live.logical_blocks -= volume.data_blocks_dropped;
      state->live.referenced_blocks += volume.data_blocks + volume.node_blocks;
      state->written_blocks += volume.data_blocks + volume.node_blocks;
      const Txg death =
          mutant(Mutant::dead_index_off_by_one) ? Txg(raw(commit.txg) - 1) : commit.txg;
      for (const Dropped& dropped : volume.dropped) drop(commit, *state, dropped, death);
    }
  }
}

// A block that a live volume names no more: free, unless a snapshot of it or its origin sees it.
void Engine::drop(Commit& commit, VolumeState& state, const Dropped& dropped, Txg death) {
  const u64 count = dropped.run.count;
  const Txg seen_upto = std::max(state.last_snapshot, state.origin_txg);
  CHECK(state.live.referenced_blocks >= count);
  state.live.referenced_blocks -= count;
  if (dropped.birth > seen_upto) {
    CHECK(state.written_blocks >= count);
    state.written_blocks -= count;
    space_->kill(commit.txg, dropped.run);
    return;
  }
  const bool inherited = dropped.birth <= state.origin_txg;
  if (inherited && mutant(Mutant::clone_frees_origin_blocks)) {
    space_->kill(commit.txg, dropped.run);
    return;
  }
  if (inherited) {
    CHECK(state.inherited_blocks >= count);
    state.inherited_blocks -= count;
    state.inherited_dead_blocks += count;
  } else {
    state.dead_blocks += count;
  }
  CHECK(!state.dead.empty());
  commit.dead.add({state.dead.back().segment, death, dropped.birth, dropped.run});
}

Task<> Engine::merge_dead(Commit& commit) {
  if (commit.dead.empty()) co_return {};
  NodeWriter writer(nodes_, sync_space_, commit.txg);
  const std::vector<Change> changes = commit.dead.sorted();
  Task<NodePtr> merging = merge(nodes_, writer, commit.dead_root, changes, commit.nodes_dropped);
  commit.dead_root = co_await ok(std::move(merging));
  Task<> finishing = writer.finish();
  co_await ok(std::move(finishing));
  metadata_blocks_ += writer.blocks_written();
  commit.dead = DeadChanges();
  co_return {};
}

Task<> Engine::merge_catalog(Commit& commit) {
  const std::vector<Catalog::StoredChange> stored = catalog_->take_changes();
  const std::vector<Change> changes = tree_changes(stored);
  NodeWriter writer(nodes_, sync_space_, commit.txg);
  Task<NodePtr> merging = merge(nodes_, writer, commit.catalog_root, changes, commit.nodes_dropped);
  commit.catalog_root = co_await ok(std::move(merging));
  Task<> finishing = writer.finish();
  co_await ok(std::move(finishing));
  metadata_blocks_ += writer.blocks_written();
  co_return {};
}

// A lane whose flush or write failed may have left blocks of this group behind that our own, later
// flush says nothing of.
Task<> Engine::still_healthy() {
  if (shared_.failed) co_return fail(Errc::io, "commit a group while a lane's requests fail");
  co_return {};
}

// Bitmaps, then everything durable, then the uberblock that makes it true.
Task<> Engine::write_roots(Commit& commit) {
  const LaneSpace::Taken taken = sync_space_.report(commit.txg);
  for (const Run& run : taken.used) space_->use(run);
  for (const NodePtr& node : commit.nodes_dropped) {
    space_->kill(commit.txg, node.run());
    nodes_.forget(node.addr, node.birth);
    CHECK(metadata_blocks_ >= node.blocks);
    metadata_blocks_ -= node.blocks;
  }
  Task<u64> bitmaps = space_->write(disk(), commit.txg);
  Uberblock uberblock = uberblock_;
  uberblock.space_sum = co_await ok(std::move(bitmaps));
  uberblock.txg = commit.txg;
  uberblock.time_s = sync_executor().wall_ns() / 1'000'000'000;
  uberblock.catalog = commit.catalog_root;
  uberblock.dead_index = commit.dead_root;
  uberblock.metadata_blocks = metadata_blocks_;
  uberblock.logs.fill({});
  for (size_t i = 0; i < lanes_.size(); ++i) uberblock.logs[i] = commit.reports[i].log;
  if (!mutant(Mutant::skip_flush_before_uberblock)) {
    Task<> flushing = disk().flush();
    co_await ok(std::move(flushing));
  }
  Task<> healthy = still_healthy();
  co_await ok(std::move(healthy));
  Task<> writing = write_uberblock(disk(), uberblock);
  co_await ok(std::move(writing));
  Task<> flushing = disk().flush();
  co_await ok(std::move(flushing));
  Task<> still = still_healthy();
  co_await ok(std::move(still));
  uberblock_ = std::move(uberblock);
  co_return {};
}

// The lanes look at the new maps before anything that the old ones name can be reused.
Task<> Engine::tell_lanes(Commit& commit) {
  std::vector<std::vector<VolumeUpdate>> updates(lanes_.size());
  for (const auto& [user, count] : users_) commit.changed.push_back(DatasetId(user));
  std::sort(commit.changed.begin(), commit.changed.end());
  commit.changed.erase(std::unique(commit.changed.begin(), commit.changed.end()),
                       commit.changed.end());
  for (const DatasetId id : commit.changed)
    if (!volume_state_missing(id)) updates[raw(id) % lanes_.size()].push_back(update_for(id));
  rt::Scope told;
  for (size_t i = 0; i < lanes_.size(); ++i)
    told.spawn(rt::call(sync_executor(), lanes_[i]->executor(),
                        lanes_[i]->finish_group(std::move(updates[i]))));
  Task<> joining = told.join();
  co_return co_await std::move(joining);
}

void Engine::settle(Txg durable) {
  std::vector<Run> freed = space_->settle(durable);
  if (trace::on(trace::Point::space_free)) [[unlikely]]
    trace::fire(trace::Point::space_free, {this, raw(durable), freed.size()});
  size_t punched = 0;
  for (const Run& run : freed) {
    if (run.count < kPunchBlocksMin || punched == kPunchesAtOnce) continue;
    if (!space_->claim(run)) continue;  // Not to be handed out until the hole is there.
    ++punched;
    punches_.spawn(punch(run));
  }
  const u64 total = space_->total_blocks();
  const i64 free = static_cast<i64>(total - space_->used_blocks());
  const i64 reserve = static_cast<i64>(reserve_blocks(total));
  shared_.available_blocks = std::max(i64{0}, free - reserve - static_cast<i64>(unkept_blocks_));
  // Near the end, groups must stay so small that the worst case of their map nodes fits.
  const i64 most = static_cast<i64>(options_.dirty_bytes_max);
  const i64 fits = std::max(kGroupBytesMin, free / kNodeCostBlocks * static_cast<i64>(kBlock));
  shared_.dirty_bytes_max = std::min(most, fits);
  shared_.group_bytes_max = group_bytes_max(shared_.dirty_bytes_max);
}

Task<> Engine::punch(Run run) {
  Task<> punching = disk().punch(byte_offset(run.start), u64{run.count} * kBlock);
  (void)co_await std::move(punching);  // A hint: a device that cannot is no error.
  space_->untake(run);
  co_return {};
}

// What volumes under a quota may still grow by, and what is set aside for those under a
// reservation.
void Engine::refresh_limits() {
  if (!limits_changed_ && limits_.empty()) return;  // The usual case: nothing is limited.
  limits_changed_ = false;
  limits_ = find_limits(*catalog_, unkept_blocks_);
}

}  // namespace coppice::pool
