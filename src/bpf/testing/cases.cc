#include "bpf/testing/cases.h"

namespace coppice::bpf {

// All instructions of a class of arithmetic: an opcode and what its offset may be.
std::vector<Instruction> arithmetic_cases() {
  std::vector<Instruction> all;
  for (const u8 low : {u8{4}, u8{7}}) {
    for (u8 code = 0; code <= 13; ++code) {
      for (const bool by_register : {false, true}) {
        for (const i16 offset : {0, 1, 8, 16, 32}) {
          Instruction in{.opcode = static_cast<u8>(code << 4 | low | (by_register ? 8 : 0)),
                         .dst = 2,
                         .src = static_cast<u8>(by_register ? 3 : 0),
                         .offset = offset};
          const bool end = in.alu_code() == AluCode::end;
          if (end) in.src = 0;
          for (const i32 imm : {16, 32, 64}) {
            if (!end && imm != 16) continue;
            in.imm = end ? imm : 0;
            if (fault_of(in).empty()) all.push_back(in);
          }
        }
      }
    }
  }
  return all;
}

std::vector<Instruction> jump_cases() {
  std::vector<Instruction> all;
  for (const u8 low : {u8{5}, u8{6}}) {
    for (u8 code = 1; code <= 13; ++code) {
      if (code == 8 || code == 9) continue;
      for (const bool by_register : {false, true}) {
        all.push_back({.opcode = static_cast<u8>(code << 4 | low | (by_register ? 8 : 0)),
                       .dst = 2,
                       .src = static_cast<u8>(by_register ? 3 : 0),
                       .offset = 1});
      }
    }
  }
  return all;
}

bool takes_register(const Instruction& in) {
  return in.from_register() && !(in.is_alu() && in.alu_code() == AluCode::end);
}

bool takes_immediate(const Instruction& in) {
  if (in.from_register()) return false;
  return !in.is_alu() || (in.alu_code() != AluCode::neg && in.alu_code() != AluCode::end);
}

std::vector<Instruction> with_immediates(const Instruction& in) {
  if (!takes_immediate(in)) return {in};
  std::vector<Instruction> all(std::size(kImmediates), in);
  for (size_t i = 0; i < all.size(); ++i) all[i].imm = kImmediates[i];
  return all;
}

}  // namespace coppice::bpf
