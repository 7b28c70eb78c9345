// The catalog on its way to and from storage.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "pool/catalog_state.h"

namespace coppice::pool {
namespace {

std::unexpected<Error> contradiction(std::string what) {
  return fail(Errc::corrupt, "load the catalog", std::move(what));
}

std::string number(u64 id) { return std::to_string(id); }

// Fails if following `next` from any id of `ids` runs in a circle. next(id) is 0 at an end.
template <class Id, class Next>
bool has_circle(const std::vector<Id>& ids, Next next) {
  std::unordered_map<Id, size_t> walked;  // By the walk that came by first.
  size_t walk = 0;
  for (Id start : ids) {
    ++walk;
    for (Id id = start; raw(id) != 0; id = next(id)) {
      const auto [place, fresh] = walked.try_emplace(id, walk);
      if (fresh) continue;
      if (place->second == walk) return true;
      break;
    }
  }
  return false;
}

}  // namespace

Result<> Catalog::load(std::string_view key, std::string_view value) {
  if (!key.empty() && static_cast<u8>(key[0]) >= static_cast<u8>(Table::history)) {
    return contradiction("the history is not for loading");
  }
  TRY(auto record, state_->assembler.feed(key, value));
  if (!record) return {};
  return state_->add_loaded(*std::move(record));
}

Result<> Catalog::State::add_loaded(RecordAssembler::Record record) {
  const u64 id = record.id;
  if (record.parts > 1) {
    parts.emplace(record_key(record.table, id, record.name), record.parts);
  }
  const bool named = record.table == Table::bookmark || record.table == Table::value ||
                     record.table == Table::contents || record.table == Table::object;
  if (named == record.name.empty()) return contradiction("a key has the wrong form");
  switch (record.table) {
    case Table::header: {
      if (id != 0) return contradiction("a key has the wrong form");
      TRY(const CatalogHeader decoded, decode_header(record.bytes));
      header = decoded;
      stored_header = decoded;
      return {};
    }
    case Table::dataset: {
      TRY(Dataset dataset, decode_dataset(id, record.bytes));
      if (raw(dataset.parent) != 0 &&
          !children.emplace(NameKey{raw(dataset.parent), dataset.name}, dataset.id).second) {
        return contradiction("two datasets share the name " + dataset.name);
      }
      if (raw(dataset.origin) != 0) clones.emplace(Link{raw(dataset.origin), id}, Nothing{});
      datasets.emplace(dataset.id, std::move(dataset));
      return {};
    }
    case Table::volume_state: {
      TRY(VolumeState volume, decode_volume_state(record.bytes));
      volumes.emplace(DatasetId(id), std::move(volume));
      return {};
    }
    case Table::snapshot: {
      TRY(Snapshot snapshot, decode_snapshot(id, record.bytes));
      const DatasetId owner = snapshot.dataset;
      const auto [place, fresh] = snapshots.emplace(snapshot.id, std::move(snapshot));
      if (!fresh || !names.insert(&place->second).second) {
        return contradiction("two snapshots share the name " + place->second.name);
      }
      order.emplace_hint(order.end(), Link{raw(owner), id}, Nothing{});
      ++counts[owner];
      return {};
    }
    case Table::bookmark: {
      TRY(Bookmark bookmark, decode_bookmark(id, record.name, record.bytes));
      bookmarks.emplace(NameKey{id, record.name}, std::move(bookmark));
      return {};
    }
    case Table::job: {
      TRY(Job job, decode_job(id, record.bytes));
      keep_job(std::move(job));
      return {};
    }
    case Table::value: {
      if (id != 0) return contradiction("a key has the wrong form");
      values.emplace(record.name, std::move(record.bytes));
      return {};
    }
    case Table::links: {
      TRY(PinnedLinks links, decode_links(record.bytes));
      return add_loaded_links(DatasetId(id), std::move(links));
    }
    case Table::contents: {
      TRY(MapContents contents, decode_contents(record.bytes));
      return add_loaded_contents(DatasetId(id), record.name, std::move(contents));
    }
    case Table::object: {
      if (id != 0) return contradiction("a key has the wrong form");
      TRY(StoredObject object, decode_object(record.name, record.bytes));
      objects.emplace(record.name, std::move(object));
      return {};
    }
    case Table::history: break;
  }
  return contradiction("a record belongs to no known table");
}

Result<> Catalog::finish_load() {
  State& state = *state_;
  TRY_VOID(state.assembler.finish());
  const CatalogHeader& header = state.header;
  const Dataset* root = dataset(header.root);
  if (root == nullptr || raw(root->parent) != 0 || root->type != DatasetType::group) {
    return contradiction("the root dataset is missing");
  }
  state.guid_seed = root->guid;

  std::vector<DatasetId> ids;
  for (const auto& [id, each] : state.datasets) {
    ids.push_back(id);
    if (raw(id) >= header.next_id) return contradiction("an id was never given out");
    if (id != header.root) {
      const Dataset* parent = dataset(each.parent);
      if (parent == nullptr || parent->type != DatasetType::group) {
        return contradiction("dataset " + number(raw(id)) + " has no parent");
      }
    }
    if (raw(each.origin) != 0) {
      const Snapshot* origin = snapshot(each.origin);
      if (origin == nullptr) return contradiction(each.name + " has lost its origin");
      const Dataset* owner = dataset(origin->dataset);
      if (owner == nullptr || owner->type != DatasetType::volume) {
        return contradiction(each.name + " is a clone of no volume");
      }
    }
    const bool committed = raw(each.createtxg) != 0;
    const bool volume = each.type == DatasetType::volume;
    if (volume && committed && volume_state(id) == nullptr) {
      return contradiction("volume " + each.name + " has lost its map");
    }
    if (!volume && volume_state(id) != nullptr) {
      return contradiction("group " + each.name + " has a map");
    }
  }
  for (const auto& [id, each] : state.volumes) {
    if (dataset(id) == nullptr) return contradiction("a map belongs to no volume");
  }
  for (const auto& [id, each] : state.snapshots) {
    if (raw(id) >= header.next_id) return contradiction("an id was never given out");
    if (dataset(each.dataset) == nullptr) {
      return contradiction("snapshot " + each.name + " belongs to no dataset");
    }
  }
  for (const auto& [key, each] : state.bookmarks) {
    if (dataset(each.dataset) == nullptr) {
      return contradiction("bookmark " + each.name + " belongs to no dataset");
    }
  }
  if (!state.jobs.empty() && state.jobs.rbegin()->first >= header.next_id) {
    return contradiction("an id was never given out");
  }
  TRY_VOID(state.check_links());
  if (has_circle(ids, [this](DatasetId id) { return dataset(id)->parent; })) {
    return contradiction("datasets contain each other");
  }
  const auto origin_dataset = [this](DatasetId id) {
    const SnapshotId origin = dataset(id)->origin;
    return raw(origin) != 0 ? snapshot(origin)->dataset : DatasetId{};
  };
  if (has_circle(ids, origin_dataset)) return contradiction("clones are each other's origin");
  return {};
}

std::optional<std::string> Catalog::State::encoded(const RecordName& record) const {
  const auto found = [](const auto& map, const auto& key) -> std::optional<std::string> {
    const auto place = map.find(key);
    if (place == map.end()) return std::nullopt;
    return encode(place->second);
  };
  switch (record.table) {
    case Table::dataset: return found(datasets, DatasetId(record.id));
    case Table::volume_state: return found(volumes, DatasetId(record.id));
    case Table::snapshot: return found(snapshots, SnapshotId(record.id));
    case Table::bookmark: return found(bookmarks, NameView{record.id, record.name});
    case Table::job: return found(jobs, record.id);
    case Table::value: {
      const auto place = values.find(record.name);
      if (place == values.end()) return std::nullopt;
      return place->second;
    }
    case Table::links: {
      const auto place = datasets.find(DatasetId(record.id));
      if (place == datasets.end() || place->second.links.empty()) return std::nullopt;
      return encode(place->second.links);
    }
    case Table::contents: {
      const auto place = datasets.find(DatasetId(record.id));
      if (place == datasets.end()) return std::nullopt;
      for (const PinnedLink& each : place->second.links) {
        if (each.name == record.name && !each.contents.empty()) return encode(each.contents);
      }
      return std::nullopt;
    }
    case Table::object: {
      const auto place = objects.find(record.name);
      if (place == objects.end()) return std::nullopt;
      return encode(*place->second);
    }
    case Table::header:
    case Table::history: break;
  }
  CHECK(false);
  return std::nullopt;
}

std::vector<Catalog::StoredChange> Catalog::take_changes() {
  State& state = *state_;
  std::vector<StoredChange> changes;
  const bool any = changed();
  state.gone.clear();
  std::vector<RecordName> names = std::exchange(state.dirty, {});
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  changes.reserve(names.size() + 1 + state.history.size());

  const auto store = [&](const std::string& key, const std::optional<std::string>& bytes) {
    size_t parts_now = 0;
    if (bytes) {
      for (StoredItem& item : store_record(key, *bytes)) {
        changes.push_back({std::move(item.key), std::move(item.value)});
        ++parts_now;
      }
    }
    const auto before = state.parts.find(key);
    const size_t parts_before = before != state.parts.end() ? before->second : 1;
    for (size_t part = parts_now; part < parts_before; ++part) {
      changes.push_back({part_key(key, part), std::nullopt});
    }
    if (parts_now > 1) {
      state.parts.insert_or_assign(key, parts_now);
    } else if (before != state.parts.end()) {
      state.parts.erase(before);
    }
  };
  if (any && state.header != state.stored_header) {
    state.stored_header = state.header;
    store(record_key(Table::header, 0), encode(state.header));
  }
  for (const RecordName& name : names) {
    store(record_key(name.table, name.id, name.name), state.encoded(name));
  }
  for (const HistoryRecord& record : std::exchange(state.history, {})) {
    for (StoredItem& item :
         store_record(record_key(Table::history, record.sequence), encode(record))) {
      changes.push_back({std::move(item.key), std::move(item.value)});
    }
  }
  return changes;
}

bool Catalog::changed() const { return !state_->dirty.empty() || !state_->history.empty(); }

}  // namespace coppice::pool
