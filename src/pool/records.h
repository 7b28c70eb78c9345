// pool/records.h — what the catalog keeps: datasets, snapshots, and what the engine knows of their
// trees.
//
// Theory. Each record has one writer. The administrator's half (Dataset, Snapshot but for `tree`,
// Hold, Bookmark) changes only by transactions. The engine's half (VolumeState, Snapshot::tree,
// Job) changes only in the commit of a transaction group, by merged writes and by the tree
// operations that transactions carry. So a transaction can be long, private and thrown away while
// volumes go on being written.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pool/link_records.h"
#include "pool/types.h"

namespace coppice::pool {

enum class DatasetType : u8 { group = 1, volume = 2 };

struct ExportSpec {      // A pinned export: desired state, brought back after a restart.
  std::string protocol;  // "nbd"
  std::string address;   // "unix:/run/x.sock", "tcp:HOST:PORT"
  bool read_only = false;
  SnapshotId snapshot{};  // Of the dataset whose record this is; 0: the live volume.
  friend bool operator==(const ExportSpec&, const ExportSpec&) = default;
};

struct Dataset {
  DatasetId id{};
  DatasetId parent{};  // 0: the pool's root dataset.
  std::string name;    // Its last component; of the root, the pool's name.
  DatasetType type = DatasetType::group;
  Txg createtxg{};     // 0 until committed.
  u64 creation_s = 0;  // Unix time.
  u64 guid = 0;
  SnapshotId origin{};  // Of a clone.
  u64 volsize_bytes = 0;
  std::map<std::string, std::string> properties;  // Set here: native settable ones and user's.
  std::vector<ExportSpec> exports;
  PinnedLinks links;  // In the order in which their points run them.
  friend bool operator==(const Dataset&, const Dataset&) = default;
};

// A frozen or live volume map, and what it takes.
struct TreeState {
  NodePtr root;
  u64 referenced_blocks = 0;  // Reachable from root: data and map nodes.
  u64 logical_blocks = 0;     // Data blocks mapped, as the user wrote them.
  friend bool operator==(const TreeState&, const TreeState&) = default;
};

struct Snapshot {
  SnapshotId id{};
  DatasetId dataset{};
  std::string name;
  Txg createtxg{};  // It sees what was born in groups <= this. 0 until committed.
  u64 creation_s = 0;
  u64 guid = 0;
  u64 volsize_bytes = 0;
  bool defer_destroy = false;
  std::map<std::string, u64> holds;  // Tag -> Unix time.
  std::map<std::string, std::string> properties;
  TreeState tree;          // The engine's: filled in when it commits. Of a group's snapshot: empty.
  u64 written_blocks = 0;  // The engine's: born since the snapshot before it.
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

struct Bookmark {
  DatasetId dataset{};
  std::string name;
  Txg createtxg{};
  u64 creation_s = 0;
  u64 guid = 0;
  friend bool operator==(const Bookmark&, const Bookmark&) = default;
};

// Part of the dead index: the entries under `segment` whose death lies in (after, upto].
struct Slice {
  u64 segment = 0;
  Txg after{};
  Txg upto{};  // ~0 in the slice that grows.
  friend bool operator==(const Slice&, const Slice&) = default;
};
inline constexpr Txg kForever{~u64{0}};

// The engine's record of a live volume (groups have none).
struct VolumeState {
  TreeState live;
  u64 written_blocks = 0;    // Of live, born since the last snapshot.
  u64 inherited_blocks = 0;  // Of live, born at or before the origin.
  u64 dead_blocks = 0;       // In the dead index: kept for this volume's own snapshots.
  u64 inherited_dead_blocks =
      0;                    // In the dead index: inherited from the origin, so no space of ours.
  Txg origin_txg{};         // createtxg of the origin; 0 if not a clone.
  Txg last_snapshot{};      // createtxg of its youngest snapshot; 0 if none.
  std::vector<Slice> dead;  // Ascending, disjoint; the last one grows.
  friend bool operator==(const VolumeState&, const VolumeState&) = default;
};

// What a transaction does to trees, in order, in the group that commits it.
struct TakeSnapshot {
  DatasetId dataset;
  SnapshotId snapshot;
};
struct MakeVolume {
  DatasetId dataset;
};
struct MakeClone {
  SnapshotId origin;
  DatasetId dataset;
};
struct RollBack {
  DatasetId dataset;
  SnapshotId snapshot;
};  // Its younger snapshots were destroyed before.
struct Promote {
  DatasetId clone;
  DatasetId old_origin_dataset;
  SnapshotId origin;
};
struct DropSnapshot {
  DatasetId dataset;
  SnapshotId snapshot;
  Txg createtxg;
};
struct DropVolume {
  DatasetId dataset;
};  // Its snapshots were destroyed before.
struct ResizeVolume {
  DatasetId dataset;
  u64 old_bytes;
  u64 new_bytes;
};
using TreeOp = std::variant<TakeSnapshot, MakeVolume, MakeClone, RollBack, Promote, DropSnapshot,
                            DropVolume, ResizeVolume>;

// Work that a commit left to be done in the background; resumed after a restart.
struct FreeTree {  // Frees what of `root` was born after `keep_upto`, from block `cursor` on.
  NodePtr root;
  Txg keep_upto{};
  u64 cursor = 0;
  friend bool operator==(const FreeTree&, const FreeTree&) = default;
};
struct PruneDead {  // Frees entries of `dataset`'s dead slices in (after, upto] that no survivor
                    // sees.
  DatasetId dataset{};
  Txg after{};
  Txg upto{};
  std::string cursor;  // Key of the next entry to look at.
  friend bool operator==(const PruneDead&, const PruneDead&) = default;
};
struct DropDead {  // Removes a slice that nobody owns any more; frees entries born after
                   // `keep_upto`.
  Slice slice;
  Txg keep_upto{};
  friend bool operator==(const DropDead&, const DropDead&) = default;
};
struct Job {
  u64 id = 0;
  std::variant<FreeTree, PruneDead, DropDead> work;
  u64 blocks_left = 0;  // What it is expected to free still: the pool's `freeing`.
  friend bool operator==(const Job&, const Job&) = default;
};

struct HistoryRecord {
  u64 sequence = 0;
  Txg txg{};
  u64 time_s = 0;
  u64 elapsed_us = 0;
  std::string who;      // uid=..., pid=..., or "internal".
  std::string command;  // Verb and arguments, or the program with its hash, as text.
  std::string result;   // "ok", or the error.
  std::string effects;  // JSON: for replay and for people. May be empty.
  friend bool operator==(const HistoryRecord&, const HistoryRecord&) = default;
};

}  // namespace coppice::pool
