// world.h — the model of a whole pool: datasets, snapshots, holds and properties, and through
// Blocks what they hold.
//
// It knows the rules of the administrative verbs from zfs(8) and DESIGN.md, not from the engine. A
// World is a value: what a crash may have left is found by applying each subset of the operations
// in flight to a copy.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "blocks.h"

namespace coppice::simtest {

enum class Verb : u8 {
  create_group,
  create_volume,
  snapshot,
  clone,
  promote,
  rollback,
  destroy,
  rename,
  set,
  inherit,
  hold,
  release,
  resize,
  bookmark,
  link,
  relink,
  unlink,
};
const char* name_of(Verb verb);

struct AdminOp {
  Verb verb{};
  std::vector<std::string> names{};  // What it works on: datasets "tank/a", snapshots "tank/a@s".
  std::string other{};  // clone, rename: the new name. set: the property. hold: the tag. bookmark:
                        // "a#b". link, relink, unlink: the link.
  std::string value{};  // set: the value. link, relink: the object.
  u64 size = 0;         // create_volume, resize.
  bool recursive = false;  // relink: it comes first.
  bool defer = false;      // destroy of snapshots.
  std::string describe() const;
};

struct Snapshot {
  u64 id = 0;
  u64 dataset = 0;
  std::string name;
  u64 size_bytes = 0;
  Stamp born = 0;
  bool deferred = false;
  std::set<std::string> holds;
  Frozen content;
  u64 cut = 0;  // Which of World::cuts.
};

struct Dataset {
  u64 id = 0;
  u64 parent = 0;  // 0: the root.
  std::string name;
  bool volume = false;
  u64 origin = 0;  // Snapshot id.
  std::map<std::string, std::string> properties;
  std::vector<u64> snapshots;                              // Oldest first.
  std::vector<std::pair<std::string, std::string>> links;  // Name and object, in order.
  std::map<std::string, Stamp> bookmarks;  // Name, and when its snapshot was asked for.
  Blocks content;
};

class World {
 public:
  explicit World(std::string pool_name);

  // Asked and answered at these moments. Empty, or why it must be refused; then nothing has
  // changed.
  std::string apply(const AdminOp& op, Stamp asked, Stamp answered);
  void crash();

  // Every dataset, snapshot and bookmark by full name, with what a person can see of it.
  std::map<std::string, std::string> list() const;

  std::map<u64, Dataset> datasets;
  std::map<u64, Snapshot> snapshots;
  std::map<u64, Moments> cuts;

  u64 root() const { return 1; }
  u64 find_dataset(std::string_view path) const;   // 0: none.
  u64 find_snapshot(std::string_view path) const;  // 0: none.
  std::string path(u64 dataset) const;
  std::string snapshot_path(u64 snapshot) const;
  std::vector<u64> children(u64 dataset) const;
  std::vector<u64> below(u64 dataset) const;  // The dataset and all its descendants, parents first.
  std::vector<u64> clones(u64 snapshot) const;
  void forget_nothing();  // See Blocks.

 private:
  std::string create(const AdminOp& op, bool volume);
  std::string snapshot(const AdminOp& op, Stamp asked, Stamp answered);
  std::string clone(const AdminOp& op, Stamp asked);
  std::string promote(const AdminOp& op);
  std::string rollback(const AdminOp& op, Stamp asked);
  std::string destroy(const AdminOp& op);
  std::string destroy_datasets(u64 id, bool recursive);
  std::string destroy_snapshots(const AdminOp& op);
  std::string rename(const AdminOp& op);
  std::string properties(const AdminOp& op);
  std::string holds(const AdminOp& op);
  std::string resize(const AdminOp& op);
  std::string bookmark(const AdminOp& op);
  std::string links(const AdminOp& op);
  std::string place_for(std::string_view path, u64& parent, std::string& name) const;
  void erase_snapshot(u64 id);
  void erase_dataset(u64 id);
  void reap_deferred();

  u64 last_id_ = 1;
  bool keep_all_ = false;
};

}  // namespace coppice::simtest
