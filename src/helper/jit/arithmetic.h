// helper/jit/arithmetic.h — what arithmetic and comparisons compute, as RFC 9669 defines it.
//
// None of it is undefined for any operand: there is nothing that an optimiser could take for
// impossible.
#pragma once

#include <llvm/IR/IRBuilder.h>

#include "bpf/instruction.h"

namespace coppice::jit {

// The new 64-bit value of the destination of `in`, an arithmetic instruction, from the registers'.
llvm::Value* compute(llvm::IRBuilder<>& builder, const bpf::Instruction& in, llvm::Value* dst,
                     llvm::Value* src);
// Whether `in`, a conditional jump, is taken.
llvm::Value* takes(llvm::IRBuilder<>& builder, const bpf::Instruction& in, llvm::Value* dst,
                   llvm::Value* src);

}  // namespace coppice::jit
