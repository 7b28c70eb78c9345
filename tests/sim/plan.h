// plan.h — what kind of history a seed stands for.
#pragma once

#include <string>

#include "base/types.h"

namespace coppice::simtest {

enum class FaultClass : u8 {
  crashes,  // Power loss and kill -9. Nothing acknowledged as durable may be lost.
  failing,  // Also requests that fail with EIO and ENOSPC. Likewise.
  rotting,  // Bits flip at rest behind a committed pool. Nothing wrong may be read.
  lying,    // Writes get lost or misdirected while it runs. Nothing may be read that was never
            // written there.
};
const char* name_of(FaultClass faults);

struct Plan {
  u64 seed = 0;
  FaultClass faults = FaultClass::crashes;
  u64 media_bytes = 0;
  u64 lanes = 1;  // I/O lanes beside the sync lane; 0: that one does all.
  u64 lives = 1;
  u64 steps = 0;  // Operations a life.
  u64 group_ns = 0;
  u64 dirty_bytes_max = 0;
  u64 cache_bytes = 0;
  u64 node_cache_bytes = 0;
  u64 in_flight_max = 1;
  u64 volume_bytes_max = 0;
  // How often, of 100, a step is this; the rest is writing.
  u64 admin = 0, reads = 0, flushes = 0, zeroes = 0;
  u64 fua = 0;         // Of 100 writes.
  u64 kill = 0;        // Of 100 crashes: kill -9 instead of power loss.
  u64 close = 0;       // Of 100 lives: ends by closing.
  u64 big = 0;         // Of 1000 writes: up to megabytes.
  u64 hot_blocks = 0;  // Most requests go to the first so many blocks.
  u64 snapshots_max = 0;
  bool destroy_all = false;
  std::string script;               // Not random, but these operations: see script.h.
  u64 crash_at = ~u64{0};           // With a script: the disk request to crash at,
  u64 recovery_crash_at = ~u64{0};  // and that of the recovery, to crash at once more.
  std::string describe() const;
};

// `steps` 0: as the seed decides.
Plan plan_of(u64 seed, u64 steps = 0);

}  // namespace coppice::simtest
