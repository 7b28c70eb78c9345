// pool/catalog.h — the typed tables of a pool, in memory, and transactions over them.
//
// Theory. The catalog in memory is the accepted state: what is durable plus the transactions that
// the next group will commit. It lives on the sync lane. A Transaction is a private overlay: reads
// see its own changes first, nobody else sees them; it can go back to a savepoint, or vanish.
// accept() merges it into the catalog at once and queues its tree operations; take_changes() hands
// the changed records to the group that makes them durable. One administrative transaction is open
// at a time (Pool::begin), so an accepted one never conflicts. Names: a dataset's full name is its
// ancestors' names joined by '/', the pool's name first. Each record is stored under a key of
// pool/catalog_codec.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pool/records.h"

namespace coppice::pool {

// Read access, the same for the accepted state and for a transaction. Pointers live until the next
// change.
class CatalogView {
 public:
  virtual ~CatalogView() = default;
  virtual const Dataset* dataset(DatasetId id) const = 0;
  virtual const Snapshot* snapshot(SnapshotId id) const = 0;
  virtual const VolumeState* volume_state(
      DatasetId id) const = 0;  // The accepted one; null for groups.
  virtual DatasetId root() const = 0;
  virtual DatasetId child(DatasetId parent, std::string_view name) const = 0;  // 0: none.
  virtual SnapshotId snapshot_named(DatasetId dataset, std::string_view name) const = 0;
  virtual const Bookmark* bookmark(DatasetId dataset, std::string_view name) const = 0;
  // In name order (children, bookmarks, clones by id) or order of creation (snapshots).
  virtual std::vector<DatasetId> children(DatasetId parent) const = 0;
  virtual std::vector<SnapshotId> snapshots(DatasetId dataset) const = 0;
  virtual std::vector<std::string> bookmarks(DatasetId dataset) const = 0;
  virtual std::vector<DatasetId> clones(SnapshotId origin) const = 0;
  // The youngest snapshot of the dataset, or the next older / younger one of the same dataset; 0:
  // none. O(log n).
  virtual SnapshotId last_snapshot(DatasetId dataset) const = 0;
  virtual SnapshotId before(SnapshotId snapshot) const = 0;
  virtual SnapshotId after(SnapshotId snapshot) const = 0;
  virtual size_t snapshot_count(DatasetId dataset) const = 0;
  // The dataset that has the link of that name; 0: none.
  virtual DatasetId link_owner(std::string_view name) const = 0;
  virtual const StoredObject* object(std::string_view hash) const = 0;
  virtual std::vector<std::string> objects() const = 0;    // Their hashes, ascending.
  virtual bool linked(std::string_view object) const = 0;  // Some link names it.
};

class Transaction;

class Catalog final : public CatalogView {
 public:
  Catalog();
  ~Catalog() override;

  // A new pool's catalog: the root dataset and the counters.
  static std::unique_ptr<Catalog> make(std::string pool_name, u64 guid, u64 now_s);

  // --- Persistence (the engine's) ---
  // Feeds one stored record. corrupt: it does not decode, or contradicts another (checked by
  // finish_load).
  Result<> load(std::string_view key, std::string_view value);
  Result<> finish_load();
  struct StoredChange {
    std::string key;
    std::optional<std::string> value;
  };
  std::vector<StoredChange> take_changes();  // Ascending by key; what changed since the last call.
  bool changed() const;

  // --- Transactions ---
  std::unique_ptr<Transaction> begin();  // At most one open at a time (CHECKed).
  void accept(std::unique_ptr<Transaction> transaction);
  // Of accepted transactions, in order. A DropSnapshot whose createtxg is 0 drops what the same
  // batch took.
  std::vector<TreeOp> take_tree_ops();

  // For tree operations, which are carried out after all of their group were accepted: also what a
  // later operation of the same group drops. Good until take_changes().
  const Snapshot* snapshot_or_gone(SnapshotId id) const;

  // --- The engine's half of the records; each marks its record changed. Of a record that is gone
  // by then (made and erased within one group) commit_* and set_snapshot_written do nothing. ---
  VolumeState* edit_volume_state(DatasetId id);  // Null if there is none.
  void put_volume_state(DatasetId id, VolumeState state);
  void erase_volume_state(DatasetId id);
  void commit_dataset(DatasetId id, Txg createtxg);  // Fills createtxg where it is 0.
  void commit_bookmark(DatasetId id, std::string_view name, Txg createtxg);
  // Of the datasets (groups have no tree operation that tells) and bookmarks accepted since the
  // last call, those whose createtxg is 0.
  struct Uncommitted {
    std::vector<DatasetId> datasets;
    std::vector<std::pair<DatasetId, std::string>> bookmarks;
  };
  Uncommitted take_uncommitted();
  // Fills in what only the commit knows. A group's snapshot gets an empty tree.
  void commit_snapshot(SnapshotId id, Txg createtxg, const TreeState& tree, u64 written_blocks);
  void set_snapshot_written(SnapshotId id, u64 written_blocks);
  u64 next_id();  // For segments and jobs: the same counter as ids.
  const std::map<u64, Job>& jobs() const;
  std::vector<u64> prune_jobs(DatasetId dataset) const;  // Ids of its PruneDead jobs.
  void put_job(Job job);
  void erase_job(u64 id);
  void add_history(HistoryRecord record);  // Assigns the sequence; stored, not kept in memory.
  u64 history_next() const;
  // The oldest snapshot of a group later than `txg`, uncommitted ones included; and the youngest of
  // a group not later. 0: none. O(log^2 n).
  SnapshotId first_snapshot_after(DatasetId dataset, Txg txg) const;
  SnapshotId last_snapshot_upto(DatasetId dataset, Txg txg) const;
  // Small engine values by name ("scrub", ...): stored as they are.
  std::optional<std::string> value(std::string_view name) const;
  void set_value(std::string_view name, std::optional<std::string> value);

  // --- CatalogView ---
  const Dataset* dataset(DatasetId id) const override;
  const Snapshot* snapshot(SnapshotId id) const override;
  const VolumeState* volume_state(DatasetId id) const override;
  DatasetId root() const override;
  DatasetId child(DatasetId parent, std::string_view name) const override;
  SnapshotId snapshot_named(DatasetId dataset, std::string_view name) const override;
  const Bookmark* bookmark(DatasetId dataset, std::string_view name) const override;
  std::vector<DatasetId> children(DatasetId parent) const override;
  std::vector<SnapshotId> snapshots(DatasetId dataset) const override;
  std::vector<std::string> bookmarks(DatasetId dataset) const override;
  std::vector<DatasetId> clones(SnapshotId origin) const override;
  SnapshotId last_snapshot(DatasetId dataset) const override;
  SnapshotId before(SnapshotId snapshot) const override;
  SnapshotId after(SnapshotId snapshot) const override;
  size_t snapshot_count(DatasetId dataset) const override;
  DatasetId link_owner(std::string_view name) const override;
  const StoredObject* object(std::string_view hash) const override;
  std::vector<std::string> objects() const override;
  bool linked(std::string_view object) const override;

 private:
  friend class Transaction;
  struct State;
  std::unique_ptr<State> state_;
};

// A private overlay. Edits return references that stay good until the next edit of the same
// record's kind.
class Transaction final : public CatalogView {
 public:
  ~Transaction() override;

  size_t savepoint() const;
  void roll_back_to(size_t savepoint);

  DatasetId new_dataset(
      Dataset dataset);  // Assigns id (and guid if 0). parent and name must be free (CHECKed).
  SnapshotId new_snapshot(Snapshot snapshot);  // Likewise; createtxg stays 0: ordered youngest.
  void edit_dataset(DatasetId id, Dataset changed);  // Parent and name may change (rename).
  void edit_snapshot(SnapshotId id,
                     Snapshot changed);  // Name and dataset may change (rename, promote).
  void erase_dataset(DatasetId id);
  void erase_snapshot(SnapshotId id);
  void put_bookmark(Bookmark bookmark);
  void erase_bookmark(DatasetId dataset, std::string_view name);
  u64 new_link_id();
  void put_object(StoredObject object);      // Adds or replaces the one of that hash.
  void erase_object(std::string_view hash);  // No link may name it any more.
  void add_tree_op(TreeOp op);
  const std::vector<TreeOp>& tree_ops() const;
  bool empty() const;  // Nothing was changed.
  // The datasets whose record, name or number of snapshots was changed since the savepoint; some
  // more than once.
  void each_changed_dataset(size_t since, const std::function<void(DatasetId)>& visit) const;

  // CatalogView: as above, with this transaction's changes.
  const Dataset* dataset(DatasetId id) const override;
  const Snapshot* snapshot(SnapshotId id) const override;
  const VolumeState* volume_state(DatasetId id) const override;
  DatasetId root() const override;
  DatasetId child(DatasetId parent, std::string_view name) const override;
  SnapshotId snapshot_named(DatasetId dataset, std::string_view name) const override;
  const Bookmark* bookmark(DatasetId dataset, std::string_view name) const override;
  std::vector<DatasetId> children(DatasetId parent) const override;
  std::vector<SnapshotId> snapshots(DatasetId dataset) const override;
  std::vector<std::string> bookmarks(DatasetId dataset) const override;
  std::vector<DatasetId> clones(SnapshotId origin) const override;
  SnapshotId last_snapshot(DatasetId dataset) const override;
  SnapshotId before(SnapshotId snapshot) const override;
  SnapshotId after(SnapshotId snapshot) const override;
  size_t snapshot_count(DatasetId dataset) const override;
  DatasetId link_owner(std::string_view name) const override;
  const StoredObject* object(std::string_view hash) const override;
  std::vector<std::string> objects() const override;
  bool linked(std::string_view object) const override;

 private:
  friend class Catalog;
  struct State;
  explicit Transaction(Catalog& catalog);
  std::unique_ptr<State> state_;
};

// Names as a person writes them.
const StoredObject* find_object(const CatalogView& view, std::string_view name);  // By its name.
const PinnedLink* find_link(const CatalogView& view, std::string_view name);
std::string full_name(const CatalogView& view, DatasetId id);              // "tank/vm/a"
std::string full_name(const CatalogView& view, SnapshotId id);             // "tank/vm/a@s"
DatasetId find_dataset(const CatalogView& view, std::string_view path);    // 0: none.
SnapshotId find_snapshot(const CatalogView& view, std::string_view path);  // "a/b@s"; 0: none.

}  // namespace coppice::pool
