#include "bpf/lpm_trie.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

#include "base/endian.h"

namespace coppice::bpf {
namespace {

constexpr u32 kReadTries = 64;  // Then a lookup waits for the lock.
constexpr auto kRelaxed = std::memory_order_relaxed;

u32 bit_at(const std::byte* bits, u32 index) {
  return static_cast<u32>(bits[index / 8] >> (7 - index % 8)) & 1;
}

}  // namespace

LpmTrie::LpmTrie(MapSpec spec, MapMemory memory)
    : spec_(std::move(spec)),
      bits_stride_(stride_of(bit_bytes())),
      node_bytes_(sizeof(Node) + bits_stride_ + stride_of(spec_.value_size)),
      node_count_(2 * spec_.max_entries),
      memory_(std::move(memory)) {
  CHECK(node_bytes_ * node_count_ <= memory_.size());
  for (u32 i = node_count_; i-- > 0;) {
    new (&node(i)) Node();
    give(i);
  }
}

Result<std::unique_ptr<Map>> LpmTrie::make(MapSpec spec) {
  const u64 bytes = sizeof(Node) + stride_of(spec.key_size - 4) + stride_of(spec.value_size);
  TRY(auto memory, MapMemory::make(2 * u64{spec.max_entries} * bytes));
  return std::unique_ptr<Map>(new LpmTrie(std::move(spec), std::move(memory)));
}

u32 LpmTrie::take(const std::byte* bits, u32 length, const std::byte* value) {
  const u32 number = free_;
  CHECK(number != kNone);
  Node& made = node(number);
  free_ = made.child[0].load(kRelaxed);
  made.child[0].store(kNone, kRelaxed);
  made.child[1].store(kNone, kRelaxed);
  made.length.store(length, kRelaxed);
  made.has_value.store(value != nullptr ? 1 : 0, kRelaxed);
  store_value(bits_of(number), bits, bit_bytes());
  if (value != nullptr) store_value(value_of(number), value, spec_.value_size);
  return number;
}

void LpmTrie::give(u32 number) {
  node(number).child[0].store(free_, kRelaxed);
  free_ = number;
}

// How many bits the node's prefix and the key begin with alike.
u32 LpmTrie::common(u32 number, const std::byte* bits, u32 length) const {
  const u32 limit = std::min(node(number).length.load(kRelaxed), length);
  const auto* mine = reinterpret_cast<const u8*>(bits_of(number));
  for (u32 at = 0; at < limit; at += 8) {
    const u8 differ = static_cast<u8>(__atomic_load_n(mine + at / 8, __ATOMIC_RELAXED) ^
                                      static_cast<u8>(bits[at / 8]));
    if (differ != 0) return std::min(limit, at + static_cast<u32>(std::countl_zero(differ)));
  }
  return limit;
}

bool LpmTrie::is_exactly(u32 number, const std::byte* bits, u32 length) const {
  return node(number).length.load(kRelaxed) == length && common(number, bits, length) == length;
}

u32 LpmTrie::longest(const std::byte* key) const {
  const u32 length = load_le<u32>(key);
  const std::byte* bits = key + 4;
  const auto walk = [&](u32 begun, bool locked) {
    u32 found = kNone;
    u32 at = root_.load(kRelaxed);
    while (at != kNone && (locked || lock_.unchanged(begun))) {
      const Node& each = node(at);
      const u32 own = each.length.load(kRelaxed);
      if (common(at, bits, length) < own) break;
      if (each.has_value.load(kRelaxed) != 0) found = at;
      if (own >= length) break;
      at = each.child[bit_at(bits, own)].load(kRelaxed);
    }
    return found;
  };
  for (u32 tries = 0; tries < kReadTries; ++tries) {
    const u32 begun = lock_.begin();
    const u32 found = walk(begun, false);
    if (lock_.unchanged(begun)) return found;
    SeqLock::pause(tries);
  }
  const Locked locked(lock_);
  return walk(0, true);
}

std::byte* LpmTrie::lookup(const std::byte* key, u32) {
  if (load_le<u32>(key) > length_max()) return nullptr;
  const u32 found = longest(key);
  return found == kNone ? nullptr : value_of(found);
}

int LpmTrie::update(const std::byte* key, const std::byte* value, u64 flags, u32) {
  const u32 length = load_le<u32>(key);
  const std::byte* bits = key + 4;
  if (flags > kExist || length > length_max()) return -EINVAL;
  const Locked locked(lock_);
  std::atomic<u32>* link = &root_;
  u32 at, alike = 0;
  while ((at = link->load(kRelaxed)) != kNone) {
    alike = common(at, bits, length);
    if (alike < node(at).length.load(kRelaxed) || alike == length) break;
    link = &node(at).child[bit_at(bits, alike)];
  }
  const bool here = at != kNone && is_exactly(at, bits, length);
  const bool exists = here && node(at).has_value.load(kRelaxed) != 0;
  if (exists && flags == kNoExist) return -EEXIST;
  if (!exists && flags == kExist) return -ENOENT;
  if (exists) {
    store_value(value_of(at), value, spec_.value_size);
    return 0;
  }
  if (count_ == spec_.max_entries) return -ENOSPC;
  ++count_;
  if (here) {  // A fork becomes a prefix; behind its length it may have another's bits.
    store_value(bits_of(at), bits, bit_bytes());
    store_value(value_of(at), value, spec_.value_size);
    node(at).has_value.store(1, kRelaxed);
    return 0;
  }
  const u32 made = take(bits, length, value);
  if (at == kNone) {
    link->store(made, kRelaxed);
  } else if (alike == length) {  // The new prefix is what the old one begins with.
    node(made).child[bit_at(bits_of(at), length)].store(at, kRelaxed);
    link->store(made, kRelaxed);
  } else {
    const u32 fork = take(bits, alike, nullptr);
    node(fork).child[bit_at(bits, alike)].store(made, kRelaxed);
    node(fork).child[1 - bit_at(bits, alike)].store(at, kRelaxed);
    link->store(fork, kRelaxed);
  }
  return 0;
}

int LpmTrie::remove(const std::byte* key) {
  const u32 length = load_le<u32>(key);
  const std::byte* bits = key + 4;
  if (length > length_max()) return -EINVAL;
  const Locked locked(lock_);
  std::atomic<u32>* above = nullptr;  // The link to the node that `link` belongs to.
  std::atomic<u32>* link = &root_;
  u32 at;
  while ((at = link->load(kRelaxed)) != kNone && !is_exactly(at, bits, length)) {
    const u32 own = node(at).length.load(kRelaxed);
    if (own >= length || common(at, bits, length) < own) return -ENOENT;
    above = link;
    link = &node(at).child[bit_at(bits, own)];
  }
  if (at == kNone || node(at).has_value.load(kRelaxed) == 0) return -ENOENT;
  --count_;
  const u32 left = node(at).child[0].load(kRelaxed), right = node(at).child[1].load(kRelaxed);
  if (left != kNone && right != kNone) {  // It goes on as a fork.
    node(at).has_value.store(0, kRelaxed);
    return 0;
  }
  const u32 heir = left != kNone ? left : right;
  link->store(heir, kRelaxed);
  give(at);
  if (heir != kNone || above == nullptr) return 0;
  const u32 fork = above->load(kRelaxed);
  if (node(fork).has_value.load(kRelaxed) != 0) return 0;
  // A fork with one child is none.
  const u32 first = node(fork).child[0].load(kRelaxed);
  above->store(first != kNone ? first : node(fork).child[1].load(kRelaxed), kRelaxed);
  give(fork);
  return 0;
}

int LpmTrie::read(const std::byte* key, std::span<std::byte> out) {
  CHECK(out.size() == spec_.value_size);
  const std::byte* value = lookup(key, 0);
  if (value == nullptr) return -ENOENT;
  load_value(out.data(), value, out.size());
  return 0;
}

int LpmTrie::write(const std::byte* key, std::span<const std::byte> value, u64 flags) {
  CHECK(value.size() == spec_.value_size);
  return update(key, value.data(), flags, 0);
}

int LpmTrie::next_key(const std::byte* key, std::byte* next) {
  const u32 length = key != nullptr ? load_le<u32>(key) : ~u32{0};
  const Locked locked(lock_);
  struct Visit {
    u32 number;
    bool expanded;
  };
  std::vector<Visit> open;  // No deeper than a key has bits.
  if (const u32 root = root_.load(kRelaxed); root != kNone) open.push_back({root, false});
  u32 first = kNone;
  bool passed = false;
  const auto answer = [&](u32 number) {
    store_le(next, node(number).length.load(kRelaxed));
    load_value(next + 4, bits_of(number), bit_bytes());
    return 0;
  };
  while (!open.empty()) {
    const Visit visit = open.back();
    if (!visit.expanded) {
      open.back().expanded = true;
      for (const int side : {1, 0}) {
        const u32 child = node(visit.number).child[side].load(kRelaxed);
        if (child != kNone) open.push_back({child, false});
      }
      continue;
    }
    open.pop_back();
    if (node(visit.number).has_value.load(kRelaxed) == 0) continue;
    if (passed) return answer(visit.number);
    if (first == kNone) first = visit.number;
    passed = key != nullptr && length <= length_max() && is_exactly(visit.number, key + 4, length);
  }
  if (passed || first == kNone) return -ENOENT;  // The last, or none at all.
  return answer(first);
}

bool LpmTrie::reaches(u64 address, u64 size) const {
  const u64 base = reinterpret_cast<u64>(memory_.data());
  if (address < base || address - base >= node_count_ * node_bytes_) return false;
  const u64 within = (address - base) % node_bytes_;
  const u64 values = sizeof(Node) + bits_stride_;
  return within >= values && within - values <= spec_.value_size &&
         size <= spec_.value_size - (within - values);
}

}  // namespace coppice::bpf
