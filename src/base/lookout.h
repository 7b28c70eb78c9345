// base/lookout.h — Lookout: whether to look for an answer for a while before going to sleep for it.
//
// Theory. Looking pays when the answer is being made on another core: it spares both sides a
// wake-up. When it is made on this very core, or will take long, looking is in the way. Nobody
// tells which, so the past must: after a look in vain some waits begin with sleep at once, twice as
// many each time; after one that paid, none do.
#pragma once

#include <algorithm>

#include "base/types.h"

namespace coppice {

class Lookout {
 public:
  // Few: when two sides ask one another in turn and both go to sleep for it, their wake-ups disturb
  // whoever else runs there for milliseconds. Yet half the looks in vain are spared.
  static constexpr u32 kSkippedMax = 2;

  bool worthwhile() {  // Once for each wait; after true comes one of:
    if (skip_ == 0) return true;
    --skip_;
    return false;
  }
  void found() { skip_ = 0, next_ = 1; }
  void in_vain() { skip_ = next_, next_ = std::min(2 * next_, kSkippedMax); }

 private:
  u32 skip_ = 0;
  u32 next_ = 1;
};

}  // namespace coppice
