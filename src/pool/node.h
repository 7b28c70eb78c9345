// pool/node.h — one tree node: its bytes on disk, its checked view in memory, and how it is made.
//
// Theory. On disk a node is 1 or 2 blocks, little endian: a header of kNodeHeaderBytes, one slot
// (offset u16, suffix length u16) an item, the prefix that all keys share, then for each item in
// ascending order the rest of its key and its value, without gaps. So an item costs 4 bytes besides
// its suffix and its value. In an internal node the value is a NodePtr and the key a lower bound of
// what lies below it; the keys that it may hold end where the next item's key begins.
//
// decode() is where bytes from a disk become a Node: it checks every offset, length, the order of
// the keys and the fields of each child pointer. Afterwards access is unchecked. A Node keeps,
// beside the bytes, the first 4 bytes of each suffix as an integer, so that a search touches few
// cache lines.
#pragma once

#include <new>
#include <span>
#include <string>
#include <string_view>

#include "base/endian.h"
#include "base/ref.h"
#include "base/result.h"
#include "io/aligned.h"
#include "pool/types.h"

namespace coppice::pool {

inline constexpr u32 kNodeBytesMax = 8192;  // A node is 1 or 2 blocks.
inline constexpr u32 kNodeBlocksMax = kNodeBytesMax / kBlock;
inline constexpr size_t kKeyBytesMax = 512;
inline constexpr size_t kValueBytesMax = 3072;  // A leaf holds at least two items.
inline constexpr u8 kLevelMax = 16;

inline constexpr u32 kNodeMagic = 0x644e7043;  // "CpNd"
inline constexpr u8 kNodeVersion = 1;
inline constexpr size_t kNodeHeaderBytes = 32;
inline constexpr size_t kNodeSlotBytes = 4;
inline constexpr size_t kNodePtrBytes = 24;
static_assert(kNodeHeaderBytes + 2 * (kNodeSlotBytes + kKeyBytesMax + kValueBytesMax) <=
              kNodeBytesMax);

// A NodePtr in the 24 bytes that internal nodes, records and the uberblock hold it in.
void encode(const NodePtr& ptr, std::byte* out);
NodePtr decode_node_ptr(const std::byte* from);  // Any bytes give a pointer; see well_formed().
// Whether it may name a node at all: a sensible size and level.
bool well_formed(const NodePtr& ptr);

class Node final : public Counted {
 public:
  // The node that `bytes` hold; `crc` is the sum its pointer gives, which the caller has checked.
  static Result<Ref<const Node>> decode(AlignedBuffer bytes, u32 crc);

  static void operator delete(void* at) { ::operator delete(at); }

  u8 level() const { return level_; }
  u32 blocks() const { return static_cast<u32>(bytes_.size() / kBlock); }
  Txg birth() const { return birth_; }
  u32 crc() const { return crc_; }
  size_t count() const { return count_; }  // At least 1.
  size_t memory_bytes() const { return sizeof(Node) + bytes_.size() + count_ * sizeof(u32); }
  std::span<const std::byte> bytes() const { return bytes_.span(); }

  std::string_view prefix() const { return prefix_; }
  std::string_view suffix(size_t i) const { return {text(offset(i)), suffix_length(i)}; }
  std::string_view value(size_t i) const {
    const size_t from = size_t{offset(i)} + suffix_length(i);
    return {text(from), end_of(i) - from};
  }
  NodePtr child(size_t i) const {
    return decode_node_ptr(bytes_.data() + offset(i) + suffix_length(i));
  }
  std::string key(size_t i) const;
  void key(size_t i, std::string& into) const;  // Keeps the string's memory.
  size_t key_size(size_t i) const { return prefix_.size() + suffix_length(i); }
  int compare_key(size_t i, std::string_view key) const;  // Of item i with `key`: <0, 0, >0.

  // The first item whose key is >= (lower) or > (upper) `key`; count() if there is none.
  size_t lower_bound(std::string_view key) const { return bound<false>(key); }
  size_t upper_bound(std::string_view key) const { return bound<true>(key); }
  // The item below which `key` belongs: the last one <= it, or the first of all.
  size_t floor(std::string_view key) const {
    const size_t above = upper_bound(key);
    return above == 0 ? 0 : above - 1;
  }

 private:
  Node() = default;
  // The heads lie behind the object, so that a search finds them near by.
  static void* operator new(size_t size, size_t count) {
    return ::operator new(size + count * sizeof(u32));
  }
  Result<> check();
  Result<> check_items();
  template <bool kUpper>
  size_t bound(std::string_view key) const;

  // The first 4 bytes of each suffix, big endian, zero-padded.
  u32* heads() { return reinterpret_cast<u32*>(this + 1); }
  const u32* heads() const { return reinterpret_cast<const u32*>(this + 1); }
  size_t search(u32 head) const;
  const char* text(size_t at) const { return reinterpret_cast<const char*>(bytes_.data()) + at; }
  const std::byte* slot(size_t i) const {
    return bytes_.data() + kNodeHeaderBytes + i * kNodeSlotBytes;
  }
  u16 offset(size_t i) const { return load_le<u16>(slot(i)); }
  u16 suffix_length(size_t i) const { return load_le<u16>(slot(i) + 2); }
  size_t end_of(size_t i) const { return i + 1 < count_ ? offset(i + 1) : used_; }

  AlignedBuffer bytes_;
  std::string_view prefix_;
  Txg birth_{};
  u32 crc_ = 0;
  u32 count_ = 0;
  u32 used_ = 0;
  float per_head_ = 0;  // Items per unit of head, if heads were spread evenly.
  u8 level_ = 0;
};

// What a node is made of. Views of memory that the maker keeps.
struct NodeItem {
  std::string_view key;
  std::string_view value;
};

// Measures a node that grows item by item, in ascending order of keys.
class NodeMeasure {
 public:
  // Adds the item unless the node would become larger than `limit` bytes; the first one always
  // fits.
  bool add(const NodeItem& item, size_t limit = kNodeBytesMax);
  size_t bytes() const { return bytes_; }
  size_t count() const { return count_; }

 private:
  std::string_view first_;
  size_t shared_ = 0;
  size_t count_ = 0;
  size_t loose_ = 0;  // Of all keys, not shortened, and all values.
  size_t bytes_ = 0;
};

// Writes the node of `items` (ascending, at least one, measured to fit) into `into`, which is
// kNodeBytesMax long; the birth stays 0 for stamp_birth(). Returns its size: 1 or 2 blocks.
size_t encode_node(u8 level, std::span<const NodeItem> items, std::span<std::byte> into);
void stamp_birth(std::span<std::byte> node, Txg birth);

}  // namespace coppice::pool
