#include "bpf/disassembler.h"

#include <fmt/format.h>

#include "base/check.h"

namespace coppice::bpf {
namespace {

constexpr const char* kSizeNames[] = {"u32", "u16", "u8", "u64"};
constexpr const char* kSignedSizeNames[] = {"s32", "s16", "s8", "s64"};

std::string name_of(u8 number, bool wide) { return fmt::format("{}{}", wide ? 'r' : 'w', number); }

std::string operand(const Instruction& in, bool wide) {
  return in.from_register() ? name_of(in.src, wide) : fmt::format("{}", in.imm);
}

std::string alu_text(const Instruction& in) {
  static constexpr const char* kSigns[] = {
      "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "", "%=", "^=", "=", "s>>=", ""};
  const bool wide = in.instruction_class() == Class::alu64;
  const std::string dst = name_of(in.dst, wide);
  switch (in.alu_code()) {
    case AluCode::neg: return fmt::format("{} = -{}", dst, dst);
    case AluCode::end: {
      const char* order = wide ? "bswap" : in.from_register() ? "be" : "le";
      return fmt::format("r{} = {}{} r{}", in.dst, order, in.imm, in.dst);
    }
    case AluCode::mov:
      if (in.offset == 0) break;
      return fmt::format("{} = (s{}){}", dst, in.offset, name_of(in.src, wide));
    case AluCode::div:
    case AluCode::mod:
      if (in.offset == 0) break;
      return fmt::format("{} s{} {}", dst, kSigns[in.opcode >> 4], operand(in, wide));
    default: break;
  }
  return fmt::format("{} {} {}", dst, kSigns[in.opcode >> 4], operand(in, wide));
}

std::string jump_text(const Instruction& in, const Program& program, size_t slot) {
  static constexpr const char* kSigns[] = {"",    "==", ">", ">=", "&",  "!=", "s>",
                                           "s>=", "",   "",  "<",  "<=", "s<", "s<="};
  switch (in.jump_code()) {
    case JumpCode::ja:
      if (in.instruction_class() == Class::jmp32) return fmt::format("gotol {:+}", in.imm);
      return fmt::format("goto {:+}", in.offset);
    case JumpCode::exit: return "exit";
    case JumpCode::call:
      if (in.src == static_cast<u8>(Callee::local))
        return fmt::format("call pc{:+} (slot {})", in.imm, program.target_of(slot));
      return fmt::format("call {}{}", in.src == static_cast<u8>(Callee::btf) ? "btf#" : "#",
                         in.imm);
    default: break;
  }
  const bool wide = in.instruction_class() == Class::jmp;
  return fmt::format("if {} {} {} goto {:+}", name_of(in.dst, wide), kSigns[in.opcode >> 4],
                     operand(in, wide), in.offset);
}

std::string wide_text(const Instruction& in, const Program& program, size_t slot) {
  const i32 second = program.slots()[slot + 1].imm;
  switch (static_cast<Immediate>(in.src)) {
    case Immediate::number: return fmt::format("r{} = {:#x} ll", in.dst, program.imm64(slot));
    case Immediate::map:
    case Immediate::map_by_index: return fmt::format("r{} = map[{}] ll", in.dst, in.imm);
    case Immediate::map_value:
    case Immediate::map_value_by_index:
      return fmt::format("r{} = map[{}].value{:+} ll", in.dst, in.imm, second);
    case Immediate::variable: return fmt::format("r{} = variable[{}] ll", in.dst, in.imm);
    case Immediate::code:
      return fmt::format("r{} = code pc{:+} (slot {}) ll", in.dst, in.imm, program.target_of(slot));
  }
  return {};
}

std::string atomic_text(const Instruction& in) {
  const bool wide = in.size() == Size::double_word;
  const char* type = kSizeNames[static_cast<u8>(in.size())];
  const std::string src = name_of(in.src, wide);
  const std::string place = fmt::format("(r{} {:+})", in.dst, in.offset);
  if (in.imm == kAtomicExchange)
    return fmt::format("{} = atomic{}_xchg({}, {})", src, wide ? "64" : "", place, src);
  if (in.imm == kAtomicCompareExchange)
    return fmt::format("{0} = atomic{1}_cmpxchg({2}, {0}, {3})", name_of(0, wide), wide ? "64" : "",
                       place, src);
  const i32 operation = in.imm & ~kAtomicFetch;
  if ((in.imm & kAtomicFetch) != 0) {
    const char* name = operation == kAtomicAdd   ? "add"
                       : operation == kAtomicOr  ? "or"
                       : operation == kAtomicAnd ? "and"
                                                 : "xor";
    return fmt::format("{} = atomic{}_fetch_{}({}, {})", src, wide ? "64" : "", name, place, src);
  }
  const char* sign = operation == kAtomicAdd   ? "+="
                     : operation == kAtomicOr  ? "|="
                     : operation == kAtomicAnd ? "&="
                                               : "^=";
  return fmt::format("lock *({} *)(r{} {:+}) {} {}", type, in.dst, in.offset, sign, src);
}

std::string memory_text(const Instruction& in) {
  const auto size = static_cast<u8>(in.size());
  const bool wide = in.size() == Size::double_word;
  switch (in.instruction_class()) {
    case Class::ldx: {
      const char* type = in.mode() == Mode::memsx ? kSignedSizeNames[size] : kSizeNames[size];
      return fmt::format("r{} = *({} *)(r{} {:+})", in.dst, type, in.src, in.offset);
    }
    case Class::st:
      return fmt::format("*({} *)(r{} {:+}) = {}", kSizeNames[size], in.dst, in.offset, in.imm);
    default: break;
  }
  if (in.mode() == Mode::atomic) return atomic_text(in);
  return fmt::format("*({} *)(r{} {:+}) = {}", kSizeNames[size], in.dst, in.offset,
                     name_of(in.src, wide));
}

}  // namespace

std::string disassemble(const Program& program, size_t slot) {
  CHECK(slot < program.slots().size());
  const Instruction& in = program.slots()[slot];
  if (in.is_alu()) return alu_text(in);
  if (in.is_jump()) return jump_text(in, program, slot);
  if (in.is_wide()) return wide_text(in, program, slot);
  return memory_text(in);
}

std::string disassemble(const Program& program) {
  std::string text;
  const auto slots = program.slots();
  for (size_t i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    if (i > 0 && program.is_subprogram(i)) text += '\n';
    text += fmt::format("{:5}: ({:02x}) {}\n", i, slots[i].opcode, disassemble(program, i));
  }
  return text;
}

}  // namespace coppice::bpf
