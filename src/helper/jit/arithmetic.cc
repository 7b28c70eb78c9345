#include "helper/jit/arithmetic.h"

namespace coppice::jit {

using namespace bpf;
using llvm::ConstantInt;
using llvm::Value;

namespace {

using Builder = llvm::IRBuilder<>;

// Zero divides to zero, and leaves the dividend as its remainder.
Value* divide(Builder& builder, Value* a, Value* b, bool remainder) {
  auto* zero = ConstantInt::get(a->getType(), 0);
  auto* one = ConstantInt::get(a->getType(), 1);
  Value* by_zero = builder.CreateICmpEQ(b, zero);
  Value* divisor = builder.CreateSelect(by_zero, one, b);
  Value* result = remainder ? builder.CreateURem(a, divisor) : builder.CreateUDiv(a, divisor);
  return builder.CreateSelect(by_zero, remainder ? a : zero, result);
}

// Besides, the least number divided by -1 is itself.
Value* divide_signed(Builder& builder, Value* a, Value* b, bool remainder) {
  auto* zero = ConstantInt::get(a->getType(), 0);
  auto* one = ConstantInt::get(a->getType(), 1);
  Value* by_zero = builder.CreateICmpEQ(b, zero);
  Value* by_minus = builder.CreateICmpEQ(b, ConstantInt::getAllOnesValue(a->getType()));
  Value* divisor = builder.CreateSelect(builder.CreateOr(by_zero, by_minus), one, b);
  Value* result = remainder ? builder.CreateSRem(a, divisor) : builder.CreateSDiv(a, divisor);
  result = builder.CreateSelect(by_minus, remainder ? zero : builder.CreateSub(zero, a), result);
  return builder.CreateSelect(by_zero, remainder ? a : zero, result);
}

Value* swap_bytes(Builder& builder, Value* value) {
  return builder.CreateUnaryIntrinsic(llvm::Intrinsic::bswap, value);
}

// le, be and bswap of 16, 32 or 64 bits; hosts are little-endian.
Value* change_order(Builder& builder, const Instruction& in, Value* dst) {
  const bool swaps = in.instruction_class() == Class::alu64 || in.from_register();
  auto* type = builder.getIntNTy(static_cast<unsigned>(in.imm));
  Value* low = builder.CreateTrunc(dst, type);
  return builder.CreateZExt(swaps ? swap_bytes(builder, low) : low, builder.getInt64Ty());
}

Value* compute_in(Builder& builder, const Instruction& in, Value* a, Value* b) {
  Value* count = builder.CreateAnd(b, a->getType()->getIntegerBitWidth() - 1);
  const bool is_signed = in.offset == 1;
  switch (in.alu_code()) {
    case AluCode::add: return builder.CreateAdd(a, b);
    case AluCode::sub: return builder.CreateSub(a, b);
    case AluCode::mul: return builder.CreateMul(a, b);
    case AluCode::div:
      return is_signed ? divide_signed(builder, a, b, false) : divide(builder, a, b, false);
    case AluCode::mod:
      return is_signed ? divide_signed(builder, a, b, true) : divide(builder, a, b, true);
    case AluCode::bit_or: return builder.CreateOr(a, b);
    case AluCode::bit_and: return builder.CreateAnd(a, b);
    case AluCode::bit_xor: return builder.CreateXor(a, b);
    case AluCode::lsh: return builder.CreateShl(a, count);
    case AluCode::rsh: return builder.CreateLShr(a, count);
    case AluCode::arsh: return builder.CreateAShr(a, count);
    case AluCode::neg: return builder.CreateNeg(a);
    case AluCode::mov:
      if (in.offset == 0) return b;
      return builder.CreateSExt(
          builder.CreateTrunc(b, builder.getIntNTy(static_cast<unsigned>(in.offset))),
          a->getType());
    case AluCode::end: break;
  }
  llvm_unreachable("byte order is changed elsewhere");
}

Value* immediate(llvm::Type* type, i32 imm) {
  return ConstantInt::getSigned(llvm::cast<llvm::IntegerType>(type), imm);
}

}  // namespace

Value* compute(Builder& builder, const Instruction& in, Value* dst, Value* src) {
  if (in.alu_code() == AluCode::end) return change_order(builder, in, dst);
  const bool narrow = in.instruction_class() == Class::alu;
  auto* type = narrow ? builder.getInt32Ty() : builder.getInt64Ty();
  Value* a = builder.CreateTrunc(dst, type);
  Value* b = in.from_register() ? builder.CreateTrunc(src, type) : immediate(type, in.imm);
  return builder.CreateZExt(compute_in(builder, in, a, b), builder.getInt64Ty());
}

Value* takes(Builder& builder, const Instruction& in, Value* dst, Value* src) {
  const bool narrow = in.instruction_class() == Class::jmp32;
  auto* type = narrow ? builder.getInt32Ty() : builder.getInt64Ty();
  Value* a = builder.CreateTrunc(dst, type);
  Value* b = in.from_register() ? builder.CreateTrunc(src, type) : immediate(type, in.imm);
  switch (in.jump_code()) {
    case JumpCode::jeq: return builder.CreateICmpEQ(a, b);
    case JumpCode::jne: return builder.CreateICmpNE(a, b);
    case JumpCode::jgt: return builder.CreateICmpUGT(a, b);
    case JumpCode::jge: return builder.CreateICmpUGE(a, b);
    case JumpCode::jlt: return builder.CreateICmpULT(a, b);
    case JumpCode::jle: return builder.CreateICmpULE(a, b);
    case JumpCode::jsgt: return builder.CreateICmpSGT(a, b);
    case JumpCode::jsge: return builder.CreateICmpSGE(a, b);
    case JumpCode::jslt: return builder.CreateICmpSLT(a, b);
    case JumpCode::jsle: return builder.CreateICmpSLE(a, b);
    case JumpCode::jset:
      return builder.CreateICmpNE(builder.CreateAnd(a, b), ConstantInt::get(type, 0));
    case JumpCode::ja:
    case JumpCode::call:
    case JumpCode::exit: break;
  }
  llvm_unreachable("no condition");
}

}  // namespace coppice::jit
