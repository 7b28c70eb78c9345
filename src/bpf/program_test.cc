// What bytes are refused as a program, with which words; and how programs print.
#include "bpf/program.h"

#include <gmock/gmock.h>

#include <array>

#include "base/endian.h"
#include "base/prng.h"
#include "bpf/disassembler.h"

namespace coppice::bpf {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::vector<Instruction>& slots) {
  auto program = Program::read(encode(slots));
  return program ? "accepted" : describe(program.error());
}
constexpr Instruction kExit{.opcode = kOpcodeExit};

TEST(Decode, RefusesWhatTheRfcDoesNotDefineAndNamesTheSlot) {
  const std::pair<std::vector<Instruction>, const char*> cases[] = {
      {{{.opcode = 0x20}, kExit}, "slot 0: opcode 0x20 loads from a packet"},
      {{kExit, {.opcode = 0xe7}}, "slot 1: RFC 9669 defines no instruction of opcode 0xe7"},
      {{{.opcode = 0xb7, .dst = 11}, kExit}, "slot 0: there is no register r11"},
      {{{.opcode = 0xb7, .dst = 10}, kExit}, "slot 0: r10 is the frame pointer"},
      {{{.opcode = 0xb7, .src = 1}, kExit}, "slot 0: source 1 is reserved"},
      {{{.opcode = 0x07, .offset = 1}, kExit}, "slot 0: offset 1 is reserved"},
      {{{.opcode = 0x0f, .imm = 1}, kExit}, "slot 0: immediate 1 is reserved"},
      {{{.opcode = 0x37, .offset = 2}, kExit}, "slot 0: offset 2 is reserved"},
      {{{.opcode = 0xbc, .offset = 32}, kExit}, "slot 0: offset 32 is reserved"},
      {{{.opcode = 0xd4, .imm = 8}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0xdf, .imm = 16}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0x99, .dst = 1}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0xdb, .imm = 2}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0xd3}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0xdb, .src = 10, .imm = 0xe1}, kExit}, "slot 0: r10 is the frame pointer"},
      {{{.opcode = 0x8d}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0x85, .src = 3}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0x96}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0x95, .imm = 1}}, "slot 0: immediate 1 is reserved"},
      {{{.opcode = 0x05, .imm = 1}, kExit}, "slot 0: immediate 1 is reserved"},
      {{{.opcode = 0x06, .offset = 1}, kExit}, "slot 0: offset 1 is reserved"},
      {{{.opcode = 0x18, .src = 7}, {}, kExit}, "slot 0: RFC 9669 defines no instruction"},
      {{{.opcode = 0x18}}, "slot 0: the program ends before the second half"},
      {{{.opcode = 0x18}, kExit}, "slot 1: the second half of a 64-bit immediate has only"},
      {{{.opcode = 0x18, .src = 1}, {.imm = 4}, kExit}, "slot 1: immediate 4 in the second half"},
  };
  for (const auto& [slots, words] : cases) EXPECT_THAT(refusal(slots), HasSubstr(words));
  EXPECT_THAT(describe(Program::read({}).error()), HasSubstr("no instructions"));
  const std::vector<std::byte> torn(12);
  EXPECT_THAT(describe(Program::read(torn).error()), HasSubstr("not a multiple of 8"));
}

TEST(Decode, RefusesJumpsToNowhereAndEndsWithoutExit) {
  const std::pair<std::vector<Instruction>, const char*> cases[] = {
      {{{.opcode = 0x05, .offset = 1}, kExit}, "slot 0: jumps to slot 2, where no instruction"},
      {{{.opcode = 0x05, .offset = -2}, kExit}, "slot 0: jumps to slot -1, where no instruction"},
      {{{.opcode = 0x05, .offset = 1}, {.opcode = 0x18}, {}, kExit}, "slot 0: jumps to slot 2"},
      {{{.opcode = 0x06, .imm = 0x7fffffff}, kExit}, "slot 0: jumps to slot 2147483648"},
      {{{.opcode = 0x85, .src = 1, .imm = 9}, kExit}, "slot 0: calls slot 10"},
      {{{.opcode = 0x18, .src = 4, .imm = 0}, {}, kExit}, "slot 0: calls slot 1"},
      {{{.opcode = 0xb7}}, "slot 0: the subprogram ends here"},
      {{kExit, {.opcode = 0x15, .offset = -2}}, "slot 1: the subprogram ends here"},
      {{{.opcode = 0x85, .src = 1, .imm = 0}, kExit}, "slot 0: the subprogram ends here"},
      {{{.opcode = 0x85, .src = 1, .imm = 2}, {.opcode = 0x05, .offset = 1}, kExit, kExit},
       "slot 1: jumps to slot 3, out of its subprogram (slots 0 to 2)"},
  };
  for (const auto& [slots, words] : cases) EXPECT_THAT(refusal(slots), HasSubstr(words));
}

TEST(Decode, FindsSubprogramsAndTargets) {
  const auto program = Program::make({{.opcode = 0x85, .src = 1, .imm = 3},
                                      {.opcode = 0x18, .dst = 1, .src = 4, .imm = 4},
                                      {},
                                      kExit,
                                      kExit,
                                      {.opcode = kOpcodeJump, .offset = -1},
                                      kExit});
  ASSERT_TRUE(program) << describe(program.error());
  EXPECT_THAT(program->subprograms(), ::testing::ElementsAre(0, 4, 6));
  EXPECT_EQ(program->target_of(0), 4u);
  EXPECT_EQ(program->target_of(1), 6u);
  EXPECT_EQ(program->target_of(5), 5u);
  EXPECT_EQ(program->end_of_subprogram(1), 4u);
  EXPECT_EQ(program->end_of_subprogram(5), 6u);
  EXPECT_EQ(program->end_of_subprogram(6), 7u);
}

// Of each slot that is accepted the bytes come back; whatever is refused is refused in words.
TEST(Decode, AnyBytesAreRefusedOrEncodeBack) {
  for (u64 seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    size_t accepted = 0;
    for (int i = 0; i < 200'000; ++i) {
      std::array<std::byte, 8> slot;
      // Reserved fields are mostly zero, or hardly anything would pass.
      u64 word = prng.below(256) | prng.below(12) << 8 | prng.below(12) << 12;
      if (prng.chance(1, 4)) word |= prng.below(65536) << 16;
      if (prng.chance(1, 4)) word |= prng.next() << 32;
      store_le(slot.data(), word);
      const Instruction in = decode_slot(slot);
      std::array<std::byte, 8> back;
      encode_slot(in, back);
      ASSERT_EQ(slot, back);
      const bool defined = form_of(in).has_value();
      if (fault_of(in).empty()) {
        ASSERT_TRUE(defined);
        ++accepted;
      }
    }
    EXPECT_GT(accepted, 1000u);
  }
}

TEST(Disassembler, PrintsTheKernelsWords) {
  const std::pair<Instruction, const char*> cases[] = {
      {{.opcode = 0x0f, .dst = 1, .src = 2}, "r1 += r2"},
      {{.opcode = 0x04, .dst = 1, .imm = -5}, "w1 += -5"},
      {{.opcode = 0xcf, .dst = 3, .src = 4}, "r3 s>>= r4"},
      {{.opcode = 0x3f, .dst = 1, .src = 2, .offset = 1}, "r1 s/= r2"},
      {{.opcode = 0x97, .dst = 1, .imm = 3}, "r1 %= 3"},
      {{.opcode = 0xbf, .dst = 1, .src = 2, .offset = 8}, "r1 = (s8)r2"},
      {{.opcode = 0x87, .dst = 5}, "r5 = -r5"},
      {{.opcode = 0xdc, .dst = 1, .imm = 32}, "r1 = be32 r1"},
      {{.opcode = 0xd7, .dst = 1, .imm = 64}, "r1 = bswap64 r1"},
      {{.opcode = 0x69, .dst = 1, .src = 10, .offset = -6}, "r1 = *(u16 *)(r10 -6)"},
      {{.opcode = 0x91, .dst = 1, .src = 2, .offset = 3}, "r1 = *(s8 *)(r2 +3)"},
      {{.opcode = 0x62, .dst = 1, .offset = 4, .imm = 7}, "*(u32 *)(r1 +4) = 7"},
      {{.opcode = 0x7b, .dst = 10, .src = 6, .offset = -8}, "*(u64 *)(r10 -8) = r6"},
      {{.opcode = 0xdb, .dst = 1, .src = 2}, "lock *(u64 *)(r1 +0) += r2"},
      {{.opcode = 0xc3, .dst = 1, .src = 2, .imm = 0x41}, "w2 = atomic_fetch_or((r1 +0), w2)"},
      {{.opcode = 0xdb, .dst = 1, .src = 2, .imm = 0xe1}, "r2 = atomic64_xchg((r1 +0), r2)"},
      {{.opcode = 0xdb, .dst = 1, .src = 2, .imm = 0xf1}, "r0 = atomic64_cmpxchg((r1 +0), r0, r2)"},
      {{.opcode = 0x6d, .dst = 1, .src = 2}, "if r1 s> r2 goto +0"},
      {{.opcode = 0xa6, .dst = 1, .imm = 9}, "if w1 < 9 goto +0"},
      {{.opcode = 0x05}, "goto +0"},
      {{.opcode = 0x06}, "gotol +0"},
      {{.opcode = 0x85, .imm = 6}, "call #6"},
      {kExit, "exit"},
  };
  for (const auto& [in, words] : cases) {
    auto program = Program::make({in, kExit});
    ASSERT_TRUE(program) << words << describe(program.error());
    EXPECT_EQ(disassemble(*program, 0), words);
  }
  auto whole = Program::make({{.opcode = 0x18, .dst = 1, .imm = 5}, {.imm = 1}, kExit});
  EXPECT_EQ(disassemble(*whole), "    0: (18) r1 = 0x100000005 ll\n    2: (95) exit\n");
}

}  // namespace
}  // namespace coppice::bpf
