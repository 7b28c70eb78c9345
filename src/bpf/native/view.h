// bpf/native/view.h — what machine code sees of the Machine that runs it: these bytes, its first.
#pragma once

#include "base/types.h"

namespace coppice::bpf {

inline constexpr u32 kFrames = 8;        // Calls and callbacks in one another, with the entry.
inline constexpr u32 kFrameBytes = 512;  // Of each one's stack.

struct View {
  u32 slot = 0;           // The reactor's number.
  u32 depth = 0;          // Frames in use, of programs that show them; the machine code counts.
  u64 frames[kFrames]{};  // Where they begin, kFrameBytes each.
};

}  // namespace coppice::bpf
