// pool/node_store.h — tree nodes in memory and on the way to the disk; one store a lane.
//
// Theory. A node on disk never changes: a new version goes to a new place. So a node in memory is
// found by (addr, birth), needs no invalidation, and may be shared by every tree that names it;
// once none does, forget() makes room of it at once. A node read from disk is checked once, against
// its pointer (crc, birth, level, size) and in structure (offsets in range, keys ascending), before
// anyone sees it; after that it is trusted.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/ref.h"
#include "pool/allocator.h"
#include "pool/node.h"
#include "pool/types.h"

namespace coppice::pool {

class NodeStore {
 public:
  // `pool_guid`: for tracepoints.
  NodeStore(rt::Executor& executor, io::Disk& disk, u64 cache_bytes, u64 pool_guid = 0);
  ~NodeStore();

  Ref<const Node> cached(const NodePtr& ptr);  // Null if it is not in memory.
  Task<Ref<const Node>> load(
      NodePtr ptr);  // io, corrupt. Concurrent loads of one node share one read.
  void insert(const NodePtr& ptr, Ref<const Node> node);
  void forget(BlockAddr addr, Txg birth);
  void resize(u64 cache_bytes);

  struct Stats {
    u64 hits = 0, misses = 0, corrupt = 0, io_errors = 0, bytes = 0;
  };
  const Stats& stats() const;
  io::Disk& disk();
  rt::Executor& executor();
  u64 pool_guid() const;

 private:
  friend struct TraceTypes;
  struct State;
  std::unique_ptr<State> state_;
};

// Collects the nodes that merges make, packs them side by side into large writes, and puts them
// into the store's cache. add() gives the pointer at once; the bytes are on the disk after
// finish(). Before it is destroyed finish() or drain() was awaited; a merge() that fails has done
// so. After an error the group is lost and nothing may be named.
class NodeWriter {
 public:
  NodeWriter(NodeStore& store, Allocator& allocator, Txg birth);
  ~NodeWriter();
  // `bytes`: a whole node as encoded by pool/node.h but for the birth, which is stamped here.
  // no_space, also when free space is so torn that no two blocks lie side by side.
  Task<NodePtr> add(u8 level, std::span<const std::byte> bytes);
  Task<> finish();
  Task<> drain();  // Waits for what is under way, and begins nothing.
  u64 blocks_written() const;
  const std::vector<NodePtr>& written() const;
  Txg birth() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace coppice::pool
