#include "bpf/hash_map.h"

#include <bit>
#include <cerrno>
#include <new>
#include <random>

namespace coppice::bpf {
namespace {

constexpr u32 kReadTries = 64;    // Then a lookup waits for the lock.
constexpr u32 kEvictTries = 128;  // Then an update of an LRU map gives up.

u64 mix(u64 a, u64 b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<u64>(product) ^ static_cast<u64>(product >> 64);
}

}  // namespace

HashMap::HashMap(MapSpec spec, u64 bucket_count, MapMemory buckets, MapMemory elements)
    : spec_(std::move(spec)),
      percpu_(spec_.kind == MapKind::percpu_hash),
      slots_(percpu_ ? spec_.slots : 1),
      key_stride_(stride_of(spec_.key_size)),
      value_stride_(stride_of(spec_.value_size)),
      element_bytes_(sizeof(Element) + key_stride_ + value_stride_ * slots_),
      element_count_(spec_.max_entries + kSpare),
      bucket_mask_(bucket_count - 1),
      seed_(u64{std::random_device{}()} << 32 | std::random_device{}()),
      bucket_memory_(std::move(buckets)),
      elements_(std::move(elements)),
      buckets_(reinterpret_cast<Bucket*>(bucket_memory_.data())),
      free_(0) {
  CHECK(std::has_single_bit(bucket_count));
  CHECK(element_bytes_ * element_count_ <= elements_.size());
  for (u64 i = 0; i < bucket_count; ++i) new (&buckets_[i]) Bucket();
  for (u32 i = 0; i < element_count_; ++i) {
    auto* made = new (&element(i)) Element();
    made->next = i + 1 < element_count_ ? i + 1 : kNone;
  }
}

Result<std::unique_ptr<Map>> HashMap::make(MapSpec spec) {
  const u64 buckets = std::bit_ceil(u64{spec.max_entries});
  const u64 slots = spec.kind == MapKind::percpu_hash ? spec.slots : 1;
  const u64 element =
      sizeof(Element) + stride_of(spec.key_size) + stride_of(spec.value_size) * slots;
  TRY(auto bucket_memory, MapMemory::make(buckets * sizeof(Bucket)));
  TRY(auto elements, MapMemory::make((u64{spec.max_entries} + kSpare) * element));
  return std::unique_ptr<Map>(
      new HashMap(std::move(spec), buckets, std::move(bucket_memory), std::move(elements)));
}

u32 HashMap::hash_of(const std::byte* key) const {
  u64 hash = seed_;
  size_t at = 0;
  for (; at + 8 <= spec_.key_size; at += 8) {
    u64 word;
    std::memcpy(&word, key + at, 8);
    hash = mix(hash ^ word, 0x9fb21c651e98df25);
  }
  if (at < spec_.key_size) {
    u64 word = 0;
    std::memcpy(&word, key + at, spec_.key_size - at);
    hash = mix(hash ^ word, 0xd6e8feb86659fd93);
  }
  return static_cast<u32>(mix(hash, seed_ | 1) >> 16);
}

u32 HashMap::find(u32 hash, const std::byte* key) const {
  Bucket& bucket = bucket_of(hash);
  for (u32 tries = 0; tries < kReadTries; ++tries) {
    const u32 begun = bucket.lock.begin();
    u32 number = bucket.first.load(std::memory_order_relaxed);
    while (number != kNone && bucket.lock.unchanged(begun)) {
      const Element& each = element(number);
      if (each.hash.load(std::memory_order_relaxed) == hash &&
          equals_value(key_of(number), key, spec_.key_size))
        break;
      number = each.next.load(std::memory_order_relaxed);
    }
    if (bucket.lock.unchanged(begun)) return number;
    SeqLock::pause(tries);
  }
  const Locked locked(bucket.lock);
  return find_link(bucket, hash, key)->load(std::memory_order_relaxed);
}

std::atomic<u32>* HashMap::find_link(Bucket& bucket, u32 hash, const std::byte* key) const {
  std::atomic<u32>* link = &bucket.first;
  while (true) {
    const u32 number = link->load(std::memory_order_relaxed);
    if (number == kNone) return link;
    Element& each = element(number);
    if (each.hash.load(std::memory_order_relaxed) == hash &&
        equals_value(key_of(number), key, spec_.key_size))
      return link;
    link = &each.next;
  }
}

std::byte* HashMap::lookup(const std::byte* key, u32 slot) {
  CHECK(!percpu_ || slot < slots_);
  const u32 number = find(hash_of(key), key);
  if (number == kNone) return nullptr;
  if (spec_.kind == MapKind::lru_hash) {
    auto& marked = element(number).marked;  // Written only if it changes: the line stays shared.
    if (marked.load(std::memory_order_relaxed) == 0) marked.store(1, std::memory_order_relaxed);
  }
  return value_of(number, percpu_ ? slot : 0);
}

u32 HashMap::take_free() {
  for (u32 tries = 0;; ++tries) {
    u64 head = free_.load(std::memory_order_acquire);
    const u32 number = static_cast<u32>(head);
    if (number == kNone) {  // More writers than spare elements: one of them is about to end.
      SeqLock::pause(tries);
      continue;
    }
    const u64 next = element(number).next.load(std::memory_order_relaxed);
    const u64 wanted = ((head >> 32) + 1) << 32 | next;
    if (free_.compare_exchange_weak(head, wanted, std::memory_order_acq_rel)) return number;
  }
}

void HashMap::give_free(u32 number) {
  u64 head = free_.load(std::memory_order_relaxed);
  u64 wanted;
  do {
    element(number).next.store(static_cast<u32>(head), std::memory_order_relaxed);
    wanted = ((head >> 32) + 1) << 32 | number;
  } while (!free_.compare_exchange_weak(head, wanted, std::memory_order_acq_rel));
}

void HashMap::unlink(std::atomic<u32>& link, u32 number) {
  CHECK(link.load(std::memory_order_relaxed) == number);
  link.store(element(number).next.load(std::memory_order_relaxed), std::memory_order_relaxed);
  element(number).chained.store(0, std::memory_order_relaxed);
  count_.fetch_sub(1, std::memory_order_relaxed);
}

bool HashMap::evict() {
  for (u64 steps = 0; steps < u64{element_count_} * 2; ++steps) {
    const u32 number = hand_.fetch_add(1, std::memory_order_relaxed) % element_count_;
    Element& each = element(number);
    if (each.chained.load(std::memory_order_relaxed) == 0) continue;
    if (each.marked.exchange(0, std::memory_order_relaxed) != 0) continue;
    Bucket& bucket = bucket_of(each.hash.load(std::memory_order_relaxed));
    bool found = false;
    {
      const Locked locked(bucket.lock);
      std::atomic<u32>* link = &bucket.first;
      u32 at;
      while ((at = link->load(std::memory_order_relaxed)) != kNone && at != number)
        link = &element(at).next;
      found = at == number;  // Else somebody else took it out meanwhile.
      if (found) unlink(*link, number);
    }
    if (!found) continue;
    give_free(number);
    return true;
  }
  return false;
}

void HashMap::store(u32 number, const NewValue& value) const {
  if (value.all_slots) {
    for (u32 slot = 0; slot < slots_; ++slot)
      store_value(value_of(number, slot), value.bytes + slot * value_stride_, spec_.value_size);
  } else {
    store_value(value_of(number, percpu_ ? value.slot : 0), value.bytes, spec_.value_size);
  }
}

// 0, an errno, or -EAGAIN: the map is full. `mine` is the element to use; afterwards the one to
// give back, or kNone.
int HashMap::put_locked(Bucket& bucket, u32 hash, const std::byte* key, const NewValue& value,
                        u64 flags, u32& mine) {
  const Locked locked(bucket.lock);
  std::atomic<u32>* link = find_link(bucket, hash, key);
  const u32 old = link->load(std::memory_order_relaxed);
  if (old != kNone && flags == kNoExist) return -EEXIST;
  if (old == kNone && flags == kExist) return -ENOENT;
  if (old != kNone && percpu_) {
    store(old, value);
    return 0;
  }
  if (old == kNone && count_.fetch_add(1, std::memory_order_relaxed) >= spec_.max_entries) {
    count_.fetch_sub(1, std::memory_order_relaxed);
    return -EAGAIN;
  }
  Element& made = element(mine);
  made.hash.store(hash, std::memory_order_relaxed);
  made.marked.store(old != kNone ? 1 : 0, std::memory_order_relaxed);
  made.chained.store(1, std::memory_order_relaxed);
  const u32 next = old != kNone ? element(old).next.load(std::memory_order_relaxed) : kNone;
  made.next.store(next, std::memory_order_relaxed);
  link->store(mine, std::memory_order_relaxed);
  if (old != kNone) element(old).chained.store(0, std::memory_order_relaxed);
  mine = old;
  return 0;
}

int HashMap::put(const std::byte* key, const NewValue& value, u64 flags) {
  if (flags > kExist) return -EINVAL;
  const u32 hash = hash_of(key);
  Bucket& bucket = bucket_of(hash);
  u32 mine = take_free();
  store_value(key_of(mine), key, spec_.key_size);
  if (percpu_ && !value.all_slots) {
    for (u32 slot = 0; slot < slots_; ++slot) zero_value(value_of(mine, slot), value_stride_);
  }
  store(mine, value);
  int done = -EAGAIN;
  for (u32 tries = 0; tries < kEvictTries && done == -EAGAIN; ++tries) {
    done = put_locked(bucket, hash, key, value, flags, mine);
    if (done == -EAGAIN && (spec_.kind != MapKind::lru_hash || !evict())) break;
  }
  if (mine != kNone) give_free(mine);
  if (done == -EAGAIN) return spec_.kind == MapKind::lru_hash ? -ENOMEM : -E2BIG;
  return done;
}

int HashMap::update(const std::byte* key, const std::byte* value, u64 flags, u32 slot) {
  CHECK(!percpu_ || slot < slots_);
  return put(key, {.bytes = value, .all_slots = false, .slot = slot}, flags);
}

int HashMap::write(const std::byte* key, std::span<const std::byte> value, u64 flags) {
  CHECK(value.size() == value_bytes());
  return put(key, {.bytes = value.data(), .all_slots = percpu_, .slot = 0}, flags);
}

int HashMap::remove(const std::byte* key) {
  const u32 hash = hash_of(key);
  Bucket& bucket = bucket_of(hash);
  u32 number;
  {
    const Locked locked(bucket.lock);
    std::atomic<u32>* link = find_link(bucket, hash, key);
    number = link->load(std::memory_order_relaxed);
    if (number == kNone) return -ENOENT;
    unlink(*link, number);
  }
  give_free(number);
  return 0;
}

int HashMap::read(const std::byte* key, std::span<std::byte> out) {
  CHECK(out.size() == value_bytes());
  const u32 hash = hash_of(key);
  Bucket& bucket = bucket_of(hash);
  const Locked locked(bucket.lock);  // So that the value is this key's from first byte to last.
  const u32 number = find_link(bucket, hash, key)->load(std::memory_order_relaxed);
  if (number == kNone) return -ENOENT;
  load_value(out.data(), value_of(number, 0), out.size());
  return 0;
}

int HashMap::next_key(const std::byte* key, std::byte* next) {
  u64 at = 0;
  if (key != nullptr) {
    const u32 hash = hash_of(key);
    Bucket& bucket = bucket_of(hash);
    const Locked locked(bucket.lock);
    const u32 number = find_link(bucket, hash, key)->load(std::memory_order_relaxed);
    if (number != kNone) {
      const u32 behind = element(number).next.load(std::memory_order_relaxed);
      if (behind != kNone) {
        load_value(next, key_of(behind), spec_.key_size);
        return 0;
      }
      at = (hash & bucket_mask_) + 1;
    }
  }
  for (; at <= bucket_mask_; ++at) {
    Bucket& bucket = buckets_[at];
    if (bucket.first.load(std::memory_order_relaxed) == kNone) continue;
    const Locked locked(bucket.lock);
    const u32 first = bucket.first.load(std::memory_order_relaxed);
    if (first == kNone) continue;
    load_value(next, key_of(first), spec_.key_size);
    return 0;
  }
  return -ENOENT;
}

i64 HashMap::for_each(u32 slot, const Visit& visit) {
  CHECK(!percpu_ || slot < slots_);
  constexpr u32 kBatch = 32;  // Of one bucket: gathered with the lock held, visited without it.
  i64 visits = 0;
  for (u64 at = 0; at <= bucket_mask_; ++at) {
    Bucket& bucket = buckets_[at];
    if (bucket.first.load(std::memory_order_relaxed) == kNone) continue;
    for (u32 skipped = 0;; skipped += kBatch) {
      u32 batch[kBatch];
      u32 gathered = 0, position = 0;
      {
        const Locked locked(bucket.lock);
        u32 number = bucket.first.load(std::memory_order_relaxed);
        for (; number != kNone && gathered < kBatch;
             number = element(number).next.load(std::memory_order_relaxed)) {
          if (position++ >= skipped) batch[gathered++] = number;
        }
      }
      for (u32 i = 0; i < gathered; ++i) {
        // Others may add elements faster than they are visited.
        if (visits == spec_.max_entries) return visits;
        ++visits;
        if (!visit(key_of(batch[i]), value_of(batch[i], percpu_ ? slot : 0))) return visits;
      }
      if (gathered < kBatch) break;
    }
  }
  return visits;
}

bool HashMap::reaches(u64 address, u64 size) const {
  const u64 base = reinterpret_cast<u64>(elements_.data());
  if (address < base || address - base >= element_count_ * element_bytes_) return false;
  const u64 within = (address - base) % element_bytes_;
  const u64 values = sizeof(Element) + key_stride_;
  if (within < values) return false;
  const u64 in_value = (within - values) % value_stride_;
  return in_value <= spec_.value_size && size <= spec_.value_size - in_value;
}

}  // namespace coppice::bpf
