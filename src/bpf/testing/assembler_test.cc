// The assembler reads back what the disassembler prints, and what only it knows.
#include "bpf/testing/assembler.h"

#include <gtest/gtest.h>

#include <set>

#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/disassembler.h"

namespace coppice::bpf {
namespace {

// Every instruction of the RFC, in every form that its fields can take, comes back from its text.
TEST(Assembler, ReadsWhatTheDisassemblerPrints) {
  const u64 seed = 3;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  constexpr i32 kImmediates[] = {0,    1,    -1,   0x40, 0x50, 0xa0, 0x41, 0x51,
                                 0xa1, 0xe1, 0xf1, 16,   32,   64,   5,    -7};
  constexpr i16 kOffsets[] = {0, 0, 1, 8, 16, 32, -8, -512};
  std::set<u8> seen;
  for (int i = 0; i < 200'000; ++i) {
    Instruction in{.opcode = static_cast<u8>(prng.below(256)),
                   .dst = static_cast<u8>(prng.below(kRegisters)),
                   .src = static_cast<u8>(prng.chance(1, 2) ? 0 : prng.below(kRegisters)),
                   .offset = kOffsets[prng.below(std::size(kOffsets))],
                   .imm = kImmediates[prng.below(std::size(kImmediates))]};
    if (!fault_of(in).empty()) continue;
    // The text does not tell numbers of maps from their indices.
    if (in.is_wide() && in.src >= static_cast<u8>(Immediate::map_by_index)) continue;
    std::vector<Instruction> slots = {in};
    if (in.is_wide()) {
      const bool uses_second = in.src == 0 || in.src == static_cast<u8>(Immediate::map_value);
      slots.push_back({.imm = uses_second ? static_cast<i32>(prng.next()) : 0});
    }
    slots.push_back({.opcode = kOpcodeExit});
    const auto program = Program::make(slots);
    if (!program) continue;  // A jump out of it.
    seen.insert(in.opcode);
    const auto read = assemble(disassemble(*program, 0) + "\nexit\n");
    ASSERT_TRUE(read) << disassemble(*program) << describe(read.error());
    ASSERT_EQ(read->slots, slots) << disassemble(*program);
  }
  EXPECT_GT(seen.size(), 100u);
}

TEST(Assembler, KnowsNames) {
  HelperTable helpers;
  add_core_helpers(helpers);
  const auto program = assemble(R"(
    r1 = map counters        ; a comment
    r2 = map config.value+8
  again: call map_lookup_elem
    if r0 == 0 goto out
    call twice
    goto again
  out:
    exit
  twice:
    r0 = code twice
    exit
  )",
                                {.maps = {"config", "counters"}, .helpers = &helpers});
  ASSERT_TRUE(program) << describe(program.error());
  EXPECT_EQ(program->slots[0].imm, 1);
  EXPECT_EQ(program->slots[3].imm, 8);
  EXPECT_EQ(program->labels.at("again"), 4u);
  EXPECT_EQ(program->slots[4].imm, 1);
  EXPECT_EQ(program->slots[5].offset, 2);
  EXPECT_EQ(program->slots[6].imm, 2);
  EXPECT_EQ(program->slots[7].offset, -4);
  EXPECT_EQ(program->slots[9].imm, -1);
}

// What is not understood is refused with its line.
TEST(Assembler, RefusesWhatIsNoInstruction) {
  for (const char* bad : {"r11 = 1",
                          "r1 = w2",
                          "r1 += ",
                          "r1 = r2 r3",
                          "goto nowhere",
                          "call nobody",
                          "r1 = map none",
                          "*(u8 *)(r1 +0) = r2",
                          "r1 = *(u9 *)(r2 +0)",
                          "if r1 = 5 goto +1",
                          "r1 = 0x100000000",
                          "r1 = @",
                          "x: x: exit",
                          "r1 = -r2",
                          "*(u8 *)(w1 +0) = 5",
                          "r2 = atomic64_xchg((r1 +0), r3)",
                          "r1 = be17 r1",
                          "if r1 == w2 goto +0",
                          "exit exit",
                          "r1 = *(u8 *)(r2 +40000)"}) {
    const auto read = assemble(std::string("r0 = 0\n") + bad + "\n");
    ASSERT_FALSE(read) << bad;
    EXPECT_NE(read.error().detail.find("line 2"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace coppice::bpf
