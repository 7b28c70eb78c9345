// pool/overlay.h — what one transaction group has changed of one volume, and not yet merged.
//
// Theory. A block of the volume in the overlay is dirty (its newest content is a page in memory, or
// on disk at `addr`, or both) or zeroed; else the older overlay or the map has it. Dirty overrides
// zeroed. A dirty block is written at most once for each content it had when FLUSH or the group's
// close came by: `addr` is 0 until space is assigned, and an overwrite after that gives the old
// address up (superseded) and starts anew. `logged` says that a durable intent-log record points at
// it. unlogged() names each block and zeroed range that changed since it was last collected, so a
// flush costs what changed since the last.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "pool/block_cache.h"
#include "pool/types.h"
#include "pool/volume_map.h"

namespace coppice::pool {

struct DirtyBlock {
  u64 lba = 0;
  PageRef page;         // Null: read it from addr.
  BlockAddr addr{};     // 0: not written to the device yet.
  u32 crc = 0;          // Valid once addr is.
  bool alive = true;    // false: it was zeroed away; the slot stays, unused.
  bool listed = false;  // In the list of unlogged blocks.
  bool logged = false;
};

class Overlay {
 public:
  // Pointers stay good as long as the overlay does.
  DirtyBlock* find(u64 lba);
  DirtyBlock& put(u64 lba, PageRef page);  // New content; the page is the caller's no more.
  void put_logged(u64 lba, BlockAddr addr, u32 crc);  // At replay.
  bool zeroed(u64 lba) const;
  void zero(BlockRange range, bool logged);

  bool empty() const { return live_blocks_ == 0 && zeroed_.empty(); }
  u64 live_blocks() const { return live_blocks_; }
  u64 pages() const { return pages_; }                 // Blocks whose content is in memory.
  std::deque<DirtyBlock>& slots() { return blocks_; }  // In no order; look at alive.
  std::vector<DirtyBlock*> sorted();                   // Every live block, by lba.
  std::vector<BlockRange> zeroed_ranges() const;       // Ascending, disjoint.
  const std::map<u64, u64>& zeroed_map() const { return zeroed_; }

  struct Unlogged {
    std::vector<DirtyBlock*> blocks;  // May have died since: look at alive.
    std::vector<BlockRange> zeroed;   // In the order they happened.
    bool empty() const { return blocks.empty() && zeroed.empty(); }
  };
  Unlogged take_unlogged();
  bool has_unlogged() const { return !unlogged_.blocks.empty() || !unlogged_.zeroed.empty(); }

  std::vector<Run> take_superseded();
  u64 charged_blocks = 0;  // What its blocks were charged to the pool's budget.

 private:
  friend struct TraceTypes;
  void supersede(DirtyBlock& block);
  void list(DirtyBlock& block);
  void grow_table();
  u32* slot(u64 lba);

  std::deque<DirtyBlock> blocks_;
  std::vector<u32> table_;     // Index into blocks_ + 1; 0: free. Power of two, at most half full.
  std::map<u64, u64> zeroed_;  // begin -> end.
  u64 live_blocks_ = 0;
  u64 pages_ = 0;
  Unlogged unlogged_;
  std::vector<Run> superseded_;
};

}  // namespace coppice::pool
