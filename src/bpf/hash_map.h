// bpf/hash_map.h — values by key: plain, per-CPU, or forgetting what was used least recently.
//
// Theory. Elements are preallocated; those of a bucket are chained by their numbers. Each bucket
// has a sequence lock: writers of a bucket take turns, lookups walk its chain without writing and
// walk again if it changed. An element is in exactly one of three places: a chain, the list of free
// ones, or the hands of one writer. Nobody waits for an element, or for a second lock, with a lock
// held: so there is no deadlock, and with kSpare elements beyond max_entries a full map can be
// updated.
//
// A plain value is replaced by another element in the old one's place, so that a lookup sees the
// old value or the new; the values of the slots of a per-CPU element are written where they are.
//
// An LRU map keeps a mark in each element, set by lookups and updates. When it is full, a hand goes
// round the elements, takes marks away, and evicts the first that had none since the last time: the
// order is that of a clock, which is near enough to the least recent use, as the kernel's own is.
#pragma once

#include <atomic>

#include "bpf/map.h"
#include "bpf/map_memory.h"
#include "bpf/seq_lock.h"

namespace coppice::bpf {

class HashMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> make(MapSpec spec);

  const MapSpec& spec() const override { return spec_; }
  std::byte* lookup(const std::byte* key, u32 slot) override;
  int update(const std::byte* key, const std::byte* value, u64 flags, u32 slot) override;
  int remove(const std::byte* key) override;
  i64 for_each(u32 slot, const Visit& visit) override;
  int read(const std::byte* key, std::span<std::byte> out) override;
  int write(const std::byte* key, std::span<const std::byte> value, u64 flags) override;
  int next_key(const std::byte* key, std::byte* next) override;
  bool reaches(u64 address, u64 size) const override;
  u32 count() const { return count_.load(std::memory_order_relaxed); }

 private:
  static constexpr u32 kSpare = 64;
  static constexpr u32 kNone = ~u32{0};
  struct Element {  // Followed by the key and the values, each rounded up to 8 bytes.
    std::atomic<u32> next;
    std::atomic<u32> hash;
    std::atomic<u32> marked;  // Used since the hand last passed.
    std::atomic<u32> chained;
  };
  static_assert(sizeof(Element) == 16);
  struct Bucket {
    SeqLock lock;
    std::atomic<u32> first{kNone};
  };
  static_assert(sizeof(Bucket) == 8);

  HashMap(MapSpec spec, u64 bucket_count, MapMemory buckets, MapMemory elements);
  u32 hash_of(const std::byte* key) const;
  Bucket& bucket_of(u32 hash) const { return buckets_[hash & bucket_mask_]; }
  Element& element(u32 number) const {
    return *reinterpret_cast<Element*>(elements_.data() + number * element_bytes_);
  }
  std::byte* key_of(u32 number) const {
    return elements_.data() + number * element_bytes_ + sizeof(Element);
  }
  std::byte* value_of(u32 number, u32 slot) const {
    return key_of(number) + key_stride_ + u64{slot} * value_stride_;
  }

  u32 find(u32 hash, const std::byte* key) const;
  // The link that leads to the element of the key, or to kNone; the bucket is locked.
  std::atomic<u32>* find_link(Bucket& bucket, u32 hash, const std::byte* key) const;
  u32 take_free();
  void give_free(u32 number);
  bool evict();
  void unlink(std::atomic<u32>& link, u32 number);

  struct NewValue {
    const std::byte* bytes;
    bool all_slots;
    u32 slot;
  };
  int put(const std::byte* key, const NewValue& value, u64 flags);
  int put_locked(Bucket& bucket, u32 hash, const std::byte* key, const NewValue& value, u64 flags,
                 u32& mine);
  void store(u32 number, const NewValue& value) const;

  MapSpec spec_;
  bool percpu_;
  u32 slots_;  // 1 unless it is per-CPU.
  u64 key_stride_, value_stride_, element_bytes_;
  u32 element_count_;
  u64 bucket_mask_;
  u64 seed_;
  MapMemory bucket_memory_, elements_;
  Bucket* buckets_;
  alignas(64) std::atomic<u64> free_;  // The first free one; above it a count against reuse.
  alignas(64) std::atomic<u32> count_{0};
  std::atomic<u32> hand_{0};
};

}  // namespace coppice::bpf
