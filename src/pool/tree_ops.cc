// What accepted transactions do to trees, when their group commits. Runs after the group's writes
// were accounted, so every volume's state is as of the barrier.
#include <algorithm>

#include "pool/engine.h"
#include "pool/volume_map.h"

namespace coppice::pool {

void Engine::add_job(std::variant<FreeTree, PruneDead, DropDead> work, u64 blocks) {
  catalog_->put_job({catalog_->next_id(), std::move(work), blocks});
}

// A segment of its own, for what dies in this group or later.
Slice Engine::fresh_slice(Txg txg) { return {catalog_->next_id(), Txg(raw(txg) - 1), kForever}; }

namespace {

// Deaths in (after, upto] of one volume, summed by where their births lie.
struct DeadSums {
  u64 early = 0;   // birth <= first
  u64 middle = 0;  // first < birth <= second
  u64 late = 0;    // second < birth
};

Task<DeadSums> sum_dead(NodeStore& nodes, NodePtr root, std::vector<Slice> slices, Txg after,
                        Txg upto, Txg first, Txg second) {
  DeadSums sums;
  const std::function<void(const DeadEntry&)> add = [&](const DeadEntry& entry) {
    (entry.birth <= first    ? sums.early
     : entry.birth <= second ? sums.middle
                             : sums.late) += entry.run.count;
  };
  Task<> scanning = for_each_dead(nodes, root, std::move(slices), after, upto, add);
  co_await ok(std::move(scanning));
  co_return sums;
}

}  // namespace

Task<> Engine::run_tree_ops(Commit& commit, std::vector<TreeOp> ops) {
  std::map<DatasetId, Drops> drops;  // One scan a volume, however many of its snapshots go.
  for (const TreeOp& op : ops) {
    if (const auto* take = std::get_if<TakeSnapshot>(&op)) {
      VolumeState* state = catalog_->edit_volume_state(take->dataset);
      if (state == nullptr) {  // A group's.
        catalog_->commit_snapshot(take->snapshot, commit.txg, TreeState{}, 0);
        continue;
      }
      if (const auto dropped = drops.find(take->dataset); dropped != drops.end()) {
        Task<> pruning = prune(commit, take->dataset, dropped->second);
        co_await ok(std::move(pruning));
        drops.erase(dropped);
        state = catalog_->edit_volume_state(take->dataset);
      }
      catalog_->commit_snapshot(take->snapshot, commit.txg, state->live, state->written_blocks);
      state->last_snapshot = commit.txg;
      state->written_blocks = 0;
    } else if (const auto* make = std::get_if<MakeVolume>(&op)) {
      catalog_->commit_dataset(make->dataset, commit.txg);
      VolumeState state;
      state.dead.push_back(fresh_slice(commit.txg));
      catalog_->put_volume_state(make->dataset, std::move(state));
    } else if (const auto* clone = std::get_if<MakeClone>(&op)) {
      catalog_->commit_dataset(clone->dataset, commit.txg);
      const Snapshot* origin = catalog_->snapshot_or_gone(clone->origin);
      CHECK(origin != nullptr && raw(origin->createtxg) != 0);
      VolumeState state;
      state.live = origin->tree;
      state.inherited_blocks = origin->tree.referenced_blocks;
      state.origin_txg = origin->createtxg;
      state.dead.push_back(fresh_slice(commit.txg));
      catalog_->put_volume_state(clone->dataset, std::move(state));
    } else if (const auto* drop = std::get_if<DropSnapshot>(&op)) {
      VolumeState* state = catalog_->edit_volume_state(drop->dataset);
      if (state == nullptr) continue;  // A group's, or gone with its volume.
      const Txg gone = raw(drop->createtxg) == 0 ? commit.txg : drop->createtxg;
      auto [dropped, first] = drops.try_emplace(drop->dataset, Drops{gone, gone});
      dropped->second.first = std::min(dropped->second.first, gone);
      dropped->second.last = std::max(dropped->second.last, gone);
    } else if (const auto* back = std::get_if<RollBack>(&op)) {
      Task<> rolling = roll_back(commit, *back);
      co_await ok(std::move(rolling));
    } else if (const auto* promotion = std::get_if<Promote>(&op)) {
      Task<> promoting = promote(commit, *promotion);
      co_await ok(std::move(promoting));
      // What was dropped before the promotion may have moved with it.
      if (const auto dropped = drops.find(promotion->old_origin_dataset); dropped != drops.end()) {
        const Drops moved = dropped->second;
        auto [mine, first] = drops.try_emplace(promotion->clone, moved);
        mine->second.first = std::min(mine->second.first, moved.first);
        mine->second.last = std::max(mine->second.last, moved.last);
      }
    } else if (const auto* gone = std::get_if<DropVolume>(&op)) {
      drops.erase(gone->dataset);
      drop_volume(*gone);
    } else if (const auto* change = std::get_if<ResizeVolume>(&op)) {
      Task<> resizing = resize(commit, *change);
      co_await ok(std::move(resizing));
    }
  }
  for (const auto& [dataset, dropped] : drops) {
    Task<> pruning = prune(commit, dataset, dropped);
    co_await ok(std::move(pruning));
  }
  co_return {};
}

// Snapshots of groups from `first` to `last` are gone, though others in between may have stayed:
// what only they saw died between the first of them and the next that stayed after the last.
Task<> Engine::prune(Commit& commit, DatasetId id, Drops dropped) {
  const Snapshot* next_kept = catalog_->snapshot(catalog_->first_snapshot_after(id, dropped.last));
  const bool committed = next_kept != nullptr && raw(next_kept->createtxg) != 0;
  const Txg upto = committed ? next_kept->createtxg : commit.txg;
  VolumeState* state = catalog_->edit_volume_state(id);
  if (state->dead_blocks > 0) add_job(PruneDead{id, dropped.first, upto, {}}, 0);
  const Snapshot* last = catalog_->snapshot(catalog_->last_snapshot_upto(id, commit.txg));
  const Txg youngest = last == nullptr ? Txg{} : last->createtxg;
  if (youngest >= state->last_snapshot) co_return {};
  // The live volume is now compared with an older snapshot, so it has written more since.
  u64 kept = state->inherited_blocks;
  if (last != nullptr) {
    const u64 seen = last->tree.referenced_blocks;
    Task<DeadSums> summing =
        sum_dead(nodes_, commit.dead_root, state->dead, youngest, kForever, youngest, youngest);
    const DeadSums since = co_await ok(std::move(summing));
    kept = seen - since.early;
    state = catalog_->edit_volume_state(id);
  }
  state->last_snapshot = youngest;
  CHECK(state->live.referenced_blocks >= kept);
  state->written_blocks = state->live.referenced_blocks - kept;
  co_return {};
}

// The live tree becomes the snapshot's again. What was born since is freed in the background; what
// died since is alive again, so its entries must go: the slice since then is cut off and handed to
// a job.
Task<> Engine::roll_back(Commit& commit, const RollBack& op) {
  VolumeState* state = catalog_->edit_volume_state(op.dataset);
  const Snapshot* snapshot = catalog_->snapshot_or_gone(op.snapshot);
  CHECK(state != nullptr && snapshot != nullptr);
  const Txg since = snapshot->createtxg;
  Task<DeadSums> summing =
      sum_dead(nodes_, commit.dead_root, state->dead, since, kForever, state->origin_txg, since);
  const DeadSums sums = co_await ok(std::move(summing));
  state = catalog_->edit_volume_state(op.dataset);
  snapshot = catalog_->snapshot_or_gone(op.snapshot);
  // The snapshot's tree lives again but for what of it died since; the rest of the live tree goes.
  const u64 revived = sums.early + sums.middle;
  const u64 born_since = state->live.referenced_blocks + revived - snapshot->tree.referenced_blocks;
  add_job(FreeTree{state->live.root, since, 0}, born_since);
  if (!mutant(Mutant::rollback_keeps_dead_entries)) {
    for (const Slice& slice : clip(state->dead, since, kForever))
      add_job(DropDead{slice, since}, sums.late);
  }
  state->dead = clip(state->dead, Txg{}, since);
  state->dead.push_back(fresh_slice(commit.txg));
  CHECK(state->dead_blocks >= sums.middle + sums.late);
  CHECK(state->inherited_dead_blocks >= sums.early);
  state->dead_blocks -= sums.middle + sums.late;
  state->inherited_dead_blocks -= sums.early;
  state->inherited_blocks += sums.early;
  state->live = snapshot->tree;
  state->written_blocks = 0;
  state->last_snapshot = since;
  commit.changed.push_back(op.dataset);
  co_return {};
}

// The clone takes over its origin and all older snapshots; the old dataset becomes a clone of the
// origin. Which account a shared block is on follows from its birth and death alone, so both are
// summed up anew.
Task<> Engine::promote(Commit& commit, const Promote& op) {
  const Snapshot* origin = catalog_->snapshot_or_gone(op.origin);
  VolumeState* clone = catalog_->edit_volume_state(op.clone);
  VolumeState* old = catalog_->edit_volume_state(op.old_origin_dataset);
  CHECK(origin != nullptr && clone != nullptr && old != nullptr);
  const Txg at = origin->createtxg;   // The origin's group,
  const Txg older = old->origin_txg;  // and the old dataset's own origin's, if it is a clone.
  const u64 origin_blocks = origin->tree.referenced_blocks;
  Task<DeadSums> first = sum_dead(nodes_, commit.dead_root, old->dead, Txg{}, at, older, at);
  const DeadSums before = co_await ok(std::move(first));
  Task<DeadSums> second = sum_dead(nodes_, commit.dead_root, old->dead, at, kForever, older, at);
  const DeadSums since = co_await ok(std::move(second));
  Task<DeadSums> third =
      sum_dead(nodes_, commit.dead_root, clone->dead, Txg{}, kForever, older, at);
  const DeadSums own = co_await ok(std::move(third));

  // From here on nothing is waited for.
  clone = catalog_->edit_volume_state(op.clone);
  old = catalog_->edit_volume_state(op.old_origin_dataset);
  const u64 origin_inherits = old->inherited_blocks + since.early;  // Of its tree, born <= older.
  clone->inherited_blocks = origin_inherits - own.early;
  clone->dead_blocks += before.middle + before.late + own.middle;
  clone->inherited_dead_blocks = before.early + own.early;
  clone->origin_txg = older;
  old->inherited_blocks = origin_blocks - since.early - since.middle;
  old->dead_blocks = since.late;
  old->inherited_dead_blocks = since.early + since.middle;
  old->origin_txg = at;
  const Txg split = mutant(Mutant::promote_moves_too_much) ? next(at) : at;
  std::vector<Slice> moved = clip(old->dead, Txg{}, split);
  clone->dead.insert(clone->dead.begin(), moved.begin(), moved.end());
  old->dead = clip(old->dead, split, kForever);
  if (raw(clone->last_snapshot) == 0) clone->last_snapshot = at;
  const SnapshotId last = catalog_->last_snapshot(op.old_origin_dataset);
  const Snapshot* youngest = catalog_->snapshot(last);
  // If it is younger than what is left, its drop is under way in this group and will see to the
  // accounts.
  const bool none_left = youngest == nullptr || raw(youngest->createtxg) == 0;
  if (none_left && old->last_snapshot == at) old->last_snapshot = Txg{};
  // A prune under way on the old dataset goes on in both halves.
  std::vector<PruneDead> halves;
  for (const u64 id : catalog_->prune_jobs(op.old_origin_dataset)) {
    const PruneDead& prune = std::get<PruneDead>(catalog_->jobs().at(id).work);
    halves.push_back({op.clone, prune.after, prune.upto, {}});
  }
  for (PruneDead& half : halves) add_job(std::move(half), 0);
  co_return {};
}

// A volume that shrinks loses its end in the group that says so, not before: a crash could leave
// the old size. Groups cannot tell what a snapshot of the same group sees from what came after it:
// see Engine::before_shrinking().
Task<> Engine::resize(Commit& commit, const ResizeVolume& op) {
  const VolumeState* before = catalog_->volume_state(op.dataset);
  if (before == nullptr) co_return {};  // Gone in the same transaction.
  commit.changed.push_back(op.dataset);
  if (op.new_bytes >= op.old_bytes) co_return {};
  const BlockRange beyond{divide_up(op.new_bytes, kBlock), divide_up(op.old_bytes, kBlock)};
  const NodePtr root = before->live.root;
  MapEdit edit;
  Task<> planning = plan_map_edit(nodes_, root, std::span(&beyond, 1), {}, edit);
  co_await ok(std::move(planning));
  NodeWriter writer(nodes_, sync_space_, commit.txg);
  std::vector<NodePtr> nodes_dropped;
  Task<NodePtr> merging = merge(nodes_, writer, root, edit.changes, nodes_dropped);
  const NodePtr cut = co_await ok(std::move(merging));
  Task<> finishing = writer.finish();
  co_await ok(std::move(finishing));
  VolumeState* state = catalog_->edit_volume_state(op.dataset);
  CHECK(state->last_snapshot < commit.txg && state->origin_txg < commit.txg);
  state->live.root = cut;
  state->live.logical_blocks -= edit.blocks_dropped;
  state->live.referenced_blocks += writer.blocks_written();
  state->written_blocks += writer.blocks_written();
  for (const Dropped& dropped : edit.dropped) drop(commit, *state, dropped, commit.txg);
  for (const NodePtr& node : nodes_dropped)
    drop(commit, *state, {node.run(), node.birth, true}, commit.txg);
  // Later operations look for what died in the index, and may free what was just written.
  const LaneSpace::Taken taken = sync_space_.report(commit.txg);
  for (const Run& run : taken.used) space_->use(run);
  Task<> settling = merge_dead(commit);
  co_return co_await std::move(settling);
}

void Engine::drop_volume(const DropVolume& op) {
  const VolumeState* state = catalog_->volume_state(op.dataset);
  if (state == nullptr) return;  // A group.
  const u64 own = state->live.referenced_blocks - state->inherited_blocks;
  if (!state->live.root.empty()) add_job(FreeTree{state->live.root, state->origin_txg, 0}, own);
  if (state->dead_blocks + state->inherited_dead_blocks > 0) {
    for (const Slice& slice : state->dead)
      add_job(DropDead{slice, state->origin_txg}, state->dead_blocks);
  }
  for (const u64 moot : catalog_->prune_jobs(op.dataset)) catalog_->erase_job(moot);
  catalog_->erase_volume_state(op.dataset);
}

}  // namespace coppice::pool
