// pool/catalog_state.h — the insides of Catalog and Transaction: for catalog*.cc only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "pool/catalog.h"
#include "pool/catalog_codec.h"
#include "pool/catalog_delta.h"

namespace coppice::pool {

struct NameView {
  u64 owner = 0;
  std::string_view name;
};
struct NameKey {
  u64 owner = 0;
  std::string name;
  operator NameView() const { return {owner, name}; }  // NOLINT(google-explicit-constructor)
};
struct NameLess {
  using is_transparent = void;
  bool operator()(const NameView& a, const NameView& b) const {
    return a.owner != b.owner ? a.owner < b.owner : a.name < b.name;
  }
};

struct Link {  // A snapshot (child) of a dataset, or a clone (child) of a snapshot.
  u64 owner = 0;
  u64 child = 0;
  friend auto operator<=>(const Link&, const Link&) = default;
};
struct Nothing {
  friend bool operator==(const Nothing&, const Nothing&) = default;
};

using Children = std::map<NameKey, DatasetId, NameLess>;  // Of a parent.
using Bookmarks = std::map<NameKey, Bookmark, NameLess>;
// Snapshots of a dataset in order of creation: ids are drawn from one counter by one transaction at
// a time, so their order is that of createtxg, and neither a commit that fills createtxg in nor a
// promote changes it.
using Links = std::map<Link, Nothing, std::less<Link>>;

using LinkNames = std::map<std::string, DatasetId, std::less<>>;  // The dataset that has it.
struct Use {  // A pinned link that names an object.
  std::string object;
  u64 link = 0;
};
struct UseView {
  std::string_view object;
  u64 link = 0;
};
struct UseLess {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return a.object != b.object ? a.object < b.object : a.link < b.link;
  }
};
using Uses = std::map<Use, Nothing, UseLess>;
using Objects = std::map<std::string, SharedValue<StoredObject>, std::less<>>;

// Finds snapshots by dataset and name without storing either again.
struct SnapshotNameHash {
  using is_transparent = void;
  size_t operator()(const NameView& key) const {  // Not noexcept, so that the set keeps the hash.
    return std::hash<std::string_view>()(key.name) ^ (key.owner * 0x9e3779b97f4a7c15);
  }
  size_t operator()(const Snapshot* snapshot) const {
    return (*this)(NameView{raw(snapshot->dataset), snapshot->name});
  }
};
struct SnapshotNameEqual {
  using is_transparent = void;
  static NameView view(const NameView& key) { return key; }
  static NameView view(const Snapshot* snapshot) {
    return {raw(snapshot->dataset), snapshot->name};
  }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return view(a).owner == view(b).owner && view(a).name == view(b).name;
  }
};

struct RecordName {  // Which record, in the order of its key.
  Table table{};
  u64 id = 0;
  std::string name;
  friend auto operator<=>(const RecordName&, const RecordName&) = default;
};

struct Catalog::State {
  // Records.
  std::unordered_map<DatasetId, Dataset> datasets;
  std::unordered_map<DatasetId, VolumeState> volumes;
  std::unordered_map<SnapshotId, Snapshot> snapshots;
  Bookmarks bookmarks;
  Objects objects;
  std::map<u64, Job> jobs;
  std::set<std::pair<DatasetId, u64>> prunes;  // Of jobs: the PruneDead ones, by dataset.
  std::map<std::string, std::string, std::less<>> values;
  CatalogHeader header;
  u64 guid_seed = 0;  // Guid of the root dataset.

  // Indexes.
  Children children;
  Links order;
  Links clones;
  LinkNames link_names;
  Uses uses;
  std::unordered_set<const Snapshot*, SnapshotNameHash, SnapshotNameEqual> names;
  std::unordered_map<DatasetId, size_t> counts;  // Of snapshots; no entry: none.

  // What take_changes() will hand out.
  std::vector<RecordName> dirty;
  std::vector<HistoryRecord> history;
  CatalogHeader stored_header;
  std::unordered_map<std::string, size_t>
      parts;  // Stored records of more than one part, by record key.

  RecordAssembler assembler;  // While loading.
  std::vector<TreeOp> ops;
  std::unordered_map<SnapshotId, Snapshot> gone;  // Dropped since the last take_changes().
  Uncommitted uncommitted;
  Transaction::State* open = nullptr;

  // Marks the stored parts of a dataset's links that differ.
  void touch_links(DatasetId id, const PinnedLinks& before, const PinnedLinks& after);
  Result<> add_loaded_links(DatasetId id, PinnedLinks links);
  Result<> add_loaded_contents(DatasetId id, std::string_view link, MapContents contents);
  Result<> check_links() const;
  void touch(Table table, u64 id, std::string name = {}) {
    dirty.push_back({table, id, std::move(name)});
  }
  u64 new_guid(u64 id) const;
  void keep_job(Job job);
  Result<> add_loaded(RecordAssembler::Record record);
  std::optional<std::string> encoded(const RecordName& name) const;
};

struct Transaction::State {
  explicit State(Catalog::State& catalog)
      : base(catalog),
        children(catalog.children),
        order(catalog.order),
        clones(catalog.clones),
        bookmarks(catalog.bookmarks),
        link_names(catalog.link_names),
        uses(catalog.uses),
        objects(catalog.objects) {}

  Catalog::State& base;
  // Records changed here; empty: erased here.
  std::unordered_map<DatasetId, std::optional<Dataset>> datasets;
  std::unordered_map<SnapshotId, std::optional<Snapshot>> snapshots;
  Delta<NameKey, DatasetId, NameLess> children;
  Delta<Link, Nothing, std::less<Link>> order;
  Delta<Link, Nothing, std::less<Link>> clones;
  Delta<NameKey, Bookmark, NameLess> bookmarks;
  Delta<std::string, DatasetId, std::less<>> link_names;
  Delta<Use, Nothing, UseLess> uses;
  Delta<std::string, SharedValue<StoredObject>, std::less<>> objects;
  std::map<NameKey, SnapshotId, NameLess> names;  // 0: no longer taken.
  std::unordered_map<DatasetId, i64> counts;      // To be added.
  std::vector<TreeOp> ops;

  // How each change is undone, youngest last.
  template <class Id, class Record>
  struct UndoRecord {
    Id id{};
    bool overlaid = false;         // It had been changed here before.
    std::optional<Record> before;  // What was in effect. Empty: nothing.
  };
  struct UndoBookmark {
    NameKey key;
    std::optional<Bookmark> before;
  };
  struct UndoObject {
    std::string hash;
    std::optional<SharedValue<StoredObject>> before;
  };
  struct UndoOp {};
  using Undo = std::variant<UndoRecord<DatasetId, Dataset>, UndoRecord<SnapshotId, Snapshot>,
                            UndoBookmark, UndoObject, UndoOp>;
  std::vector<Undo> undo;

  const Dataset* dataset(DatasetId id) const;
  const Snapshot* snapshot(SnapshotId id) const;
  // Makes `after` (empty: erased) the record in effect, remembering how to undo it.
  void change(DatasetId id, std::optional<Dataset> after);
  void change(SnapshotId id, std::optional<Snapshot> after);
  // Moves the indexes from what is in effect to `after`.
  void reindex(DatasetId id, const Dataset* before, const Dataset* after);
  void reindex_links(DatasetId id, const PinnedLinks& before, const PinnedLinks& after);
  void reindex(SnapshotId id, const Snapshot* before, const Snapshot* after);
  // Takes the engine's half of a record from the catalog, which may have learned it since.
  void refresh(Dataset& dataset) const;
  void refresh(Snapshot& snapshot) const;
  void refresh(Bookmark& bookmark) const;
  void undo_last();
};

}  // namespace coppice::pool
