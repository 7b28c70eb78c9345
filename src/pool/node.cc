#include "pool/node.h"

#include <algorithm>
#include <cstring>

namespace coppice::pool {
namespace {

constexpr size_t kVersionAt = 4, kLevelAt = 5, kBlocksAt = 6, kBirthAt = 8, kCountAt = 16,
                 kPrefixAt = 18, kUsedAt = 20;

// An empty view may have no memory at all, which memcpy does not allow.
void put(std::byte* at, std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
}

u32 head_of(std::string_view suffix) {
  if (suffix.size() >= 4) return load_be<u32>(reinterpret_cast<const std::byte*>(suffix.data()));
  u32 head = 0;
  for (size_t i = 0; i < suffix.size(); ++i)
    head |= u32{static_cast<u8>(suffix[i])} << (24 - 8 * i);
  return head;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t limit = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < limit && a[i] == b[i]) ++i;
  return i;
}

// The first of `count` ascending heads that is >= (or, kUpper, >) `head`. No branch depends on the
// data.
template <bool kUpper>
size_t search_heads(const u32* heads, size_t count, u32 head) {
  const u32* from = heads;
  while (count > 1) {
    const size_t half = count / 2;
    const bool right = kUpper ? from[half - 1] <= head : from[half - 1] < head;
    from += right ? half : 0;
    count -= half;
  }
  const bool right = count == 1 && (kUpper ? *from <= head : *from < head);
  return static_cast<size_t>(from - heads) + (right ? 1 : 0);
}

}  // namespace

void encode(const NodePtr& ptr, std::byte* out) {
  store_le(out, raw(ptr.addr));
  store_le(out + 8, raw(ptr.birth));
  store_le(out + 16, ptr.crc);
  store_le(out + 20, ptr.blocks);
  store_le(out + 21, ptr.level);
  store_le(out + 22, u16{0});
}

NodePtr decode_node_ptr(const std::byte* from) {
  return {.addr = load_le<BlockAddr>(from),
          .birth = load_le<Txg>(from + 8),
          .crc = load_le<u32>(from + 16),
          .blocks = load_le<u8>(from + 20),
          .level = load_le<u8>(from + 21)};
}

bool well_formed(const NodePtr& ptr) {
  return !ptr.empty() && ptr.blocks >= 1 && ptr.blocks <= kNodeBlocksMax && ptr.level < kLevelMax;
}

Result<Ref<const Node>> Node::decode(AlignedBuffer bytes, u32 crc) {
  CHECK(bytes.size() % kBlock == 0 && bytes.size() > 0);
  const size_t count = load_le<u16>(bytes.data() + kCountAt);
  if (kNodeHeaderBytes + count * kNodeSlotBytes > bytes.size())
    return fail(Errc::corrupt, "tree node: number of items");
  auto* made = new (count) Node;
  Ref<const Node> node(made);
  made->bytes_ = std::move(bytes);
  made->crc_ = crc;
  TRY_VOID(made->check());
  return node;
}

Result<> Node::check() {
  const std::byte* header = bytes_.data();
  if (load_le<u32>(header) != kNodeMagic) return fail(Errc::corrupt, "tree node: magic number");
  if (load_le<u8>(header + kVersionAt) != kNodeVersion)
    return fail(Errc::unsupported, "tree node: of a newer version");
  level_ = load_le<u8>(header + kLevelAt);
  birth_ = load_le<Txg>(header + kBirthAt);
  count_ = load_le<u16>(header + kCountAt);
  used_ = load_le<u32>(header + kUsedAt);
  const size_t prefix_size = load_le<u16>(header + kPrefixAt);
  if (load_le<u8>(header + kBlocksAt) != blocks() || blocks() > kNodeBlocksMax)
    return fail(Errc::corrupt, "tree node: size");
  if (level_ >= kLevelMax || count_ == 0 || prefix_size > kKeyBytesMax || used_ > bytes_.size())
    return fail(Errc::corrupt, "tree node: header");
  const size_t prefix_at = kNodeHeaderBytes + count_ * kNodeSlotBytes;
  if (prefix_at + prefix_size > used_) return fail(Errc::corrupt, "tree node: prefix");
  prefix_ = {text(prefix_at), prefix_size};
  return check_items();
}

Result<> Node::check_items() {
  u32* const heads = this->heads();
  size_t at = static_cast<size_t>(prefix_.data() + prefix_.size() - text(0));
  for (size_t i = 0; i < count_; ++i) {
    const size_t end = end_of(i), suffix_size = suffix_length(i);
    if (offset(i) != at || end > used_ || end < at + suffix_size)
      return fail(Errc::corrupt, "tree node: item out of bounds");
    const size_t value_size = end - at - suffix_size;
    if (prefix_.size() + suffix_size > kKeyBytesMax || value_size > kValueBytesMax)
      return fail(Errc::corrupt, "tree node: item too long");
    heads[i] = head_of(suffix(i));
    if (i > 0 &&
        (heads[i - 1] > heads[i] || (heads[i - 1] == heads[i] && suffix(i - 1) >= suffix(i))))
      return fail(Errc::corrupt, "tree node: order of keys");
    if (level_ > 0) {
      if (value_size != kNodePtrBytes) return fail(Errc::corrupt, "tree node: child pointer");
      const NodePtr ptr = child(i);
      if (!well_formed(ptr) || ptr.level + 1 != level_ || ptr.birth > birth_)
        return fail(Errc::corrupt, "tree node: child pointer");
    }
    at = end;
  }
  if (at != used_) return fail(Errc::corrupt, "tree node: unused bytes among the items");
  const u32 spread = heads[count_ - 1] - heads[0];
  per_head_ = spread == 0 ? 0 : static_cast<float>(count_ - 1) / static_cast<float>(spread);
  return {};
}

std::string Node::key(size_t i) const {
  std::string full;
  key(i, full);
  return full;
}

void Node::key(size_t i, std::string& into) const {
  into.assign(prefix_);
  into.append(suffix(i));
}

int Node::compare_key(size_t i, std::string_view key) const {
  const int by_prefix = prefix_.compare(key.substr(0, prefix_.size()));
  if (by_prefix != 0) return by_prefix;
  return suffix(i).compare(key.substr(prefix_.size()));
}

// The first item whose head is >= `head`. Mostly keys are spread evenly, so it first looks where
// the item would be then.
size_t Node::search(u32 head) const {
  constexpr size_t kWindow = 8;
  const u32* const all = heads();
  if (head <= all[0]) return 0;
  if (count_ <= 4 * kWindow) return search_heads<false>(all, count_, head);
  const float guess = static_cast<float>(head - all[0]) * per_head_;
  const size_t near = guess < static_cast<float>(count_) ? static_cast<size_t>(guess) : count_ - 1;
  const size_t from = near > kWindow ? near - kWindow : 0;
  const size_t to = std::min<size_t>(near + kWindow, count_);
  if ((from == 0 || all[from - 1] < head) && (to == count_ || all[to] >= head))
    return from + search_heads<false>(all + from, to - from, head);
  return search_heads<false>(all, count_, head);
}

template <bool kUpper>
size_t Node::bound(std::string_view key) const {
  const size_t shared = std::min(prefix_.size(), key.size());
  if (const int order = key.substr(0, shared).compare(prefix_.substr(0, shared)); order != 0)
    return order < 0 ? 0 : count_;
  if (key.size() < prefix_.size()) return 0;
  const std::string_view rest = key.substr(prefix_.size());
  const u32 head = head_of(rest);
  const u32* const heads = this->heads();
  size_t from = search(head);
  if (from == count_ || heads[from] != head) return from;
  // Among those with the same head the rest decides. Mostly there is one.
  size_t to = from + 1;
  if (to < count_ && heads[to] == head) to += search_heads<true>(heads + to, count_ - to, head);
  while (from < to) {
    const size_t middle = from + (to - from) / 2;
    const int order = suffix(middle).compare(rest);
    const bool right = kUpper ? order <= 0 : order < 0;
    if (right)
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}
template size_t Node::bound<false>(std::string_view) const;
template size_t Node::bound<true>(std::string_view) const;

bool NodeMeasure::add(const NodeItem& item, size_t limit) {
  // Keys ascend, so what the first and the last share, all share.
  const size_t shared =
      count_ == 0 ? item.key.size() : common_prefix(first_.substr(0, shared_), item.key);
  const size_t count = count_ + 1, loose = loose_ + item.key.size() + item.value.size();
  const size_t bytes = kNodeHeaderBytes + count * kNodeSlotBytes + loose + shared - count * shared;
  if (bytes > limit && count > 1) return false;
  if (count_ == 0) first_ = item.key;
  shared_ = shared;
  count_ = count;
  loose_ = loose;
  bytes_ = bytes;
  return true;
}

size_t encode_node(u8 level, std::span<const NodeItem> items, std::span<std::byte> into) {
  CHECK(!items.empty() && level < kLevelMax);
  CHECK(into.size() == kNodeBytesMax);
  const std::string_view first = items.front().key;
  const std::string_view prefix = first.substr(0, common_prefix(first, items.back().key));
  std::byte* const base = into.data();
  std::byte* slot = base + kNodeHeaderBytes;
  size_t at = kNodeHeaderBytes + items.size() * kNodeSlotBytes;
  CHECK(at + prefix.size() <= kNodeBytesMax);
  put(base + at, prefix);
  at += prefix.size();
  for (const NodeItem& item : items) {
    const size_t suffix_size = item.key.size() - prefix.size();
    CHECK(at + suffix_size + item.value.size() <= kNodeBytesMax);
    store_le(slot, static_cast<u16>(at));
    store_le(slot + 2, static_cast<u16>(suffix_size));
    slot += kNodeSlotBytes;
    put(base + at, item.key.substr(prefix.size()));
    at += suffix_size;
    put(base + at, item.value);
    at += item.value.size();
  }
  const size_t size = round_up(at, kBlock);
  std::memset(base + at, 0, size - at);
  std::memset(base, 0, kNodeHeaderBytes);
  store_le(base, kNodeMagic);
  store_le(base + kVersionAt, kNodeVersion);
  store_le(base + kLevelAt, level);
  store_le(base + kBlocksAt, static_cast<u8>(size / kBlock));
  store_le(base + kCountAt, static_cast<u16>(items.size()));
  store_le(base + kPrefixAt, static_cast<u16>(prefix.size()));
  store_le(base + kUsedAt, static_cast<u32>(at));
  return size;
}

void stamp_birth(std::span<std::byte> node, Txg birth) {
  CHECK(node.size() >= kNodeHeaderBytes);
  store_le(node.data() + kBirthAt, birth);
}

}  // namespace coppice::pool
