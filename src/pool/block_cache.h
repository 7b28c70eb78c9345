// pool/block_cache.h — data blocks kept in memory after they were read or written; one cache a
// lane.
//
// Theory. A block is known by (address, birth), which never names two contents, so nothing is ever
// invalidated: what no tree names any more is not found again; forget() makes room of it at once.
// The cache holds references to pages; one that goes while someone uses it lives until that one is
// done.
#pragma once

#include "pool/clock_table.h"
#include "pool/page_pool.h"

namespace coppice::pool {

class BlockCache {
 public:
  explicit BlockCache(u64 bytes) : table_(bytes / kBlock) {}

  PageRef find(BlockAddr addr, Txg birth) {  // Empty: it is not there.
    const PageRef* page = table_.find(addr, birth);
    if (page == nullptr) {
      ++stats_.misses;
      return {};
    }
    ++stats_.hits;
    return *page;
  }
  bool contains(BlockAddr addr, Txg birth) { return table_.find(addr, birth) != nullptr; }
  // Evicts others to make room. The page's bytes do not change from now on.
  void insert(BlockAddr addr, Txg birth, PageRef page);
  void forget(BlockAddr addr, Txg birth) { table_.erase(addr, birth); }
  // Lets go of up to `blocks` blocks; how many it did.
  size_t evict(size_t blocks);
  void resize(u64 bytes);
  size_t blocks() const { return table_.size(); }

  struct Stats {
    u64 hits = 0, misses = 0, bytes = 0;
  };
  Stats stats() const {
    Stats now = stats_;
    now.bytes = table_.size() * kBlock;
    return now;
  }

 private:
  friend struct TraceTypes;
  ClockTable<PageRef> table_;
  Stats stats_;
};

}  // namespace coppice::pool
