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

constexpr u32 kNone = ~u32{0};

bool jumps(const Instruction& in) {
  return in.is_jump() && in.opcode != kOpcodeCall && in.opcode != kOpcodeExit;
}
bool falls_through(const Instruction& in) {
  return in.opcode != kOpcodeExit && in.opcode != kOpcodeJump && in.opcode != kOpcodeLongJump;
}

}  // namespace

std::vector<u16> live_registers(const Program& program, const HelperTable& helpers) {
  const auto slots = program.slots();
  std::vector<u16> live(slots.size(), 0);
  // Where jumps come from, by where they lead; a slot behind another needs no list.
  std::vector<std::vector<u32>> jumps_to(slots.size());
  std::vector<u32> before(slots.size(), kNone);
  std::vector<u32> todo;
  for (u32 slot = 0; slot < slots.size();) {
    const Instruction& in = slots[slot];
    if (jumps(in)) jumps_to[program.target_of(slot)].push_back(slot);
    const u32 next = slot + (in.is_wide() ? 2 : 1);
    if (falls_through(in) && next < slots.size()) before[next] = slot;
    todo.push_back(slot);
    slot = next;
  }
  // A slot comes back only when one of its 11 bits is new.
  while (!todo.empty()) {
    const u32 slot = todo.back();
    todo.pop_back();
    const Instruction& in = slots[slot];
    const Effect effect = effect_of(in, helpers);
    u16 after = 0;
    if (jumps(in)) after |= live[program.target_of(slot)];
    const u32 next = slot + (in.is_wide() ? 2 : 1);
    if (falls_through(in) && next < slots.size()) after |= live[next];
    const u16 now = static_cast<u16>((after & ~effect.writes) | effect.reads);
    if (now == live[slot]) continue;
    live[slot] = now;
    if (before[slot] != kNone) todo.push_back(before[slot]);
    todo.insert(todo.end(), jumps_to[slot].begin(), jumps_to[slot].end());
  }
  return live;
}

}  // namespace coppice::bpf
