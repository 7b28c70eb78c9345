// bpf/disassembler.h — instructions as text, the way the kernel's verifier prints them.
#pragma once

#include <string>

#include "bpf/program.h"

namespace coppice::bpf {

// "r0 += r1", "if w1 s> -5 goto +3", ... of the instruction at `slot`. It must begin there.
std::string disassemble(const Program& program, size_t slot);

// All of it, a line an instruction: slot, bytes, text; subprograms apart.
std::string disassemble(const Program& program);

}  // namespace coppice::bpf
