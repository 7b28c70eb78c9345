#include "pool/block_cache.h"

#include "trace/point.h"

namespace coppice::pool {

void BlockCache::insert(BlockAddr addr, Txg birth, PageRef page) {
  CHECK(page);
  if (table_.capacity() == 0) return;
  if (PageRef* there = table_.find(addr, birth)) {
    *there = std::move(page);
    return;
  }
  if (table_.full()) evict(1);
  table_.insert(addr, birth, std::move(page));
}

size_t BlockCache::evict(size_t blocks) {
  size_t done = 0;
  while (done < blocks && table_.evict()) ++done;
  if (trace::on(trace::Point::cache_evict)) [[unlikely]]
    trace::fire(trace::Point::cache_evict, {this, blocks, done});
  return done;
}

void BlockCache::resize(u64 bytes) {
  const size_t capacity = bytes / kBlock;
  if (table_.size() > capacity) evict(table_.size() - capacity);
  table_.reset(capacity);
}

}  // namespace coppice::pool
