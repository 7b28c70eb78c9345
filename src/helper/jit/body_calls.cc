// What calls become: functions of the program or the host, or the helper's own work in its place.
#include <cerrno>
#include <cstddef>

#include "bpf/core_helpers.h"
#include "helper/jit/body.h"

namespace coppice::jit {

using namespace bpf;
using llvm::BasicBlock;
using llvm::Value;

std::array<Value*, 5> Body::arguments() { return {get(1), get(2), get(3), get(4), get(5)}; }

void Body::emit_local_call(size_t slot) {
  llvm::Function* callee = functions_.at(order_.program().target_of(slot));
  const auto [r1, r2, r3, r4, r5] = arguments();
  set(0, builder_.CreateCall(callee, {function_->getArg(0), r1, r2, r3, r4, r5}));
}

Value* Body::call_host(u64 address, std::array<Value*, 5> arguments) {
  Value* target = builder_.CreateIntToPtr(number(address), builder_.getPtrTy());
  const auto [r1, r2, r3, r4, r5] = arguments;
  auto* call = builder_.CreateCall(function_type(builder_.getContext()), target,
                                   {function_->getArg(0), r1, r2, r3, r4, r5});
  call->addFnAttr(llvm::Attribute::NoUnwind);
  return call;
}

void Body::emit_helper_call(size_t slot) {
  const HelperPlace& helper = order_.helper(order_.program().slots()[slot].imm);
  switch (helper.shortcut) {
    case Shortcut::tail_call: return emit_tail_call(helper);
    case Shortcut::loop: return emit_loop();
    case Shortcut::slot_number: {
      Value* place = view_at(offsetof(View, slot));
      Value* loaded = builder_.CreateLoad(builder_.getInt32Ty(), place);
      return set(0, builder_.CreateZExt(loaded, builder_.getInt64Ty()));
    }
    case Shortcut::map_lookup:
      if (emit_lookup(slot, helper)) return;
      break;
    case Shortcut::none: break;
  }
  set(0, call_host(helper.address, arguments()));
}

// The function of the host says where to go, or null: then the program goes on.
void Body::emit_tail_call(const HelperPlace& helper) {
  Value* target =
      builder_.CreateIntToPtr(call_host(helper.address, arguments()), builder_.getPtrTy());
  BasicBlock* go = block("go");
  BasicBlock* stay = block("stay");
  builder_.CreateCondBr(builder_.CreateIsNotNull(target), go, stay);
  builder_.SetInsertPoint(go);
  if (order_.request().shows_frames) hide_frame();
  Value* zero = number(0);
  auto* call = builder_.CreateCall(function_type(builder_.getContext()), target,
                                   {function_->getArg(0), get(1), zero, zero, zero, zero});
  call->setTailCallKind(llvm::CallInst::TCK_MustTail);
  builder_.CreateRet(call);
  builder_.SetInsertPoint(stay);
  set(0, number(~u64{0}));
}

// bpf_loop(count, code, context, flags): a loop whose callee is known becomes one without a call.
void Body::emit_loop() {
  const auto [count, code, context, flags, unused] = arguments();
  auto* word = builder_.getInt64Ty();
  BasicBlock* check = block("loop_check");
  BasicBlock* begin = block("loop_begin");
  BasicBlock* head = block("loop_head");
  BasicBlock* step = block("loop_step");
  BasicBlock* done = block("loop_done");
  set(0, number(static_cast<u64>(-EINVAL)));
  builder_.CreateCondBr(builder_.CreateICmpEQ(flags, number(0)), check, done);

  builder_.SetInsertPoint(check);
  Value* most = builder_.CreateAnd(count, number(~u32{0}));
  set(0, number(static_cast<u64>(-E2BIG)));
  builder_.CreateCondBr(builder_.CreateICmpUGT(most, number(kLoopsMax)), done, begin);

  builder_.SetInsertPoint(begin);
  Value* target = builder_.CreateIntToPtr(code, builder_.getPtrTy());
  builder_.CreateBr(head);

  builder_.SetInsertPoint(head);
  auto* index = builder_.CreatePHI(word, 2);
  index->addIncoming(number(0), begin);
  set(0, index);
  builder_.CreateCondBr(builder_.CreateICmpEQ(index, most), done, step);

  builder_.SetInsertPoint(step);
  Value* zero = number(0);
  Value* enough = builder_.CreateCall(function_type(builder_.getContext()), target,
                                      {function_->getArg(0), index, context, zero, zero, zero});
  Value* next = builder_.CreateAdd(index, number(1));
  index->addIncoming(next, step);
  set(0, next);
  builder_.CreateCondBr(builder_.CreateICmpEQ(enough, zero), head, done);

  builder_.SetInsertPoint(done);
}

// A value of an array: its index within bounds, times the stride. False: it is no array's.
bool Body::emit_lookup(size_t slot, const HelperPlace& helper) {
  const Fact fact = order_.fact(slot);
  if (fact.map == kNoMap) return false;
  const MapPlace& map = order_.request().maps[static_cast<size_t>(fact.map)];
  if (map.values == 0) return false;
  auto* word = builder_.getInt64Ty();
  Value* key = builder_.CreateIntToPtr(get(2), builder_.getPtrTy());
  Value* index = builder_.CreateZExt(
      builder_.CreateAlignedLoad(builder_.getInt32Ty(), key, llvm::Align(1)), word);
  Value* value =
      builder_.CreateAdd(number(map.values), builder_.CreateMul(index, number(map.stride)));
  Value* there = builder_.CreateICmpULT(index, number(map.entries));
  if (map.slot_stride == 0) {
    set(0, builder_.CreateSelect(there, value, number(0)));
    return true;
  }
  Value* reactor = builder_.CreateZExt(
      builder_.CreateLoad(builder_.getInt32Ty(), view_at(offsetof(View, slot))), word);
  BasicBlock* own = block("own");
  BasicBlock* foreign = block("foreign");
  BasicBlock* next = block("next");
  builder_.CreateCondBr(builder_.CreateICmpULT(reactor, number(map.slots)), own, foreign);
  builder_.SetInsertPoint(foreign);  // A machine that the map was not made for: the host complains.
  set(0, call_host(helper.address, arguments()));
  builder_.CreateBr(next);
  builder_.SetInsertPoint(own);
  value = builder_.CreateAdd(value, builder_.CreateMul(reactor, number(map.slot_stride)));
  set(0, builder_.CreateSelect(there, value, number(0)));
  builder_.CreateBr(next);
  builder_.SetInsertPoint(next);
  return true;
}

}  // namespace coppice::jit
