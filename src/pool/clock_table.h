// pool/clock_table.h — a hash table of what lies at (address, birth), with CLOCK eviction.
//
// Theory. Entries lie in one array, in which evict()'s hand goes round: it unmarks what a find()
// has marked since it came by, and takes the first that is not marked. Chains of a separate array
// of buckets find them. (With the entries in an open table the hand would thin out what is behind
// it and crowd what is before it, until probes run for thousands of slots.) The table never grows
// beyond its capacity: its owner evicts before it inserts. Per entry: 24 bytes, the value, and a
// bucket of 4.
#pragma once

#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "pool/types.h"

namespace coppice::pool {

template <class Value>
class ClockTable {
 public:
  explicit ClockTable(size_t capacity) { reset(capacity); }

  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool full() const { return size_ == capacity_; }
  size_t memory_bytes() const {
    return entries_.capacity() * sizeof(Entry) + buckets_.size() * sizeof(u32);
  }

  // Null if there is none. Good until the next insert() or evict().
  Value* find(BlockAddr addr, Txg birth) {
    for (u32 at = buckets_[bucket(raw(addr), raw(birth))]; at != 0; at = entries_[at - 1].next) {
      Entry& entry = entries_[at - 1];
      if ((entry.addr & ~kMarked) != raw(addr) || entry.birth != raw(birth)) continue;
      entry.addr |= kMarked;
      return &entry.value;
    }
    return nullptr;
  }

  // Not full, and nothing is there yet.
  void insert(BlockAddr addr, Txg birth, Value value) {
    CHECK(size_ < capacity_);
    CHECK(raw(addr) != 0 && raw(addr) < kMarked);
    u32& head = buckets_[bucket(raw(addr), raw(birth))];
    if (free_ == 0) {
      entries_.emplace_back();
      free_ = static_cast<u32>(entries_.size());
    }
    const u32 at = free_;
    Entry& entry = entries_[at - 1];
    free_ = entry.next;
    entry = {raw(addr), raw(birth), head, std::move(value)};
    head = at;
    ++size_;
  }

  // Whether there was one.
  bool erase(BlockAddr addr, Txg birth) {
    u32* link = &buckets_[bucket(raw(addr), raw(birth))];
    for (; *link != 0; link = &entries_[*link - 1].next) {
      const Entry& entry = entries_[*link - 1];
      if ((entry.addr & ~kMarked) == raw(addr) && entry.birth == raw(birth)) break;
    }
    if (*link == 0) return false;
    take(*link, *link);
    return true;
  }

  // Takes out what was not found for longest, more or less. None: it is empty.
  std::optional<Value> evict() {
    if (size_ == 0) return std::nullopt;
    for (;; ++hand_) {
      if (hand_ >= entries_.size()) hand_ = 0;
      Entry& entry = entries_[hand_];
      if (entry.addr == 0) continue;
      if ((entry.addr & kMarked) == 0) break;
      entry.addr &= ~kMarked;
    }
    const u32 at = static_cast<u32>(hand_++) + 1;
    const Entry& entry = entries_[at - 1];
    u32* link = &buckets_[bucket(entry.addr, entry.birth)];
    while (*link != at) link = &entries_[*link - 1].next;
    return take(*link, at);
  }

  // A new capacity; it keeps what it holds, so its owner has evicted what is too much.
  void reset(size_t capacity) {
    CHECK(size_ <= capacity);
    CHECK(capacity < (size_t{1} << 31));
    std::vector<Entry> old = std::exchange(entries_, {});
    buckets_.assign(std::bit_ceil(capacity + 1), 0);
    capacity_ = capacity;
    size_ = 0;
    hand_ = 0;
    free_ = 0;
    for (Entry& entry : old)
      if (entry.addr != 0)
        insert(BlockAddr(entry.addr & ~kMarked), Txg(entry.birth), std::move(entry.value));
  }

 private:
  static constexpr u64 kMarked = u64{1} << 63;
  struct Entry {
    u64 addr = 0;  // 0: unused. kMarked: found since the hand passed.
    u64 birth = 0;
    u32 next = 0;  // Index + 1, in the chain of its bucket or of unused entries. 0: the last.
    Value value{};
  };

  // Unchains the entry that `link`, which leads to it, names.
  Value take(u32& link, u32 at) {
    Entry& entry = entries_[at - 1];
    link = entry.next;
    Value out(std::move(entry.value));
    entry = {0, 0, free_, Value{}};
    free_ = at;
    --size_;
    return out;
  }

  size_t bucket(u64 addr, u64 birth) const {
    const u64 hash = ((addr & ~kMarked) + (birth << 32 | birth >> 32)) * 0x9e3779b97f4a7c15;
    return (hash >> 24) & (buckets_.size() - 1);
  }

  std::vector<Entry> entries_;
  std::vector<u32> buckets_;  // A power of two. Index + 1 of the first entry; 0: none.
  size_t capacity_ = 0;
  size_t size_ = 0;
  size_t hand_ = 0;
  u32 free_ = 0;
};

}  // namespace coppice::pool
