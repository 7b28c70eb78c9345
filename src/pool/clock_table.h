// pool/clock_table.h — a hash table of what lies at (address, birth), with CLOCK eviction.
//
// Theory. Open addressing with linear probing; the entries lie in the table itself, so a hit mostly
// costs one cache miss. A find() marks its entry; evict() sweeps a hand over the table, unmarks
// what is marked and takes the first that is not. The table never grows by itself: its owner evicts
// before it inserts. Per entry: 16 bytes and the value, divided by the load of 3/4.
#pragma once

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
  size_t memory_bytes() const { return slots_.size() * sizeof(Slot); }

  // Null if there is none. Good until the next insert() or evict().
  Value* find(BlockAddr addr, Txg birth) {
    for (size_t i = home(raw(addr), raw(birth));; i = after(i)) {
      Slot& slot = slots_[i];
      if (slot.addr == 0) return nullptr;
      if ((slot.addr & ~kMarked) != raw(addr) || slot.birth != raw(birth)) continue;
      slot.addr |= kMarked;
      return &slot.value;
    }
  }

  // Not full, and nothing is there yet.
  void insert(BlockAddr addr, Txg birth, Value value) {
    CHECK(size_ < capacity_);
    CHECK(raw(addr) != 0 && raw(addr) < kMarked);
    place(Slot{raw(addr), raw(birth), std::move(value)});
    ++size_;
  }

  // Takes out what was not found for longest, more or less. None: it is empty.
  std::optional<Value> evict() {
    if (size_ == 0) return std::nullopt;
    for (;; hand_ = after(hand_)) {
      Slot& slot = slots_[hand_];
      if (slot.addr == 0) continue;
      if ((slot.addr & kMarked) == 0) break;
      slot.addr &= ~kMarked;
    }
    std::optional<Value> out(std::move(slots_[hand_].value));
    close_gap(hand_);
    --size_;
    return out;
  }

  // A new capacity; it keeps what it holds, so its owner has evicted what is too much.
  void reset(size_t capacity) {
    CHECK(size_ <= capacity);
    CHECK(capacity < (size_t{1} << 31));
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(capacity + capacity / 3 + 2));
    capacity_ = capacity;
    hand_ = 0;
    for (Slot& slot : old)
      if (slot.addr != 0) place(std::move(slot));
  }

 private:
  static constexpr u64 kMarked = u64{1} << 63;
  struct Slot {
    u64 addr = 0;  // 0: empty. kMarked: found since the hand passed.
    u64 birth = 0;
    Value value{};
  };

  size_t after(size_t i) const { return i + 1 == slots_.size() ? 0 : i + 1; }
  size_t home(u64 addr, u64 birth) const {
    const u64 hash = (addr + (birth << 32 | birth >> 32)) * 0x9e3779b97f4a7c15;
    return static_cast<size_t>(((hash >> 32) * slots_.size()) >> 32);
  }
  void place(Slot slot) {
    size_t i = home(slot.addr & ~kMarked, slot.birth);
    while (slots_[i].addr != 0) i = after(i);
    slots_[i] = std::move(slot);
  }
  size_t distance(size_t from, size_t to) const {
    return to >= from ? to - from : to + slots_.size() - from;
  }
  // Empties slot `gap` and moves up what would not be found any more.
  void close_gap(size_t gap) {
    for (size_t i = after(gap); slots_[i].addr != 0; i = after(i)) {
      const size_t wanted = home(slots_[i].addr & ~kMarked, slots_[i].birth);
      if (distance(wanted, i) < distance(gap, i)) continue;
      slots_[gap] = std::move(slots_[i]);
      gap = i;
    }
    slots_[gap] = Slot{};
  }

  std::vector<Slot> slots_;
  size_t capacity_ = 0;
  size_t size_ = 0;
  size_t hand_ = 0;
};

}  // namespace coppice::pool
