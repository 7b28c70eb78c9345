#include "bpf/verify/liveness.h"

#include <gtest/gtest.h>

#include "bpf/core_helpers.h"

namespace coppice::bpf {
namespace {

constexpr Instruction mov(u8 dst, u8 src) { return {.opcode = 0xbf, .dst = dst, .src = src}; }
constexpr Instruction zero(u8 dst) { return {.opcode = 0xb7, .dst = dst}; }
constexpr Instruction jump_if(u8 reg, i16 by) { return {.opcode = 0x15, .dst = reg, .offset = by}; }
constexpr Instruction kExit{.opcode = kOpcodeExit};

std::vector<u16> live_in(std::vector<Instruction> slots) {
  HelperTable helpers;
  add_core_helpers(helpers);
  const auto program = Program::make(std::move(slots));
  EXPECT_TRUE(program.has_value());
  return live_registers(*program, helpers);
}

// What is read later on some way, and not set before, is live; nothing else is.
TEST(Liveness, IsWhatSomeWayReads) {
  EXPECT_EQ(live_in({mov(0, 6), kExit}), (std::vector<u16>{1 << 6, 1 << 0}));
  EXPECT_EQ(live_in({zero(6), mov(0, 6), kExit}), (std::vector<u16>{0, 1 << 6, 1 << 0}));
  const std::vector<u16> either = live_in({jump_if(1, 2), mov(0, 7), kExit, mov(0, 8), kExit});
  EXPECT_EQ(either[0], 1 << 1 | 1 << 7 | 1 << 8);
  const std::vector<u16> helper = live_in({{.opcode = kOpcodeCall, .imm = 1}, mov(0, 9), kExit});
  EXPECT_EQ(helper[0], 1 << 1 | 1 << 2 | 1 << 9);
  const std::vector<u16> own =
      live_in({{.opcode = kOpcodeCall, .src = 1, .imm = 1}, kExit, zero(0), kExit});
  EXPECT_EQ(own[0], 0b111110);
}

// A hostile program has as many jumps back as slots: what is read at the top is live everywhere,
// and it does not take a pass over all slots for each jump to find that.
TEST(Liveness, OfJumpsBackWithoutEndIsFoundSoon) {
  constexpr size_t kJumps = 200'000;
  std::vector<Instruction> slots{mov(0, 6)};
  for (size_t i = 0; i < kJumps; ++i) slots.push_back(jump_if(1, -2));
  slots.push_back(kExit);
  const std::vector<u16> live = live_in(std::move(slots));
  for (size_t i = 1; i <= kJumps; ++i) ASSERT_EQ(live[i], 1 << 0 | 1 << 1 | 1 << 6) << i;
}

}  // namespace
}  // namespace coppice::bpf
