// pool/dead_index.h — blocks that live volumes dropped and snapshots may still see.
//
// Theory. One tree for the whole pool. A key is (segment, death, birth, address), a value a count
// of blocks. An entry is written once, when its block dies, and never moved: a volume owns slices
// (segment, range of deaths), and promote() hands slices over. A snapshot of txg s sees the block
// if birth <= s < death. An entry is inherited if birth <= the volume's origin txg: its space is
// the origin's account.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "pool/catalog.h"
#include "pool/tree.h"
#include "pool/volume_map.h"

namespace coppice::pool {

struct DeadEntry {
  u64 segment = 0;
  Txg death{};
  Txg birth{};
  Run run;
};

std::string dead_key(u64 segment, Txg death, Txg birth, BlockAddr addr);
Result<DeadEntry> decode_dead(std::string_view key, std::string_view value);

// Tree changes that own their bytes; sorted by the time they are merged.
class DeadChanges {
 public:
  void add(const DeadEntry& entry);
  void erase(std::string key);
  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  std::vector<Change> sorted();

 private:
  struct Item {
    std::string key;
    std::optional<u32> count;
  };
  std::vector<Item> items_;
};

// The entries of `slice` whose death lies in (after, upto], in order, from `cursor` (a key; may be
// empty) on.
class DeadScan {
 public:
  DeadScan(NodeStore& store, NodePtr root, const Slice& slice, Txg after, Txg upto);
  Task<> begin(std::string_view from);
  Task<bool> next(DeadEntry& entry);             // false: there are no more.
  std::string_view key() const { return key_; }  // Of the entry that next() gave.

 private:
  Cursor cursor_;
  u64 segment_;
  Txg after_, upto_;
  bool started_ = false;
  std::string key_;
};

// Calls `visit` with every entry of the slices whose death lies in (after, upto].
Task<> for_each_dead(NodeStore& store, NodePtr root, std::vector<Slice> slices, Txg after, Txg upto,
                     const std::function<void(const DeadEntry&)>& visit);

// The slices with only what died in (after, upto].
std::vector<Slice> clip(const std::vector<Slice>& slices, Txg after, Txg upto);

}  // namespace coppice::pool
