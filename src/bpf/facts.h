// bpf/facts.h — what was proved of a program, slot by slot, for whoever compiles it.
//
// A fact holds on every path that the verifier found; a compiler may build on it. Saying less is
// always right: without facts a program runs the same, only slower.
#pragma once

#include <vector>

#include "base/types.h"

namespace coppice::bpf {

inline constexpr i32 kNoMap = -1;

struct Fact {
  bool reached = false;   // Some path gets here.
  bool constant = false;  // Of a load: it loads `value`, as a frozen map's content.
  u64 value = 0;          // Extended as the load extends it.
  i32 map = kNoMap;       // Of a call: the index of the one map that its first map argument is.
};

struct Facts {
  std::vector<Fact> slots;  // One a slot of the program, or none: nothing is known.
  // How many bytes below r10 each subprogram, in their order, ever reaches; or none.
  std::vector<u32> frame_bytes;
};

}  // namespace coppice::bpf
