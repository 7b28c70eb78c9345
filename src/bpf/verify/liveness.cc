#include "bpf/verify/liveness.h"

namespace coppice::bpf {
namespace {

constexpr u16 bit(u8 number) { return static_cast<u16>(1u << number); }
constexpr u16 kArguments = 0b111110;
constexpr u16 kClobbered = 0b111111;  // By calls.

struct Effect {
  u16 reads = 0, writes = 0;
};

u16 arguments_of(const Instruction& in, const HelperTable& helpers) {
  if (in.src != static_cast<u8>(Callee::helper)) return kArguments;
  const Helper* helper = helpers.find(in.imm);
  if (helper == nullptr) return kArguments;
  u16 reads = 0;
  for (u8 i = 0; i < 5; ++i) {
    if (helper->arguments[i] != Argument::none) reads |= bit(static_cast<u8>(i + 1));
  }
  return reads;
}

Effect effect_of(const Instruction& in, const HelperTable& helpers) {
  if (in.opcode == kOpcodeCall) return {.reads = arguments_of(in, helpers), .writes = kClobbered};
  if (in.opcode == kOpcodeExit) return {.reads = bit(0)};
  Effect effect;
  const auto form = form_of(in);
  if (!form) return effect;
  if (form->reads_dst) effect.reads |= bit(in.dst);
  if (form->reads_src && !form->src_is_kind) effect.reads |= bit(in.src);
  if (form->writes_dst) effect.writes |= bit(in.dst);
  if (form->writes_src) effect.writes |= bit(in.src);
  if (in.instruction_class() == Class::stx && in.mode() == Mode::atomic &&
      in.imm == kAtomicCompareExchange) {
    effect.reads |= bit(0);
    effect.writes = static_cast<u16>((effect.writes & ~bit(in.src)) | bit(0));
  }
  return effect;
}

}  // namespace

std::vector<u16> live_registers(const Program& program, const HelperTable& helpers) {
  const auto slots = program.slots();
  std::vector<u16> live(slots.size(), 0);
  std::vector<u32> starts;
  for (u32 i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) starts.push_back(i);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t at = starts.size(); at-- > 0;) {
      const u32 slot = starts[at];
      const Instruction& in = slots[slot];
      const Effect effect = effect_of(in, helpers);
      const bool jumps = in.is_jump() && in.opcode != kOpcodeCall && in.opcode != kOpcodeExit;
      const bool always = in.opcode == kOpcodeJump || in.opcode == kOpcodeLongJump;
      u16 after = 0;
      if (jumps) after |= live[program.target_of(slot)];
      const size_t next = slot + (in.is_wide() ? 2u : 1u);
      if (in.opcode != kOpcodeExit && !always && next < slots.size()) after |= live[next];
      const u16 before = static_cast<u16>((after & ~effect.writes) | effect.reads);
      if (before != live[slot]) {
        live[slot] = before;
        changed = true;
      }
    }
  }
  return live;
}

}  // namespace coppice::bpf
