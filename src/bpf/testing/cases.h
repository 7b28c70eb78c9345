// bpf/testing/cases.h — every instruction and the values at which it may go wrong, for each engine.
#pragma once

#include <vector>

#include "bpf/instruction.h"

namespace coppice::bpf {

inline constexpr u64 kEdges[] = {0,
                                 1,
                                 2,
                                 7,
                                 31,
                                 32,
                                 33,
                                 63,
                                 64,
                                 65,
                                 0x7f,
                                 0x80,
                                 0xff,
                                 0x7fff,
                                 0x8000,
                                 0xffff,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 0x100000000,
                                 0x123456789abcdef0,
                                 0x7fffffffffffffff,
                                 0x8000000000000000,
                                 0x8000000080000000,
                                 0xfffffffeffffffff,
                                 0xfffffffffffffffe,
                                 0xffffffffffffffff};
inline constexpr i32 kImmediates[] = {
    0,   1,  2,  3,  5,  16,  31,   32,  33,    63,     64,         65,
    127, -1, -2, -3, -8, -63, -128, 255, 65535, -65536, 0x7fffffff, -0x7fffffff - 1};
inline constexpr i32 kAtomicOperations[] = {0x00, 0x01, 0x40, 0x41, 0x50,
                                            0x51, 0xa0, 0xa1, 0xe1, 0xf1};

// All arithmetic and all conditional jumps (over one slot), which work on r2 and r3.
std::vector<Instruction> arithmetic_cases();
std::vector<Instruction> jump_cases();

bool takes_register(const Instruction& in);   // As its second operand.
bool takes_immediate(const Instruction& in);  // The same; others may have one that says more.
// The instruction with each of kImmediates if it takes one, else as it is.
std::vector<Instruction> with_immediates(const Instruction& in);

}  // namespace coppice::bpf
