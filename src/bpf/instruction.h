// bpf/instruction.h — the instruction set of RFC 9669: fields, the form of an instruction,
// decoding.
//
// Theory. A program is 8-byte slots; a 64-bit immediate takes two. What may stand in a slot is said
// once, by form_of(): it names what an opcode does and which fields it uses, or nothing for an
// encoding that the RFC does not define. A field that an instruction does not use is reserved and
// must be zero: so every accepted slot has one meaning, and a later standard can give the reserved
// ones another. The packet group (legacy loads from a socket buffer) is refused.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace coppice::bpf {

using i16 = std::int16_t;

inline constexpr size_t kSlotBytes = 8;
inline constexpr size_t kSlotsMax = 1'000'000;  // Of one program with its subprograms.
inline constexpr u8 kRegisters = 11;
inline constexpr u8 kFramePointer = 10;  // Readable, never written.

// The low three bits of an opcode.
enum class Class : u8 { ld = 0, ldx = 1, st = 2, stx = 3, alu = 4, jmp = 5, jmp32 = 6, alu64 = 7 };
// Bit 3 of arithmetic and jumps: where the second operand comes from.
inline constexpr u8 kSourceRegister = 0x08;
// The high four bits of arithmetic...
enum class AluCode : u8 {
  add = 0x0,
  sub,
  mul,
  div,
  bit_or,
  bit_and,
  lsh,
  rsh,
  neg,
  mod,
  bit_xor,
  mov,
  arsh,
  end
};
// ... and of jumps.
enum class JumpCode : u8 {
  ja = 0x0,
  jeq,
  jgt,
  jge,
  jset,
  jne,
  jsgt,
  jsge,
  call,
  exit,
  jlt,
  jle,
  jslt,
  jsle
};
// Of loads and stores: bits 3 and 4 the size, the high three the mode.
enum class Size : u8 { word = 0, half = 1, byte = 2, double_word = 3 };
enum class Mode : u8 { imm = 0, abs = 1, ind = 2, mem = 3, memsx = 4, atomic = 6 };

// The immediate of an atomic operation.
inline constexpr i32 kAtomicAdd = 0x00, kAtomicOr = 0x40, kAtomicAnd = 0x50, kAtomicXor = 0xa0;
inline constexpr i32 kAtomicFetch = 0x01;
inline constexpr i32 kAtomicExchange = 0xe1, kAtomicCompareExchange = 0xf1;  // They always fetch.

// What the source field of a 64-bit immediate says of it...
enum class Immediate : u8 {
  number = 0,
  map = 1,  // The map of this number: maps are numbered by whoever binds the program.
  map_value = 2,
  variable = 3,
  code = 4,  // The address of a subprogram, relative like that of a call.
  map_by_index = 5,
  map_value_by_index = 6,
};
// ... and that of a call.
enum class Callee : u8 { helper = 0, local = 1, btf = 2 };

inline constexpr u8 kOpcodeLoadImm64 = 0x18;
inline constexpr u8 kOpcodeCall = 0x85;
inline constexpr u8 kOpcodeExit = 0x95;
inline constexpr u8 kOpcodeJump = 0x05;
inline constexpr u8 kOpcodeLongJump = 0x06;

struct Instruction {
  u8 opcode = 0;
  u8 dst = 0;
  u8 src = 0;
  i16 offset = 0;
  i32 imm = 0;

  Class instruction_class() const { return static_cast<Class>(opcode & 7); }
  bool from_register() const { return (opcode & kSourceRegister) != 0; }
  AluCode alu_code() const { return static_cast<AluCode>(opcode >> 4); }
  JumpCode jump_code() const { return static_cast<JumpCode>(opcode >> 4); }
  Size size() const { return static_cast<Size>((opcode >> 3) & 3); }
  Mode mode() const { return static_cast<Mode>(opcode >> 5); }
  bool is_alu() const {
    return instruction_class() == Class::alu || instruction_class() == Class::alu64;
  }
  bool is_jump() const {
    return instruction_class() == Class::jmp || instruction_class() == Class::jmp32;
  }
  bool is_wide() const { return opcode == kOpcodeLoadImm64; }  // Takes two slots.
  friend bool operator==(const Instruction&, const Instruction&) = default;
};

constexpr u32 bytes_of(Size size) {
  constexpr u32 kBytes[] = {4, 2, 1, 8};
  return kBytes[static_cast<u8>(size)];
}

Instruction decode_slot(std::span<const std::byte, kSlotBytes> slot);
void encode_slot(const Instruction& instruction, std::span<std::byte, kSlotBytes> into);
std::vector<std::byte> encode(std::span<const Instruction> instructions);

// What an instruction does with its register fields; the rest of them must be zero.
struct Form {
  bool reads_dst = false, writes_dst = false;
  bool reads_src = false, writes_src = false;
  bool uses_offset = false, uses_imm = false;
  bool src_is_kind = false;  // Of Immediate or Callee, not a register.
};
// Nothing: RFC 9669 defines no such instruction. A wide one is judged by its first slot alone.
std::optional<Form> form_of(const Instruction& instruction);

// Why `instruction` is none of the RFC's, in words; empty if it is one.
std::string fault_of(const Instruction& instruction);

// Every slot of `bytes`, the second ones of wide instructions included. Each is one that the RFC
// defines; where jumps lead is judged by Program (bpf/program.h).
Result<std::vector<Instruction>> decode(std::span<const std::byte> bytes);

}  // namespace coppice::bpf
