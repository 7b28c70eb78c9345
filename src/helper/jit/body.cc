#include "helper/jit/body.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "base/check.h"
#include "helper/jit/arithmetic.h"

namespace coppice::jit {

using namespace bpf;
using llvm::BasicBlock;
using llvm::Value;

llvm::FunctionType* function_type(llvm::LLVMContext& context) {
  auto* word = llvm::Type::getInt64Ty(context);
  return llvm::FunctionType::get(
      word, {llvm::PointerType::get(context, 0), word, word, word, word, word}, false);
}

Body::Body(const Order& order, const Functions& functions, size_t start)
    : order_(order),
      functions_(functions),
      start_(start),
      end_(order.program().end_of_subprogram(start)),
      function_(functions.at(start)),
      builder_(function_->getContext()) {}

void Body::fill() {
  builder_.SetInsertPoint(block("begin"));
  make_registers();
  make_frame();
  if (order_.request().shows_frames) show_frame();
  make_blocks();
  builder_.CreateBr(blocks_.at(start_));
  const auto slots = order_.program().slots();
  for (size_t slot = start_; slot < end_; slot += slots[slot].is_wide() ? 2 : 1) {
    if (const auto found = blocks_.find(slot); found != blocks_.end()) {
      if (builder_.GetInsertBlock()->getTerminator() == nullptr) builder_.CreateBr(found->second);
      builder_.SetInsertPoint(found->second);
    }
    if (builder_.GetInsertBlock()->getTerminator() != nullptr) continue;  // Nothing leads here.
    if (!order_.fact(slot).reached) {
      builder_.CreateIntrinsic(llvm::Intrinsic::trap, {}, {});
      builder_.CreateUnreachable();
      continue;
    }
    emit(slot);
  }
}

BasicBlock* Body::block(const char* name) {
  return BasicBlock::Create(function_->getContext(), name, function_);
}

void Body::make_blocks() {
  blocks_[start_] = block("slot");
  const auto slots = order_.program().slots();
  for (size_t slot = start_; slot < end_; slot += slots[slot].is_wide() ? 2 : 1) {
    const Instruction& in = slots[slot];
    if (!in.is_jump() || in.opcode == kOpcodeCall || in.opcode == kOpcodeExit) continue;
    for (const size_t next : {order_.program().target_of(slot), slot + 1}) {
      if (next < end_ && !blocks_.contains(next)) blocks_[next] = block("slot");
    }
  }
}

void Body::make_registers() {
  for (u8 each = 0; each < kRegisters; ++each) {
    registers_[each] = builder_.CreateAlloca(builder_.getInt64Ty());
    const bool argument = each >= 1 && each <= 5;
    set(each, argument ? static_cast<Value*>(function_->getArg(each)) : number(0));
  }
}

// Zeroed: what the program did not write itself is nobody else's. Word by word, so that the
// optimiser drops those that are never read, or written first.
void Body::make_frame() {
  const u32 bytes = order_.frame_bytes(
      static_cast<size_t>(std::ranges::lower_bound(order_.program().subprograms(), start_) -
                          order_.program().subprograms().begin()));
  auto* byte = builder_.getInt8Ty();
  frame_ = builder_.CreateAlloca(llvm::ArrayType::get(byte, bytes));
  frame_->setAlignment(llvm::Align(16));
  for (u32 at = 0; at < bytes; at += 8) {
    builder_.CreateAlignedStore(number(0), builder_.CreateConstGEP1_64(byte, frame_, at),
                                llvm::Align(8));
  }
  Value* end = builder_.CreateConstGEP1_64(byte, frame_, bytes);
  set(kFramePointer, builder_.CreatePtrToInt(end, builder_.getInt64Ty()));
}

Value* Body::view_at(size_t offset) {
  return builder_.CreateConstGEP1_64(builder_.getInt8Ty(), function_->getArg(0), offset);
}

void Body::show_frame() {
  auto* type = builder_.getInt32Ty();
  Value* place = view_at(offsetof(View, depth));
  Value* depth = builder_.CreateLoad(type, place);
  builder_.CreateStore(builder_.CreateAdd(depth, builder_.getInt32(1)), place);
  // Programs that tail calls lead to may lie deeper than there are places: those are not shown.
  BasicBlock* shown = block("shown");
  BasicBlock* next = block("next");
  builder_.CreateCondBr(builder_.CreateICmpULT(depth, builder_.getInt32(kFrames)), shown, next);
  builder_.SetInsertPoint(shown);
  Value* frames = view_at(offsetof(View, frames));
  Value* index = builder_.CreateZExt(depth, builder_.getInt64Ty());
  builder_.CreateStore(builder_.CreatePtrToInt(frame_, builder_.getInt64Ty()),
                       builder_.CreateGEP(builder_.getInt64Ty(), frames, index));
  builder_.CreateBr(next);
  builder_.SetInsertPoint(next);
}

void Body::hide_frame() {
  auto* type = builder_.getInt32Ty();
  Value* place = view_at(offsetof(View, depth));
  Value* depth = builder_.CreateLoad(type, place);
  builder_.CreateStore(builder_.CreateSub(depth, builder_.getInt32(1)), place);
}

Value* Body::get(u8 number) {
  return builder_.CreateLoad(builder_.getInt64Ty(), registers_[number]);
}

llvm::Type* Body::type_of(Size size) { return builder_.getIntNTy(8 * bytes_of(size)); }

Value* Body::address(u8 base, i16 offset) {
  Value* sum =
      builder_.CreateAdd(get(base), builder_.getInt64(static_cast<u64>(static_cast<i64>(offset))));
  return builder_.CreateIntToPtr(sum, builder_.getPtrTy());
}

void Body::emit(size_t slot) {
  const Instruction& in = order_.program().slots()[slot];
  if (in.is_alu()) {
    Value* src = in.from_register() ? get(in.src) : nullptr;
    set(in.dst, compute(builder_, in, get(in.dst), src));
    return;
  }
  if (in.is_jump()) return emit_jump(slot);
  if (in.is_wide()) return emit_wide(slot);
  if (in.instruction_class() == Class::ldx) return emit_load(slot);
  if (in.mode() == Mode::atomic) return emit_atomic(in);
  emit_store(in);
}

void Body::emit_jump(size_t slot) {
  const Instruction& in = order_.program().slots()[slot];
  if (in.opcode == kOpcodeExit) return emit_exit();
  if (in.opcode == kOpcodeCall) {
    if (in.src == static_cast<u8>(bpf::Callee::local)) return emit_local_call(slot);
    return emit_helper_call(slot);
  }
  BasicBlock* target = blocks_.at(order_.program().target_of(slot));
  if (in.jump_code() == JumpCode::ja) {
    builder_.CreateBr(target);
    return;
  }
  Value* src = in.from_register() ? get(in.src) : nullptr;
  builder_.CreateCondBr(takes(builder_, in, get(in.dst), src), target, blocks_.at(slot + 1));
}

void Body::emit_load(size_t slot) {
  const Instruction& in = order_.program().slots()[slot];
  if (const Fact fact = order_.fact(slot); fact.constant) return set(in.dst, number(fact.value));
  Value* loaded =
      builder_.CreateAlignedLoad(type_of(in.size()), address(in.src, in.offset), llvm::Align(1));
  auto* word = builder_.getInt64Ty();
  set(in.dst, in.mode() == Mode::memsx ? builder_.CreateSExt(loaded, word)
                                       : builder_.CreateZExt(loaded, word));
}

void Body::emit_store(const Instruction& in) {
  Value* value = in.instruction_class() == Class::st
                     ? number(static_cast<u64>(static_cast<i64>(in.imm)))
                     : get(in.src);
  builder_.CreateAlignedStore(builder_.CreateTrunc(value, type_of(in.size())),
                              address(in.dst, in.offset), llvm::Align(1));
}

void Body::emit_atomic(const Instruction& in) {
  using Operation = llvm::AtomicRMWInst::BinOp;
  constexpr auto kStrict = llvm::AtomicOrdering::SequentiallyConsistent;
  auto* type = type_of(in.size());
  auto* word = builder_.getInt64Ty();
  Value* place = address(in.dst, in.offset);
  Value* operand = builder_.CreateTrunc(get(in.src), type);
  const llvm::MaybeAlign align(bytes_of(in.size()));
  if (in.imm == kAtomicCompareExchange) {
    Value* expected = builder_.CreateTrunc(get(0), type);
    Value* pair = builder_.CreateAtomicCmpXchg(place, expected, operand, align, kStrict, kStrict);
    set(0, builder_.CreateZExt(builder_.CreateExtractValue(pair, 0), word));
    return;
  }
  Operation operation = Operation::Xchg;
  switch (in.imm & ~kAtomicFetch) {
    case kAtomicAdd: operation = Operation::Add; break;
    case kAtomicOr: operation = Operation::Or; break;
    case kAtomicAnd: operation = Operation::And; break;
    case kAtomicXor: operation = Operation::Xor; break;
    default: CHECK(in.imm == kAtomicExchange);
  }
  const bool fetches = (in.imm & kAtomicFetch) != 0;
  Value* before = builder_.CreateAtomicRMW(operation, place, operand, align,
                                           fetches ? kStrict : llvm::AtomicOrdering::Monotonic);
  if (fetches) set(in.src, builder_.CreateZExt(before, word));
}

void Body::emit_wide(size_t slot) {
  const Instruction& in = order_.program().slots()[slot];
  if (in.src != static_cast<u8>(Immediate::code))
    return set(in.dst, number(order_.wide_value(slot)));
  llvm::Function* code = functions_.at(order_.program().target_of(slot));
  set(in.dst, builder_.CreatePtrToInt(code, builder_.getInt64Ty()));
}

void Body::emit_exit() {
  if (order_.request().shows_frames) hide_frame();
  builder_.CreateRet(get(0));
}

}  // namespace coppice::jit
