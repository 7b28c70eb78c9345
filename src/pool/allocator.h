// pool/allocator.h — where new blocks come from, for whoever writes trees and data.
#pragma once

#include "pool/types.h"

namespace coppice::pool {

// On one lane. Behind it stands the Space itself (sync lane) or a grant of it (I/O lanes).
class Allocator {
 public:
  virtual ~Allocator() = default;
  // A run of 1 to `want` blocks, as long as can be had. no_space. The blocks become part of group
  // `txg`.
  virtual Task<Run> take(u32 want, Txg txg) = 0;
  // Of a run taken for the same group: what was not needed.
  virtual void untake(Run run, Txg txg) = 0;
};

}  // namespace coppice::pool
