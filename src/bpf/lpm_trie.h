// bpf/lpm_trie.h — values by prefixes; a lookup finds the longest that its key begins with.
//
// Theory. A key is the prefix's length in bits (u32, the host's order) and its bits, the first the
// highest of the first byte. The trie is path-compressed: a node holds a prefix, its children
// longer ones that differ in the first bit behind it. A node without a value only joins two
// children, so there are fewer of them than of those with one: 2 x max_entries nodes always
// suffice. One sequence lock guards the whole: updates take turns, lookups write nothing.
#pragma once

#include "bpf/map.h"
#include "bpf/map_memory.h"
#include "bpf/seq_lock.h"

namespace coppice::bpf {

class LpmTrie final : public Map {
 public:
  static Result<std::unique_ptr<Map>> make(MapSpec spec);

  const MapSpec& spec() const override { return spec_; }
  std::byte* lookup(const std::byte* key, u32 slot) override;
  int update(const std::byte* key, const std::byte* value, u64 flags, u32 slot) override;
  int remove(const std::byte* key) override;
  int read(const std::byte* key, std::span<std::byte> out) override;
  int write(const std::byte* key, std::span<const std::byte> value, u64 flags) override;
  // Longer prefixes before those they begin with, as the kernel's.
  int next_key(const std::byte* key, std::byte* next) override;
  bool reaches(u64 address, u64 size) const override;

 private:
  static constexpr u32 kNone = ~u32{0};
  struct Node {  // Followed by the bits and the value, each rounded up to 8 bytes.
    std::atomic<u32> child[2];
    std::atomic<u32> length;  // Of the prefix.
    std::atomic<u32> has_value;
  };
  static_assert(sizeof(Node) == 16);

  LpmTrie(MapSpec spec, MapMemory memory);
  Node& node(u32 number) const {
    return *reinterpret_cast<Node*>(memory_.data() + number * node_bytes_);
  }
  std::byte* bits_of(u32 number) const {
    return memory_.data() + number * node_bytes_ + sizeof(Node);
  }
  std::byte* value_of(u32 number) const { return bits_of(number) + bits_stride_; }
  u32 bit_bytes() const { return spec_.key_size - 4; }
  u32 length_max() const { return bit_bytes() * 8; }

  u32 take(const std::byte* bits, u32 length, const std::byte* value);
  void give(u32 number);
  u32 common(u32 number, const std::byte* bits, u32 length) const;
  u32 longest(const std::byte* key) const;
  bool is_exactly(u32 number, const std::byte* bits, u32 length) const;

  MapSpec spec_;
  u64 bits_stride_, node_bytes_;
  u32 node_count_;
  MapMemory memory_;
  mutable SeqLock lock_;
  std::atomic<u32> root_{kNone};
  u32 free_ = kNone;  // Chained by child[0]. The lock is held.
  u32 count_ = 0;     // Of values.
};

}  // namespace coppice::bpf
