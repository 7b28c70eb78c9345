#include "helper/jit/pointers.h"

#include <llvm/ADT/DenseMap.h>
#include <llvm/ADT/SmallPtrSet.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Operator.h>

#include <vector>

#include "base/types.h"

namespace coppice::jit {
namespace {

using llvm::Value;

constexpr u64 kAddressLeast = u64{1} << 32;  // A smaller constant is an offset.
constexpr int kStepsMax = 64;                // From an access to where its address comes from.

bool is_sum(const Value* value) {
  if (const auto* both = llvm::dyn_cast<llvm::PossiblyDisjointInst>(value))
    return both->isDisjoint();
  const auto* operation = llvm::dyn_cast<llvm::BinaryOperator>(value);
  return operation != nullptr && operation->getOpcode() == llvm::Instruction::Add;
}

class Rewriter {
 public:
  explicit Rewriter(llvm::Function& function) : function_(function) {}

  bool run() {
    std::vector<llvm::IntToPtrInst*> casts;
    for (llvm::Instruction& each : llvm::instructions(function_)) {
      auto* cast = llvm::dyn_cast<llvm::IntToPtrInst>(&each);
      if (cast != nullptr && cast->getType()->isPointerTy()) casts.push_back(cast);
    }
    bool changed = false;
    for (llvm::IntToPtrInst* cast : casts) {
      if (!leads_on(cast->getOperand(0))) continue;
      cast->replaceAllUsesWith(pointer_of(cast->getOperand(0)));
      cast->eraseFromParent();
      changed = true;
    }
    return changed;
  }

 private:
  enum Likeness : u8 { number, maybe, surely };  // How much a value looks like an address.

  Likeness likeness(Value* value, int steps = 0) {
    if (steps == kStepsMax) return number;
    if (llvm::isa<llvm::PtrToIntOperator>(value)) return surely;
    if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value))
      return constant->getValue().uge(kAddressLeast) && !constant->isNegative() ? maybe : number;
    if (llvm::isa<llvm::Argument, llvm::LoadInst, llvm::CallInst>(value)) return maybe;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (instruction == nullptr) return number;
    const auto known = likeness_.find(instruction);
    if (known != likeness_.end()) return known->second;
    const bool follows = is_sum(value) || llvm::isa<llvm::PHINode>(value);
    const bool selects = llvm::isa<llvm::SelectInst>(value);
    if (!follows && !selects) return number;
    likeness_[instruction] = number;  // Until it is known; a circle adds nothing.
    Likeness most = number;
    for (unsigned i = selects ? 1 : 0; i < instruction->getNumOperands(); ++i)
      most = std::max(most, likeness(instruction->getOperand(i), steps + 1));
    return likeness_[instruction] = most;
  }

  // Which operand of a sum is the address; nullptr: it cannot be told.
  Value* base_of(llvm::Instruction* sum) {
    const Likeness left = likeness(sum->getOperand(0)), right = likeness(sum->getOperand(1));
    if (left == right) return nullptr;
    return sum->getOperand(left > right ? 0 : 1);
  }

  bool leads_on(Value* value) {
    if (llvm::isa<llvm::PtrToIntOperator>(value)) return true;
    if (is_sum(value)) return base_of(llvm::cast<llvm::Instruction>(value)) != nullptr;
    return llvm::isa<llvm::PHINode, llvm::SelectInst>(value) && likeness(value) != number;
  }

  Value* pointer_of(Value* value) {
    if (auto* cast = llvm::dyn_cast<llvm::PtrToIntOperator>(value))
      return cast->getPointerOperand();
    auto* type = llvm::PointerType::get(function_.getContext(), 0);
    if (auto* constant = llvm::dyn_cast<llvm::Constant>(value))
      return llvm::ConstantExpr::getIntToPtr(constant, type);
    if (const auto made = pointers_.find(value); made != pointers_.end()) return made->second;
    if (!leads_on(value)) return pointers_[value] = cast_of(value);
    auto* instruction = llvm::cast<llvm::Instruction>(value);
    llvm::IRBuilder<> builder(instruction);
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(instruction)) {
      auto* made = builder.CreatePHI(type, phi->getNumIncomingValues());
      pointers_[value] = made;
      for (unsigned i = 0; i < phi->getNumIncomingValues(); ++i)
        made->addIncoming(pointer_of(phi->getIncomingValue(i)), phi->getIncomingBlock(i));
      return made;
    }
    if (auto* select = llvm::dyn_cast<llvm::SelectInst>(instruction)) {
      Value* yes = pointer_of(select->getTrueValue());
      Value* no = pointer_of(select->getFalseValue());
      return pointers_[value] = builder.CreateSelect(select->getCondition(), yes, no);
    }
    Value* base = base_of(instruction);
    Value* offset = instruction->getOperand(instruction->getOperand(0) == base ? 1 : 0);
    return pointers_[value] = builder.CreateGEP(builder.getInt8Ty(), pointer_of(base), offset);
  }

  // The pointer that the number is, made where the number is.
  Value* cast_of(Value* value) {
    llvm::IRBuilder<> builder(function_.getContext());
    if (auto* instruction = llvm::dyn_cast<llvm::Instruction>(value)) {
      builder.SetInsertPoint(*instruction->getInsertionPointAfterDef());
    } else {
      builder.SetInsertPoint(&*function_.getEntryBlock().getFirstInsertionPt());
    }
    return builder.CreateIntToPtr(value, builder.getPtrTy());
  }

  llvm::Function& function_;
  llvm::DenseMap<Value*, Value*> pointers_;
  llvm::DenseMap<llvm::Instruction*, Likeness> likeness_;
};

}  // namespace

llvm::PreservedAnalyses PointersPass::run(llvm::Function& function,
                                          llvm::FunctionAnalysisManager&) {
  if (!Rewriter(function).run()) return llvm::PreservedAnalyses::all();
  llvm::PreservedAnalyses kept;
  kept.preserveSet<llvm::CFGAnalyses>();
  return kept;
}

}  // namespace coppice::jit
