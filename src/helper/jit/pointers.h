// helper/jit/pointers.h — gives memory accesses back the pointers that registers hid.
//
// Theory. A register is an integer, and every access makes a pointer of one on the spot. The
// optimiser cannot see through that: a frame would stay memory, and no loop would be vectorised.
// This pass follows the integer back over additions, phis and selects to where it comes from, makes
// a pointer there, once, and walks forward with the pointer. It guesses which operand of an
// addition is the address; a wrong guess computes the same number, and is only slower.
#pragma once

#include <llvm/IR/PassManager.h>

namespace coppice::jit {

struct PointersPass : llvm::PassInfoMixin<PointersPass> {
  llvm::PreservedAnalyses run(llvm::Function& function, llvm::FunctionAnalysisManager& analyses);
};

}  // namespace coppice::jit
