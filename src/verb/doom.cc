#include "verb/doom.h"

#include <algorithm>

#include "base/check.h"
#include "verb/links.h"
#include "verb/names.h"

namespace coppice::verb {

using pool::Dataset;
using pool::DatasetId;
using pool::Snapshot;
using pool::SnapshotId;

namespace {

// Ascending by key(id), then id.
template <class Key>
void sort_by(std::vector<DatasetId>& ids, Key key) {
  if (ids.size() < 2) return;
  std::vector<std::pair<size_t, DatasetId>> keyed;
  keyed.reserve(ids.size());
  for (DatasetId id : ids) keyed.emplace_back(key(id), id);
  std::sort(keyed.begin(), keyed.end());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = keyed[i].second;
}

}  // namespace

void Doom::add(SnapshotId id) {
  if (snapshot_set_.insert(id).second) snapshots_.push_back(id);
}

void Doom::add(DatasetId id) {
  if (dataset_set_.insert(id).second) datasets_.push_back(id);
}

void Doom::add_with_all(DatasetId top) {
  for (DatasetId id : subtree(view_, top)) {
    add(id);
    for (SnapshotId snapshot : view_.snapshots(id)) add(snapshot);
  }
}

void Doom::add_clones() {
  for (size_t i = 0; i < snapshots_.size(); ++i) {  // Grows as clones bring theirs.
    for (DatasetId clone : view_.clones(snapshots_[i])) add_with_all(clone);
  }
}

Attempt<> Doom::check_dataset(DatasetId id) const {
  const Dataset& dataset = *view_.dataset(id);
  const std::string name = full_name(view_, id);
  const Doing doing{doing_.what, name};
  if (id == view_.root()) {
    return refuse(EINVAL, doing, "it is the pool itself; a pool goes with its file");
  }
  std::vector<std::string> left;
  for (SnapshotId snapshot : view_.snapshots(id)) {
    if (!snapshot_set_.contains(snapshot)) left.push_back(full_name(view_, snapshot));
  }
  if (!left.empty()) {
    return refuse(EBUSY, doing, "it has snapshots; use -r (recursive) to destroy them too",
                  listed(std::move(left)));
  }
  if (dataset.type == pool::DatasetType::group) {
    for (DatasetId child : view_.children(id)) {
      if (!dataset_set_.contains(child)) left.push_back(full_name(view_, child));
    }
    if (!left.empty()) {
      return refuse(EEXIST, doing, "it has children; use -r (recursive) to destroy them too",
                    listed(std::move(left)));
    }
    return {};
  }
  if (!dataset.exports.empty() || !context_.facts().exports_of(id).empty()) {
    return refuse(EBUSY, doing, "it is exported; unexport it first");
  }
  if (context_.facts().in_use(id)) {
    return refuse(EBUSY, doing, "it is in use; disconnect its clients first");
  }
  return check_deferred_origin(id);
}

// Its last clone gone, a deferred snapshot goes as well: that must be possible.
Attempt<> Doom::check_deferred_origin(DatasetId id) const {
  const SnapshotId origin = view_.dataset(id)->origin;
  if (raw(origin) == 0 || snapshot_set_.contains(origin)) return {};
  const Snapshot& snapshot = *view_.snapshot(origin);
  if (!snapshot.defer_destroy || !snapshot.holds.empty() || !context_.facts().in_use(origin)) {
    return {};
  }
  for (DatasetId clone : view_.clones(origin)) {
    if (!dataset_set_.contains(clone)) return {};
  }
  const std::string name = full_name(view_, origin);
  return refuse(EBUSY, {doing_.what, name},
                "it would go with its last clone, as was asked before, but it is in use");
}

Attempt<bool> Doom::check_snapshot(SnapshotId id) const {
  const Snapshot& snapshot = *view_.snapshot(id);
  // What goes with its volume cannot go later.
  const bool may_defer = options_.defer && !dataset_set_.contains(snapshot.dataset);
  if (!snapshot.holds.empty()) {
    if (may_defer) return true;
    std::vector<std::string> tags;
    for (const auto& [tag, time_s] : snapshot.holds) tags.push_back(tag);
    const std::string name = full_name(view_, id);
    return refuse(EBUSY, {doing_.what, name},
                  "it is held; release its holds first, or use -d (defer)",
                  listed(std::move(tags)));
  }
  std::vector<std::string> left;
  for (DatasetId clone : view_.clones(id)) {
    if (!dataset_set_.contains(clone)) left.push_back(full_name(view_, clone));
  }
  if (!left.empty()) {
    if (may_defer) return true;
    const std::string name = full_name(view_, id);
    return refuse(EEXIST, {doing_.what, name},
                  "it has clones; use -R (clones) to destroy them too, or -d (defer)",
                  listed(std::move(left)));
  }
  if (context_.facts().in_use(id)) {
    const std::string name = full_name(view_, id);
    return refuse(EBUSY, {doing_.what, name}, "it is in use; disconnect its clients first");
  }
  const std::vector<pool::ExportSpec>& pinned = view_.dataset(snapshot.dataset)->exports;
  bool exported = std::any_of(pinned.begin(), pinned.end(),
                              [id](const auto& spec) { return spec.snapshot == id; });
  for (const RunningExport& each : context_.facts().exports_of(snapshot.dataset)) {
    exported = exported || each.snapshot == id;
  }
  if (exported) {
    const std::string name = full_name(view_, id);
    return refuse(EBUSY, {doing_.what, name}, "it is exported; unexport it first");
  }
  return false;
}

// How many doomed volumes it descends from.
size_t Doom::clone_depth(DatasetId id) {
  std::vector<DatasetId> path;
  size_t depth = 0;
  for (DatasetId at = id;;) {
    if (const auto known = depths_.find(at); known != depths_.end()) {
      depth = known->second;
      break;
    }
    path.push_back(at);
    const SnapshotId origin = view_.dataset(at)->origin;
    if (raw(origin) == 0) break;
    at = view_.snapshot(origin)->dataset;
    if (!dataset_set_.contains(at)) break;
  }
  for (size_t i = path.size(); i-- > 0;) depths_[path[i]] = ++depth;
  return depths_.at(id);
}

Attempt<DoomPlan> Doom::close() {
  if (options_.clones) add_clones();
  for (SnapshotId id : snapshots_) {
    ATTEMPT(const bool deferred, check_snapshot(id));
    if (deferred) {
      if (!view_.snapshot(id)->defer_destroy) plan_.deferred.push_back(id);
      continue;
    }
    const DatasetId owner = view_.snapshot(id)->dataset;
    const bool with_volume = dataset_set_.contains(owner) && is_volume(view_, owner);
    if (!with_volume) plan_.snapshots.push_back(id);
  }
  for (DatasetId id : datasets_) {
    ATTEMPT_VOID(check_dataset(id));
    (is_volume(view_, id) ? plan_.volumes : plan_.groups).push_back(id);
  }
  // Furthest from the origin first.
  sort_by(plan_.volumes, [this](DatasetId id) { return ~clone_depth(id); });
  // Below before above: a longer path first.
  sort_by(plan_.groups, [this](DatasetId id) {
    size_t levels = 0;
    for (; raw(id) != 0; id = view_.dataset(id)->parent) ++levels;
    return ~levels;
  });
  return std::move(plan_);
}

namespace {

void drop_snapshot(Context& context, SnapshotId id, Changes& changes) {
  const Snapshot& snapshot = *context.view().snapshot(id);
  CHECK(snapshot.holds.empty());
  const pool::DropSnapshot op{snapshot.dataset, id, snapshot.createtxg};
  changes.report.destroyed.push_back(full_name(context.view(), id));
  context.transaction().erase_snapshot(id);
  context.transaction().add_tree_op(op);
}

void drop_dataset(Context& context, DatasetId id, Changes& changes) {
  pool::Transaction& transaction = context.transaction();
  const std::string name = full_name(context.view(), id);
  const Dataset& dataset = *context.view().dataset(id);
  const SnapshotId origin = dataset.origin;
  const bool volume = dataset.type == pool::DatasetType::volume;
  for (const std::string& bookmark : context.view().bookmarks(id)) {
    changes.report.destroyed.push_back(name + '#' + bookmark);
    transaction.erase_bookmark(id, bookmark);
  }
  for (SnapshotId snapshot : context.view().snapshots(id)) {
    CHECK(volume);
    drop_snapshot(context, snapshot, changes);
  }
  changes.report.destroyed.push_back(name);
  const pool::PinnedLinks links = dataset.links;
  if (!links.empty()) links_changed(context, id, changes);
  transaction.erase_dataset(id);
  drop_unused_objects(context, links);
  if (volume) transaction.add_tree_op(pool::DropVolume{id});
  if (raw(origin) != 0) drop_if_deferred(context, origin, changes);
}

}  // namespace

void drop_if_deferred(Context& context, SnapshotId id, Changes& changes) {
  const Snapshot* snapshot = context.view().snapshot(id);
  if (snapshot == nullptr || !snapshot->defer_destroy || !snapshot->holds.empty()) return;
  if (context.view().clones(id).empty()) drop_snapshot(context, id, changes);
}

void apply_doom(Context& context, DoomPlan plan, Changes& changes) {
  pool::Transaction& transaction = context.transaction();
  for (const DoomPlan::Mark& mark : plan.bookmarks) {
    if (context.view().bookmark(mark.dataset, mark.name) == nullptr) continue;  // Named twice.
    transaction.erase_bookmark(mark.dataset, mark.name);
    changes.report.destroyed.push_back(full_name(context.view(), mark.dataset) + '#' + mark.name);
  }
  for (DatasetId id : plan.volumes) drop_dataset(context, id, changes);
  for (SnapshotId id : plan.snapshots) {
    // A deferred one may have gone with its clone.
    if (context.view().snapshot(id) != nullptr) drop_snapshot(context, id, changes);
  }
  for (DatasetId id : plan.groups) drop_dataset(context, id, changes);
  for (SnapshotId id : plan.deferred) {
    const Snapshot* snapshot = context.view().snapshot(id);
    CHECK(snapshot != nullptr);
    Snapshot marked = *snapshot;
    marked.defer_destroy = true;
    transaction.edit_snapshot(id, std::move(marked));
    changes.report.deferred.push_back(full_name(context.view(), id));
    drop_if_deferred(context, id, changes);  // Its last clone may have gone in this very plan.
  }
}

}  // namespace coppice::verb
