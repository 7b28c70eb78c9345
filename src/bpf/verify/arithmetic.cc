#include <fmt/format.h>

#include "bpf/verify/walker.h"

namespace coppice::bpf {

Origin Walker::made(const State& s, Origin from, Origin and_from) {
  return origins_.add(OriginKind::made, s.slot, from, and_from);
}

namespace {

bool is_wide(const Instruction& in) { return in.instruction_class() == Class::alu64; }

bool has_two_operands(const Instruction& in) {
  return in.alu_code() != AluCode::neg && in.alu_code() != AluCode::end;
}

}  // namespace

bool Walker::move(State& s, const Instruction& in) {
  if (!in.from_register()) {
    const Scalar number = compute(in, Scalar::unknown(),
                                  Scalar::constant(static_cast<u64>(static_cast<i64>(in.imm))));
    s.reg(in.dst) = number_value(number, made(s));
    origins_.remember(s.reg(in.dst).origin, number);
    return true;
  }
  Value& src = s.reg(in.src);
  const bool copies = is_wide(in) && in.offset == 0;
  // The low half of a number that has no more is the number.
  const bool same = copies || (!is_wide(in) && in.offset == 0 && src.is_number() &&
                               src.number.umax <= UINT32_MAX);
  if (same) {
    if (src.is_number() && !src.number.is_constant() && src.id == 0) src.id = next_id_++;
    s.reg(in.dst) = src;
    return true;
  }
  // Part of a pointer is a number like any other.
  const Scalar whole = src.is_number() ? src.number : Scalar::unknown();
  const Scalar number = compute(in, Scalar::unknown(), whole);
  s.reg(in.dst) = number_value(number, made(s, src.origin));
  origins_.remember(s.reg(in.dst).origin, number);
  return true;
}

bool Walker::arithmetic(State& s, const Instruction& in) {
  const bool two = has_two_operands(in);
  const bool moves = in.alu_code() == AluCode::mov;
  if (two && in.from_register() && s.reg(in.src).kind == ValueKind::nothing)
    return refuse_uninitialised(s, in.src);
  if (!moves && s.reg(in.dst).kind == ValueKind::nothing) return refuse_uninitialised(s, in.dst);
  if (moves) return move(s, in);
  const bool shifts = in.alu_code() == AluCode::lsh || in.alu_code() == AluCode::rsh ||
                      in.alu_code() == AluCode::arsh;
  const u64 width = is_wide(in) ? 64 : 32;
  if (two && !in.from_register()) {
    const bool divides = in.alu_code() == AluCode::div || in.alu_code() == AluCode::mod;
    if (divides && in.imm == 0)
      return refuse(s, Rule::bad_constant, "a number is divided by the constant 0",
                    "a divisor that is not 0", "0", "test the divisor where it is computed");
    if (shifts && (in.imm < 0 || static_cast<u64>(in.imm) >= width))
      return refuse(s, Rule::bad_constant, "a number is shifted by more bits than it has",
                    fmt::format("a count from 0 to {}", width - 1), fmt::format("{}", in.imm));
  }
  Value immediate = number_value(Scalar::constant(static_cast<u64>(static_cast<i64>(in.imm))), 0);
  const Value& src = two && in.from_register() ? s.reg(in.src) : immediate;
  const Value& dst = s.reg(in.dst);
  if (dst.is_pointer() || (two && src.is_pointer())) return pointer_arithmetic(s, in, dst, src);
  Scalar number = compute(in, dst.number, src.number);
  // Its low bits count here; but C says nothing of such a shift, so nothing is concluded from it.
  if (shifts && src.is_constant() && src.number.value() >= width)
    number = loaded(Scalar::unknown(), is_wide(in) ? 8 : 4, false);
  const Origin origin = made(s, dst.origin, two && in.from_register() ? src.origin : 0);
  s.reg(in.dst) = number_value(number, origin);
  origins_.remember(origin, number);
  return true;
}

bool Walker::pointer_arithmetic(State& s, const Instruction& in, const Value& dst,
                                const Value& src) {
  const AluCode code = in.alu_code();
  const bool subtracts = code == AluCode::sub;
  const auto becomes_number = [&] {
    // The difference is any number; what the rest makes of any, it makes of an address.
    Scalar number = Scalar::unknown();
    if (!has_two_operands(in)) {
      number = compute(in, number, number);
    } else if (!is_wide(in)) {
      number = loaded(number, 4, false);
    }
    s.reg(in.dst) = number_value(number, made(s, dst.origin, src.origin));
    return true;
  };
  if (!has_two_operands(in)) return becomes_number();
  // The difference of two pointers is a number, and so is half of any difference.
  if (subtracts && (!is_wide(in) || (dst.is_pointer() && src.is_pointer())))
    return becomes_number();
  const auto bad = [&](std::string what, std::string suggestion) {
    return refuse(s, Rule::pointer_arithmetic, std::move(what),
                  "a pointer plus or minus a number, in 64 bits",
                  fmt::format("r{} is {}", in.dst, describe(dst)) +
                      (in.from_register() ? fmt::format(", r{} is {}", in.src, describe(src)) : ""),
                  std::move(suggestion), dst.origin);
  };
  if (dst.is_pointer() && src.is_pointer())
    return bad("two pointers are combined", "subtract them, or keep offsets as numbers");
  if (!is_wide(in))
    return bad("32-bit arithmetic is done on a pointer", "use 64-bit types for addresses");
  if (code != AluCode::add && !subtracts)
    return bad("a pointer is changed by other than addition or subtraction",
               "compute the offset as a number first");
  if (subtracts && src.is_pointer()) return bad("a pointer is subtracted from a number", "");
  return dst.is_pointer() ? add_to_pointer(s, in, dst, src, subtracts)
                          : add_to_pointer(s, in, src, dst, false);
}

bool Walker::add_to_pointer(State& s, const Instruction& in, const Value& pointer,
                            const Value& number, bool subtract) {
  const bool constant = number.is_constant();
  if (pointer.nullable)
    return refuse(s, Rule::maybe_null, "an offset is added to a pointer that may be null",
                  "a pointer that was compared with null", describe(pointer),
                  "compare it with null before computing with it", pointer.origin);
  if (subtract && pointer.kind == ValueKind::stack)
    return refuse(s, Rule::pointer_arithmetic, "a number is subtracted from a stack's address",
                  "an addition, as compilers make it: kernels know no other", describe(number),
                  "add the negative number", number.origin);
  const bool nothing_added = constant && number.number.value() == 0;
  switch (pointer.kind) {
    case ValueKind::map:
    case ValueKind::packet_end:
    case ValueKind::object:
    case ValueKind::code:
      if (nothing_added && pointer.kind == ValueKind::map) break;
      return refuse(s, Rule::pointer_arithmetic, "an offset is added to what allows none",
                    "a pointer to a context, the stack, a map's value, a packet or memory",
                    describe(pointer), {}, pointer.origin);
    case ValueKind::btf:
      if (!constant)
        return refuse(s, Rule::pointer_arithmetic, "a number is added to a structure's address",
                      "a constant offset", describe(number), {}, number.origin);
      break;
    default: break;
  }
  origins_.mark_precise(number.origin);
  const auto unbounded = [&](const Scalar& what) {
    return refuse(
        s, Rule::unbounded, "the offset of a pointer has no bound",
        fmt::format("between -{} and {}", kOffsetMax, kOffsetMax), coppice::bpf::describe(what),
        "compare the number with a constant before it is used as an offset", number.origin);
  };
  if (number.number.smin <= -kOffsetMax || number.number.smin >= kOffsetMax)
    return unbounded(number.number);
  Value result = pointer;
  result.origin = made(s, pointer.origin, number.origin);
  if (constant) {
    const i64 by = static_cast<i64>(number.number.value());
    result.offset += subtract ? -by : by;
    if (result.offset <= -kOffsetMax || result.offset >= kOffsetMax)
      return unbounded(Scalar::constant(static_cast<u64>(result.offset)));
  } else {
    Instruction sum{
        .opcode = static_cast<u8>(static_cast<u8>(Class::alu64) | kSourceRegister |
                                  static_cast<u8>(subtract ? AluCode::sub : AluCode::add) << 4),
        .dst = 0,
        .src = 1};
    result.number = compute(sum, pointer.number, number.number);
    if (result.number.smin <= -kOffsetMax || result.number.smin >= kOffsetMax)
      return unbounded(result.number);
    if (result.is_packet()) {
      result.id = next_id_++;
      result.range = 0;
    }
  }
  s.reg(in.dst) = result;
  return true;
}

}  // namespace coppice::bpf
