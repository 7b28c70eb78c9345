// helper/jit/testing/random_program.h — programs that are safe to run as machine code, whatever the
// bytes they are made of.
#pragma once

#include <span>
#include <vector>

#include "bpf/instruction.h"

namespace coppice::jit {

inline constexpr size_t kArenaBytes = 256;  // What such a program finds at r1, and may change.

// Arithmetic, memory within the arena and the frame, jumps forward, loops that end, calls of a
// subprogram. What its registers hold at the end is in the arena.
std::vector<bpf::Instruction> random_program(std::span<const u8> bytes);

}  // namespace coppice::jit
