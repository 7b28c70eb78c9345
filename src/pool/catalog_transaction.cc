// Transactions: a private overlay of the catalog, its savepoints, and names for people.
#include <utility>

#include "base/check.h"
#include "pool/catalog_state.h"

namespace coppice::pool {

// --- The overlay ---

const Dataset* Transaction::State::dataset(DatasetId id) const {
  if (const auto mine = datasets.find(id); mine != datasets.end()) {
    return mine->second ? &*mine->second : nullptr;
  }
  const auto place = base.datasets.find(id);
  return place != base.datasets.end() ? &place->second : nullptr;
}

const Snapshot* Transaction::State::snapshot(SnapshotId id) const {
  if (const auto mine = snapshots.find(id); mine != snapshots.end()) {
    return mine->second ? &*mine->second : nullptr;
  }
  const auto place = base.snapshots.find(id);
  return place != base.snapshots.end() ? &place->second : nullptr;
}

void Transaction::State::refresh(Dataset& dataset) const {
  const auto place = base.datasets.find(dataset.id);
  if (place != base.datasets.end()) dataset.createtxg = place->second.createtxg;
}

void Transaction::State::refresh(Snapshot& snapshot) const {
  const auto place = base.snapshots.find(snapshot.id);
  if (place == base.snapshots.end()) return;
  snapshot.createtxg = place->second.createtxg;
  snapshot.tree = place->second.tree;
  snapshot.written_blocks = place->second.written_blocks;
}

void Transaction::State::refresh(Bookmark& bookmark) const {
  const auto place = base.bookmarks.find(NameView{raw(bookmark.dataset), bookmark.name});
  if (place != base.bookmarks.end() && place->second.guid == bookmark.guid &&
      raw(bookmark.createtxg) == 0) {
    bookmark.createtxg = place->second.createtxg;
  }
}

void Transaction::State::reindex(DatasetId id, const Dataset* before, const Dataset* after) {
  const bool same_place = before != nullptr && after != nullptr &&
                          before->parent == after->parent && before->name == after->name;
  // The root dataset has no parent, and so no place among children.
  if (before != nullptr && !same_place && raw(before->parent) != 0) {
    children.erase(NameView{raw(before->parent), before->name});
  }
  if (after != nullptr && !same_place && raw(after->parent) != 0) {
    children.insert(NameKey{raw(after->parent), after->name}, id);
  }
  static const PinnedLinks kNone;
  reindex_links(id, before != nullptr ? before->links : kNone,
                after != nullptr ? after->links : kNone);
  const SnapshotId old_origin = before != nullptr ? before->origin : SnapshotId{};
  const SnapshotId new_origin = after != nullptr ? after->origin : SnapshotId{};
  if (old_origin == new_origin) return;
  if (raw(old_origin) != 0) clones.erase(Link{raw(old_origin), raw(id)});
  if (raw(new_origin) != 0) clones.insert(Link{raw(new_origin), raw(id)}, Nothing{});
}

void Transaction::State::reindex(SnapshotId id, const Snapshot* before, const Snapshot* after) {
  const bool same_dataset =
      before != nullptr && after != nullptr && before->dataset == after->dataset;
  if (before != nullptr && !(same_dataset && before->name == after->name)) {
    names.insert_or_assign(NameKey{raw(before->dataset), before->name}, SnapshotId{});
  }
  if (after != nullptr && !(same_dataset && before->name == after->name)) {
    names.insert_or_assign(NameKey{raw(after->dataset), after->name}, id);
  }
  if (same_dataset) return;
  if (before != nullptr) {
    order.erase(Link{raw(before->dataset), raw(id)});
    --counts[before->dataset];
  }
  if (after != nullptr) {
    order.insert(Link{raw(after->dataset), raw(id)}, Nothing{});
    ++counts[after->dataset];
  }
}

void Transaction::State::change(DatasetId id, std::optional<Dataset> after) {
  const Dataset* before = dataset(id);
  const auto mine = datasets.find(id);
  UndoRecord<DatasetId, Dataset> back{id, mine != datasets.end(), {}};
  if (back.overlaid) back.before = mine->second;
  if (after) refresh(*after);
  reindex(id, before, after ? &*after : nullptr);
  undo.emplace_back(std::move(back));
  datasets.insert_or_assign(id, std::move(after));
}

void Transaction::State::change(SnapshotId id, std::optional<Snapshot> after) {
  const Snapshot* before = snapshot(id);
  const auto mine = snapshots.find(id);
  UndoRecord<SnapshotId, Snapshot> back{id, mine != snapshots.end(), {}};
  if (back.overlaid) back.before = mine->second;
  if (after) refresh(*after);
  reindex(id, before, after ? &*after : nullptr);
  undo.emplace_back(std::move(back));
  snapshots.insert_or_assign(id, std::move(after));
}

void Transaction::State::undo_last() {
  Undo last = std::move(undo.back());
  undo.pop_back();
  const auto restore = [this](auto& overlay, const auto& base_table, auto& back, const auto* now) {
    if (back.overlaid) {
      if (back.before) refresh(*back.before);
      reindex(back.id, now, back.before ? &*back.before : nullptr);
      overlay.insert_or_assign(back.id, std::move(back.before));
      return;
    }
    const auto place = base_table.find(back.id);
    reindex(back.id, now, place != base_table.end() ? &place->second : nullptr);
    overlay.erase(back.id);
  };
  if (auto* of_dataset = std::get_if<UndoRecord<DatasetId, Dataset>>(&last)) {
    restore(datasets, base.datasets, *of_dataset, dataset(of_dataset->id));
  } else if (auto* of_snapshot = std::get_if<UndoRecord<SnapshotId, Snapshot>>(&last)) {
    restore(snapshots, base.snapshots, *of_snapshot, snapshot(of_snapshot->id));
  } else if (auto* of_bookmark = std::get_if<UndoBookmark>(&last)) {
    if (bookmarks.find(of_bookmark->key) != nullptr) bookmarks.erase(of_bookmark->key);
    if (of_bookmark->before) {
      refresh(*of_bookmark->before);
      bookmarks.insert(std::move(of_bookmark->key), *std::move(of_bookmark->before));
    }
  } else if (auto* of_object = std::get_if<UndoObject>(&last)) {
    if (objects.find(of_object->hash) != nullptr) objects.erase(of_object->hash);
    if (of_object->before)
      objects.insert(std::move(of_object->hash), *std::move(of_object->before));
  } else {
    CHECK(!ops.empty());
    ops.pop_back();
  }
}

// --- Edits ---

Transaction::Transaction(Catalog& catalog) : state_(std::make_unique<State>(*catalog.state_)) {}
Transaction::~Transaction() {
  CHECK(state_->base.open == state_.get());
  state_->base.open = nullptr;
}

size_t Transaction::savepoint() const { return state_->undo.size(); }

void Transaction::roll_back_to(size_t savepoint) {
  CHECK(savepoint <= state_->undo.size());
  while (state_->undo.size() > savepoint) state_->undo_last();
}

DatasetId Transaction::new_dataset(Dataset dataset) {
  CHECK(raw(dataset.id) == 0 && state_->dataset(dataset.parent) != nullptr);
  CHECK(!dataset.name.empty() && raw(child(dataset.parent, dataset.name)) == 0);
  const u64 id = state_->base.header.next_id++;
  CHECK(dataset.links.empty());  // They come once the dataset is there.
  dataset.id = DatasetId(id);
  dataset.createtxg = Txg{};
  if (dataset.guid == 0) dataset.guid = state_->base.new_guid(id);
  state_->change(DatasetId(id), std::move(dataset));
  return DatasetId(id);
}

SnapshotId Transaction::new_snapshot(Snapshot snapshot) {
  CHECK(raw(snapshot.id) == 0 && state_->dataset(snapshot.dataset) != nullptr);
  CHECK(!snapshot.name.empty() && raw(snapshot_named(snapshot.dataset, snapshot.name)) == 0);
  const u64 id = state_->base.header.next_id++;
  snapshot.id = SnapshotId(id);
  snapshot.createtxg = Txg{};
  if (snapshot.guid == 0) snapshot.guid = state_->base.new_guid(id);
  state_->change(SnapshotId(id), std::move(snapshot));
  return SnapshotId(id);
}

void Transaction::edit_dataset(DatasetId id, Dataset changed) {
  const Dataset* now = state_->dataset(id);
  CHECK(now != nullptr && changed.id == id);
  CHECK(changed.links == now->links || well_formed(changed.links));
  if (now->parent != changed.parent || now->name != changed.name) {
    CHECK(id == root() || raw(child(changed.parent, changed.name)) == 0);
  }
  state_->change(id, std::move(changed));
}

void Transaction::edit_snapshot(SnapshotId id, Snapshot changed) {
  const Snapshot* now = state_->snapshot(id);
  CHECK(now != nullptr && changed.id == id);
  if (now->dataset != changed.dataset || now->name != changed.name) {
    CHECK(raw(snapshot_named(changed.dataset, changed.name)) == 0);
  }
  state_->change(id, std::move(changed));
}

void Transaction::erase_dataset(DatasetId id) {
  CHECK(id != root() && state_->dataset(id) != nullptr);
  CHECK(snapshot_count(id) == 0);
  state_->children.each(NameView{raw(id), {}}, [id](auto item) {
    CHECK(item->first.owner != raw(id));
    return false;
  });
  state_->change(id, std::nullopt);
}

void Transaction::erase_snapshot(SnapshotId id) {
  CHECK(state_->snapshot(id) != nullptr);
  state_->change(id, std::nullopt);
}

void Transaction::put_bookmark(Bookmark bookmark) {
  CHECK(state_->dataset(bookmark.dataset) != nullptr && !bookmark.name.empty());
  NameKey key{raw(bookmark.dataset), bookmark.name};
  State::UndoBookmark back{key, {}};
  if (const auto* now = state_->bookmarks.find(key)) {
    back.before = now->second;
    state_->bookmarks.erase(key);
  }
  state_->undo.emplace_back(std::move(back));
  state_->bookmarks.insert(std::move(key), std::move(bookmark));
}

void Transaction::erase_bookmark(DatasetId dataset, std::string_view name) {
  const auto* now = state_->bookmarks.find(NameView{raw(dataset), name});
  CHECK(now != nullptr);
  state_->undo.emplace_back(State::UndoBookmark{now->first, now->second});
  state_->bookmarks.erase(NameView{raw(dataset), name});
}

void Transaction::add_tree_op(TreeOp op) {
  state_->undo.emplace_back(State::UndoOp{});
  state_->ops.push_back(std::move(op));
}

const std::vector<TreeOp>& Transaction::tree_ops() const { return state_->ops; }
bool Transaction::empty() const { return state_->undo.empty(); }

void Transaction::each_changed_dataset(size_t since,
                                       const std::function<void(DatasetId)>& visit) const {
  for (size_t i = since; i < state_->undo.size(); ++i) {
    const State::Undo& each = state_->undo[i];
    if (const auto* dataset = std::get_if<State::UndoRecord<DatasetId, Dataset>>(&each)) {
      visit(dataset->id);
      continue;
    }
    const auto* changed = std::get_if<State::UndoRecord<SnapshotId, Snapshot>>(&each);
    if (changed == nullptr) continue;
    const auto stored = state_->base.snapshots.find(changed->id);
    if (changed->before) {
      visit(changed->before->dataset);
    } else if (!changed->overlaid && stored != state_->base.snapshots.end()) {
      visit(stored->second.dataset);
    }
    if (const Snapshot* now = snapshot(changed->id)) visit(now->dataset);
  }
}

// --- The view ---

const Dataset* Transaction::dataset(DatasetId id) const { return state_->dataset(id); }
const Snapshot* Transaction::snapshot(SnapshotId id) const { return state_->snapshot(id); }
const VolumeState* Transaction::volume_state(DatasetId id) const {
  const auto place = state_->base.volumes.find(id);
  return place != state_->base.volumes.end() ? &place->second : nullptr;
}
DatasetId Transaction::root() const { return state_->base.header.root; }

DatasetId Transaction::child(DatasetId parent, std::string_view name) const {
  const auto* item = state_->children.find(NameView{raw(parent), name});
  return item != nullptr ? item->second : DatasetId{};
}

SnapshotId Transaction::snapshot_named(DatasetId dataset, std::string_view name) const {
  const NameView key{raw(dataset), name};
  if (const auto mine = state_->names.find(key); mine != state_->names.end()) return mine->second;
  const auto place = state_->base.names.find(key);
  return place != state_->base.names.end() ? (*place)->id : SnapshotId{};
}

const Bookmark* Transaction::bookmark(DatasetId dataset, std::string_view name) const {
  const auto* item = state_->bookmarks.find(NameView{raw(dataset), name});
  return item != nullptr ? &item->second : nullptr;
}

std::vector<DatasetId> Transaction::children(DatasetId parent) const {
  std::vector<DatasetId> ids;
  state_->children.each(NameView{raw(parent), {}}, [&](auto item) {
    if (item->first.owner != raw(parent)) return false;
    ids.push_back(item->second);
    return true;
  });
  return ids;
}

std::vector<SnapshotId> Transaction::snapshots(DatasetId dataset) const {
  std::vector<SnapshotId> ids;
  ids.reserve(snapshot_count(dataset));
  state_->order.each(Link{raw(dataset), 0}, [&](auto item) {
    if (item->first.owner != raw(dataset)) return false;
    ids.push_back(SnapshotId(item->first.child));
    return true;
  });
  return ids;
}

std::vector<std::string> Transaction::bookmarks(DatasetId dataset) const {
  std::vector<std::string> names;
  state_->bookmarks.each(NameView{raw(dataset), {}}, [&](auto item) {
    if (item->first.owner != raw(dataset)) return false;
    names.push_back(item->first.name);
    return true;
  });
  return names;
}

std::vector<DatasetId> Transaction::clones(SnapshotId origin) const {
  std::vector<DatasetId> ids;
  state_->clones.each(Link{raw(origin), 0}, [&](auto item) {
    if (item->first.owner != raw(origin)) return false;
    ids.push_back(DatasetId(item->first.child));
    return true;
  });
  return ids;
}

SnapshotId Transaction::last_snapshot(DatasetId dataset) const {
  const auto* item = state_->order.below(Link{raw(dataset) + 1, 0});
  const bool found = item != nullptr && item->first.owner == raw(dataset);
  return found ? SnapshotId(item->first.child) : SnapshotId{};
}

SnapshotId Transaction::before(SnapshotId id) const {
  const Snapshot* of = state_->snapshot(id);
  if (of == nullptr) return {};
  const auto* item = state_->order.below(Link{raw(of->dataset), raw(id)});
  const bool found = item != nullptr && item->first.owner == raw(of->dataset);
  return found ? SnapshotId(item->first.child) : SnapshotId{};
}

SnapshotId Transaction::after(SnapshotId id) const {
  const Snapshot* of = state_->snapshot(id);
  SnapshotId found{};
  if (of == nullptr) return found;
  state_->order.each(Link{raw(of->dataset), raw(id) + 1}, [&](auto item) {
    if (item->first.owner == raw(of->dataset)) found = SnapshotId(item->first.child);
    return false;
  });
  return found;
}

size_t Transaction::snapshot_count(DatasetId dataset) const {
  const auto base = state_->base.counts.find(dataset);
  const auto mine = state_->counts.find(dataset);
  const size_t count = base != state_->base.counts.end() ? base->second : 0;
  return mine != state_->counts.end() ? count + static_cast<u64>(mine->second) : count;
}

// --- Names ---

std::string full_name(const CatalogView& view, DatasetId id) {
  std::vector<const std::string*> names;
  size_t length = 0;
  for (const Dataset* at = view.dataset(id); at != nullptr; at = view.dataset(at->parent)) {
    names.push_back(&at->name);
    length += at->name.size() + 1;
  }
  std::string full;
  full.reserve(length);
  for (size_t i = names.size(); i-- > 0;) {
    if (!full.empty()) full += '/';
    full += *names[i];
  }
  return full;
}

std::string full_name(const CatalogView& view, SnapshotId id) {
  const Snapshot* snapshot = view.snapshot(id);
  return snapshot != nullptr ? full_name(view, snapshot->dataset) + '@' + snapshot->name : "";
}

DatasetId find_dataset(const CatalogView& view, std::string_view path) {
  size_t slash = path.find('/');
  const Dataset* root = view.dataset(view.root());
  CHECK(root != nullptr);
  if (path.substr(0, slash) != root->name) return {};
  DatasetId id = view.root();
  while (slash != std::string_view::npos && raw(id) != 0) {
    path.remove_prefix(slash + 1);
    slash = path.find('/');
    id = view.child(id, path.substr(0, slash));
  }
  return id;
}

SnapshotId find_snapshot(const CatalogView& view, std::string_view path) {
  const size_t at = path.find('@');
  if (at == std::string_view::npos) return {};
  const DatasetId dataset = find_dataset(view, path.substr(0, at));
  return raw(dataset) != 0 ? view.snapshot_named(dataset, path.substr(at + 1)) : SnapshotId{};
}

}  // namespace coppice::pool
