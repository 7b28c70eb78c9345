// pool/types.h — the names of things in a pool.
#pragma once

#include <compare>
#include <cstring>

#include "base/check.h"
#include "base/types.h"
#include "blk/device.h"
#include "io/aligned.h"
#include "io/disk.h"

namespace coppice::pool {

using blk::kBlock;  // Bytes in a block, the unit of allocation and of copy-on-write.
static_assert(kBlock == io::kDiskBlock);
using io::AlignedBuffer;

enum class Txg : u64 {};        // Transaction group number; the first committed one is 1.
enum class BlockAddr : u64 {};  // Block on the device: byte offset / kBlock. 0 is never allocated.
enum class DatasetId : u64 {};  // 0 is none; never reused.
enum class SnapshotId : u64 {
};  // 0 is none; never reused; drawn from the same counter as DatasetId.

constexpr u64 raw(Txg v) { return static_cast<u64>(v); }
constexpr u64 raw(BlockAddr v) { return static_cast<u64>(v); }
constexpr u64 raw(DatasetId v) { return static_cast<u64>(v); }
constexpr u64 raw(SnapshotId v) { return static_cast<u64>(v); }
constexpr Txg next(Txg v) { return Txg(raw(v) + 1); }
constexpr u64 byte_offset(BlockAddr v) { return raw(v) * kBlock; }
constexpr BlockAddr operator+(BlockAddr a, u64 blocks) { return BlockAddr(raw(a) + blocks); }

// `count` blocks side by side.
struct Run {
  BlockAddr start{};
  u32 count = 0;
  friend bool operator==(const Run&, const Run&) = default;
};

// Names one tree node, and proves it: what does not match crc and birth is not the node.
struct NodePtr {
  BlockAddr addr{};  // 0: the empty tree.
  Txg birth{};       // The group that wrote it. (addr, birth) never names two contents.
  u32 crc = 0;       // crc32c of all its bytes.
  u8 blocks = 0;     // Its size.
  u8 level = 0;      // 0 is a leaf.
  bool empty() const { return raw(addr) == 0; }
  Run run() const { return {addr, blocks}; }
  friend bool operator==(const NodePtr&, const NodePtr&) = default;
};

}  // namespace coppice::pool
