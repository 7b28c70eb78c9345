// helper/jit/body.h — the instructions of one subprogram.
#pragma once

#include <llvm/IR/IRBuilder.h>

#include <array>
#include <map>

#include "helper/jit/order.h"

namespace coppice::jit {

using Functions = std::map<size_t, llvm::Function*>;  // By the slot where they begin.

llvm::FunctionType* function_type(llvm::LLVMContext& context);

class Body {
 public:
  Body(const Order& order, const Functions& functions, size_t start);
  void fill();

 private:
  using Value = llvm::Value;
  void make_blocks();
  void make_registers();
  void make_frame();
  void show_frame();
  void hide_frame();
  void emit(size_t slot);  // Leaves the builder where the next slot goes.
  void emit_jump(size_t slot);
  void emit_load(size_t slot);
  void emit_store(const bpf::Instruction& in);
  void emit_atomic(const bpf::Instruction& in);
  void emit_wide(size_t slot);
  void emit_local_call(size_t slot);
  void emit_helper_call(size_t slot);
  void emit_tail_call(const bpf::HelperPlace& helper);
  void emit_loop();
  bool emit_lookup(size_t slot, const bpf::HelperPlace& helper);
  void emit_exit();

  Value* get(u8 number);
  void set(u8 number, Value* value) { builder_.CreateStore(value, registers_[number]); }
  Value* number(u64 value) { return builder_.getInt64(value); }
  Value* address(u8 base, bpf::i16 offset);
  Value* view_at(size_t offset);  // Where a field of the machine's View is.
  Value* call_host(u64 address, std::array<Value*, 5> arguments);
  std::array<Value*, 5> arguments();
  llvm::BasicBlock* block(const char* name);
  llvm::Type* type_of(bpf::Size size);

  const Order& order_;
  const Functions& functions_;
  const size_t start_, end_;
  llvm::Function* function_;
  llvm::IRBuilder<> builder_;
  std::map<size_t, llvm::BasicBlock*> blocks_;
  std::array<llvm::AllocaInst*, bpf::kRegisters> registers_{};
  llvm::AllocaInst* frame_ = nullptr;
};

}  // namespace coppice::jit
