// helper/jit/generate.h — a program as LLVM's intermediate representation.
//
// Theory. Each subprogram is a function `u64 (Machine*, u64 r1, ..., u64 r5)`, so that calls,
// callbacks and tail calls are all of one kind, and the address of one is what a helper calls back.
// Registers and the stack frame are local variables, which the optimiser turns into values: only a
// frame whose address goes somewhere stays memory. All of them start as zero, and arithmetic is
// defined for every operand, so that no value is ever undefined and nothing can be concluded from
// it; what an access reaches is the verifier's business. r6 to r9 need not be saved: a function's
// variables are its own.
#pragma once

#include <llvm/IR/Module.h>

#include <memory>

#include "helper/jit/order.h"

namespace coppice::jit {

inline constexpr const char* kEntryName = "entry";

std::unique_ptr<llvm::Module> generate(const Order& order, llvm::LLVMContext& context);

}  // namespace coppice::jit
