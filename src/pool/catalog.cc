#include "pool/catalog.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "pool/catalog_state.h"

namespace coppice::pool {
namespace {

template <class Map>
auto* pointer_to(Map& map, const typename Map::key_type& key) {
  const auto place = map.find(key);
  return place != map.end() ? &place->second : nullptr;
}

}  // namespace

// Enough to be unlike every other: the pool's own guid, stirred with an id that is never used
// again.
u64 Catalog::State::new_guid(u64 id) const {
  u64 mixed = guid_seed + id * 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  mixed ^= mixed >> 31;
  return mixed != 0 ? mixed : 1;
}

Catalog::Catalog() : state_(std::make_unique<State>()) {}
Catalog::~Catalog() {
  if (state_) CHECK(state_->open == nullptr);
}

std::unique_ptr<Catalog> Catalog::make(std::string pool_name, u64 guid, u64 now_s) {
  CHECK(!pool_name.empty());
  auto catalog = std::make_unique<Catalog>();
  State& state = *catalog->state_;
  Dataset root;
  root.id = DatasetId(state.header.next_id++);
  root.name = std::move(pool_name);
  root.creation_s = now_s;
  root.guid = guid != 0 ? guid : 1;
  state.header.root = root.id;
  state.guid_seed = root.guid;
  state.touch(Table::dataset, raw(root.id));
  state.uncommitted.datasets.push_back(root.id);
  state.datasets.emplace(root.id, std::move(root));
  return catalog;
}

std::unique_ptr<Transaction> Catalog::begin() {
  CHECK(state_->open == nullptr);
  std::unique_ptr<Transaction> transaction(new Transaction(*this));
  state_->open = transaction->state_.get();
  return transaction;
}

void Catalog::accept(std::unique_ptr<Transaction> transaction) {
  CHECK(transaction != nullptr && state_->open == transaction->state_.get());
  Transaction::State& changes = *transaction->state_;
  State& base = *state_;
  for (TreeOp& op : changes.ops) {
    // The snapshot may have been committed after the operation was queued.
    if (auto* drop = std::get_if<DropSnapshot>(&op); drop != nullptr && raw(drop->createtxg) == 0) {
      if (const Snapshot* known = snapshot(drop->snapshot)) drop->createtxg = known->createtxg;
    }
    // Taken and dropped in this transaction: it never was in the catalog.
    if (const auto* take = std::get_if<TakeSnapshot>(&op);
        take != nullptr && changes.snapshot(take->snapshot) == nullptr) {
      Snapshot& passing = base.gone[take->snapshot];
      passing.id = take->snapshot;
      passing.dataset = take->dataset;
    }
    base.ops.push_back(std::move(op));
  }

  for (const auto& [key, id] : changes.names) {
    if (const auto old = base.names.find(NameView(key)); old != base.names.end()) {
      base.names.erase(old);
    }
  }
  for (auto& [id, record] : changes.datasets) {
    base.touch(Table::dataset, raw(id));
    const Dataset* before = dataset(id);
    base.touch_links(id, before != nullptr ? before->links : PinnedLinks(),
                     record ? record->links : PinnedLinks());
    if (record) {
      if (raw(record->createtxg) == 0) base.uncommitted.datasets.push_back(id);
      base.datasets.insert_or_assign(id, *std::move(record));
    } else {
      base.datasets.erase(id);
    }
  }
  for (auto& [id, record] : changes.snapshots) {
    base.touch(Table::snapshot, raw(id));
    if (record) {
      base.snapshots.insert_or_assign(id, *std::move(record));
    } else if (auto dropped = base.snapshots.extract(id); !dropped.empty()) {
      base.gone.insert_or_assign(id, std::move(dropped.mapped()));
    }
  }
  for (const auto& [key, id] : changes.names) {
    if (raw(id) == 0) continue;
    const bool added = base.names.insert(&base.snapshots.at(id)).second;
    CHECK(added);
  }
  for (const auto& [id, more] : changes.counts) {
    const u64 count = base.counts[id] += static_cast<u64>(more);
    if (count == 0) base.counts.erase(id);
  }
  changes.bookmarks.each_change([&base](const NameKey& key) {
    base.touch(Table::bookmark, key.owner, key.name);
    base.uncommitted.bookmarks.emplace_back(DatasetId(key.owner), key.name);
  });
  changes.objects.each_change(
      [&base](const std::string& hash) { base.touch(Table::object, 0, hash); });
  changes.objects.apply_to(base.objects);
  changes.link_names.apply_to(base.link_names);
  changes.uses.apply_to(base.uses);
  changes.bookmarks.apply_to(base.bookmarks);
  changes.children.apply_to(base.children);
  changes.order.apply_to(base.order);
  changes.clones.apply_to(base.clones);
}

Catalog::Uncommitted Catalog::take_uncommitted() {
  Uncommitted taken = std::exchange(state_->uncommitted, {});
  const auto settled = [](const auto* record) {
    return record == nullptr || raw(record->createtxg) != 0;
  };
  std::sort(taken.datasets.begin(), taken.datasets.end());
  taken.datasets.erase(std::unique(taken.datasets.begin(), taken.datasets.end()),
                       taken.datasets.end());
  std::erase_if(taken.datasets, [&](DatasetId id) { return settled(dataset(id)); });
  std::sort(taken.bookmarks.begin(), taken.bookmarks.end());
  taken.bookmarks.erase(std::unique(taken.bookmarks.begin(), taken.bookmarks.end()),
                        taken.bookmarks.end());
  std::erase_if(taken.bookmarks,
                [&](const auto& each) { return settled(bookmark(each.first, each.second)); });
  return taken;
}

std::vector<TreeOp> Catalog::take_tree_ops() { return std::exchange(state_->ops, {}); }

VolumeState* Catalog::edit_volume_state(DatasetId id) {
  VolumeState* state = pointer_to(state_->volumes, id);
  if (state != nullptr) state_->touch(Table::volume_state, raw(id));
  return state;
}

void Catalog::put_volume_state(DatasetId id, VolumeState state) {
  CHECK(raw(id) != 0);
  state_->volumes.insert_or_assign(id, std::move(state));
  state_->touch(Table::volume_state, raw(id));
}

void Catalog::erase_volume_state(DatasetId id) {
  if (state_->volumes.erase(id) > 0) state_->touch(Table::volume_state, raw(id));
}

void Catalog::commit_dataset(DatasetId id, Txg createtxg) {
  CHECK(raw(createtxg) != 0);
  Dataset* dataset = pointer_to(state_->datasets, id);
  if (dataset == nullptr || raw(dataset->createtxg) != 0) return;
  dataset->createtxg = createtxg;
  state_->touch(Table::dataset, raw(id));
  if (state_->open == nullptr) return;
  if (auto* copy = pointer_to(state_->open->datasets, id); copy != nullptr && *copy) {
    state_->open->refresh(**copy);
  }
}

void Catalog::commit_bookmark(DatasetId id, std::string_view name, Txg createtxg) {
  const auto place = state_->bookmarks.find(NameView{raw(id), name});
  if (place == state_->bookmarks.end() || raw(place->second.createtxg) != 0) return;
  place->second.createtxg = createtxg;
  state_->touch(Table::bookmark, raw(id), std::string(name));
}

void Catalog::commit_snapshot(SnapshotId id, Txg createtxg, const TreeState& tree,
                              u64 written_blocks) {
  CHECK(raw(createtxg) != 0);
  Snapshot* snapshot = pointer_to(state_->snapshots, id);
  if (snapshot == nullptr) snapshot = pointer_to(state_->gone, id);
  if (snapshot == nullptr) return;
  CHECK(raw(snapshot->createtxg) == 0);
  snapshot->createtxg = createtxg;
  snapshot->tree = tree;
  set_snapshot_written(id, written_blocks);
}

void Catalog::set_snapshot_written(SnapshotId id, u64 written_blocks) {
  Snapshot* snapshot = pointer_to(state_->snapshots, id);
  if (snapshot == nullptr) return;
  snapshot->written_blocks = written_blocks;
  state_->touch(Table::snapshot, raw(id));
  if (state_->open == nullptr) return;
  if (auto* copy = pointer_to(state_->open->snapshots, id); copy != nullptr && *copy) {
    state_->open->refresh(**copy);
  }
}

u64 Catalog::next_id() { return state_->header.next_id++; }

const std::map<u64, Job>& Catalog::jobs() const { return state_->jobs; }

std::vector<u64> Catalog::prune_jobs(DatasetId dataset) const {
  std::vector<u64> ids;
  for (auto at = state_->prunes.lower_bound({dataset, 0});
       at != state_->prunes.end() && at->first == dataset; ++at)
    ids.push_back(at->second);
  return ids;
}

void Catalog::State::keep_job(Job job) {
  const u64 id = job.id;
  if (const auto* prune = std::get_if<PruneDead>(&job.work)) prunes.emplace(prune->dataset, id);
  jobs.insert_or_assign(id, std::move(job));
}

void Catalog::put_job(Job job) {
  CHECK(job.id != 0);
  state_->touch(Table::job, job.id);
  state_->keep_job(std::move(job));
}

void Catalog::erase_job(u64 id) {
  const auto place = state_->jobs.find(id);
  if (place == state_->jobs.end()) return;
  if (const auto* prune = std::get_if<PruneDead>(&place->second.work))
    state_->prunes.erase({prune->dataset, id});
  state_->jobs.erase(place);
  state_->touch(Table::job, id);
}

void Catalog::add_history(HistoryRecord record) {
  record.sequence = state_->header.history_next++;
  state_->history.push_back(std::move(record));
}

u64 Catalog::history_next() const { return state_->header.history_next; }

std::optional<std::string> Catalog::value(std::string_view name) const {
  const auto place = state_->values.find(name);
  if (place == state_->values.end()) return std::nullopt;
  return place->second;
}

void Catalog::set_value(std::string_view name, std::optional<std::string> value) {
  CHECK(!name.empty() && name.size() <= kComponentBytesMax);
  state_->touch(Table::value, 0, std::string(name));
  if (value) {
    state_->values.insert_or_assign(std::string(name), *std::move(value));
  } else if (const auto place = state_->values.find(name); place != state_->values.end()) {
    state_->values.erase(place);
  }
}

const Dataset* Catalog::dataset(DatasetId id) const { return pointer_to(state_->datasets, id); }
const Snapshot* Catalog::snapshot(SnapshotId id) const { return pointer_to(state_->snapshots, id); }
const Snapshot* Catalog::snapshot_or_gone(SnapshotId id) const {
  const Snapshot* here = snapshot(id);
  return here != nullptr ? here : pointer_to(state_->gone, id);
}
const VolumeState* Catalog::volume_state(DatasetId id) const {
  return pointer_to(state_->volumes, id);
}
DatasetId Catalog::root() const { return state_->header.root; }

DatasetId Catalog::child(DatasetId parent, std::string_view name) const {
  const auto place = state_->children.find(NameView{raw(parent), name});
  return place != state_->children.end() ? place->second : DatasetId{};
}

SnapshotId Catalog::snapshot_named(DatasetId dataset, std::string_view name) const {
  const auto place = state_->names.find(NameView{raw(dataset), name});
  return place != state_->names.end() ? (*place)->id : SnapshotId{};
}

const Bookmark* Catalog::bookmark(DatasetId dataset, std::string_view name) const {
  const auto place = state_->bookmarks.find(NameView{raw(dataset), name});
  return place != state_->bookmarks.end() ? &place->second : nullptr;
}

std::vector<DatasetId> Catalog::children(DatasetId parent) const {
  std::vector<DatasetId> ids;
  auto place = state_->children.lower_bound(NameView{raw(parent), {}});
  for (; place != state_->children.end() && place->first.owner == raw(parent); ++place) {
    ids.push_back(place->second);
  }
  return ids;
}

std::vector<SnapshotId> Catalog::snapshots(DatasetId dataset) const {
  std::vector<SnapshotId> ids;
  ids.reserve(snapshot_count(dataset));
  auto place = state_->order.lower_bound(Link{raw(dataset), 0});
  for (; place != state_->order.end() && place->first.owner == raw(dataset); ++place) {
    ids.push_back(SnapshotId(place->first.child));
  }
  return ids;
}

std::vector<std::string> Catalog::bookmarks(DatasetId dataset) const {
  std::vector<std::string> names;
  auto place = state_->bookmarks.lower_bound(NameView{raw(dataset), {}});
  for (; place != state_->bookmarks.end() && place->first.owner == raw(dataset); ++place) {
    names.push_back(place->first.name);
  }
  return names;
}

std::vector<DatasetId> Catalog::clones(SnapshotId origin) const {
  std::vector<DatasetId> ids;
  auto place = state_->clones.lower_bound(Link{raw(origin), 0});
  for (; place != state_->clones.end() && place->first.owner == raw(origin); ++place) {
    ids.push_back(DatasetId(place->first.child));
  }
  return ids;
}

SnapshotId Catalog::last_snapshot(DatasetId dataset) const {
  auto place = state_->order.lower_bound(Link{raw(dataset) + 1, 0});
  if (place == state_->order.begin()) return {};
  --place;
  return place->first.owner == raw(dataset) ? SnapshotId(place->first.child) : SnapshotId{};
}

SnapshotId Catalog::before(SnapshotId id) const {
  const Snapshot* of = snapshot(id);
  if (of == nullptr) return {};
  auto place = state_->order.find(Link{raw(of->dataset), raw(id)});
  if (place == state_->order.begin()) return {};
  --place;
  return place->first.owner == raw(of->dataset) ? SnapshotId(place->first.child) : SnapshotId{};
}

SnapshotId Catalog::after(SnapshotId id) const {
  const Snapshot* of = snapshot(id);
  if (of == nullptr) return {};
  const auto place = state_->order.upper_bound(Link{raw(of->dataset), raw(id)});
  const bool found = place != state_->order.end() && place->first.owner == raw(of->dataset);
  return found ? SnapshotId(place->first.child) : SnapshotId{};
}

size_t Catalog::snapshot_count(DatasetId dataset) const {
  const size_t* count = pointer_to(state_->counts, dataset);
  return count != nullptr ? *count : 0;
}

}  // namespace coppice::pool
