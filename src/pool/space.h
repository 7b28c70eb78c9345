// pool/space.h — which blocks of the device are in use: the allocator and its bitmap on disk.
//
// Theory. After the label area (kLabelBlocks) the device is cut into regions of kRegionBlocks: two
// bitmap slots, then kRegionData data blocks, one bit each. A region's bitmap is written, in the
// group that changed it, to the slot that the durable uberblock does not count on; the uberblock
// carries a sum over (region, txg, crc) of all current slots, so that a lost or stale slot cannot
// pass for the current one. Growing the device adds regions at its end.
//
// In memory a block is free, granted (handed out, not yet part of any committed group), used (part
// of the group being written), or dying (no longer named by the group being written, but a crash
// may still recover one that does). A region that was never written counts as all free and adds
// nothing to the sum, so making a pool writes no bitmaps. Two bitmaps: `used` is what the next
// uberblock will say; `busy` is what take() avoids: granted, used or dying. settle(T) frees what
// died in groups <= T once T is durable. Invariant, on which copy-on-write stands: take() never
// yields a block that a durable uberblock reaches, nor one that a valid intent-log record points
// at.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "pool/types.h"

namespace coppice::pool {

inline constexpr u64 kLabelBlocks = 256;  // 1 MiB: the uberblocks.
inline constexpr u64 kRegionHeaderBytes = 64;
inline constexpr u64 kRegionData = (kBlock - kRegionHeaderBytes) * 8;
inline constexpr u64 kRegionBlocks = kRegionData + 2;

class Space {
 public:
  // A new pool's: everything free. Nothing is written before write().
  // `pool_guid` tells this pool's bitmaps from those of an earlier pool on the same device.
  static std::unique_ptr<Space> make(u64 device_blocks, u64 pool_guid = 0);
  // Reads all bitmaps as of `txg`. corrupt: a slot is missing or the sum differs.
  static Task<std::unique_ptr<Space>> load(io::Disk& disk, u64 device_blocks, Txg txg, u64 sum,
                                           u64 pool_guid = 0);
  ~Space();

  // Hands out at most `want` blocks as runs (largest first choice: runs of >= want, else as large
  // as can be found without reading the whole map). no_space: nothing is free; the state is
  // unchanged.
  Result<std::vector<Run>> take(u64 want);
  void untake(Run run);         // Granted -> free. It was never written to, or is of no account.
  Result<> claim(Run run);      // Free -> granted, at recovery. corrupt: not free, or out of range.
  void use(Run run);            // Granted -> used.
  void kill(Txg txg, Run run);  // Used -> dying until `txg` is durable.
  void kill_granted(
      Txg txg, Run run);  // Granted (an intent-log block, say) -> dying until `txg` is durable.

  // Writes every region changed since the last write to its other slot, stamped `txg`, and returns
  // the sum for the uberblock. Does not flush. On error the Space must be discarded.
  Task<u64> write(io::Disk& disk, Txg txg);
  // The uberblock of `durable` is on the disk: what died up to it is free. Returns those runs
  // (merged, in order) so that they can be punched. While held (a scrub looks at old trees), frees
  // are put off.
  std::vector<Run> settle(Txg durable);
  void hold();
  void unhold();

  void grow(u64 device_blocks);  // CHECKs that it does not shrink.
  bool is_used(BlockAddr addr) const;
  bool in_range(Run run) const;  // All of it allocatable blocks of one region.

  u64 total_blocks() const;  // Allocatable.
  u64 used_blocks() const;
  u64 free_blocks() const;  // Not busy.
  u64 dying_blocks() const;
  u64 granted_blocks() const;

 private:
  Space();
  struct Region;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace coppice::pool
