// Every instruction of RFC 9669, with each source, width and pair of edge values, does in both
// modes of the interpreter what the model of testing/model.h says; and so do random values.
#include <gtest/gtest.h>

#include <array>

#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/disassembler.h"
#include "bpf/interpreter.h"
#include "bpf/testing/cases.h"
#include "bpf/testing/model.h"

namespace coppice::bpf {
namespace {

// r0 to r5 and the 64 bytes of memory after a run that began with r1 = dst, r2 = src, r3 = memory.
struct State {
  u64 r0 = 0;
  std::array<u64, 4> memory{};
};

class Conformance : public ::testing::Test {
 protected:
  Conformance() { add_core_helpers(helpers_); }

  // The program finds `words` at r1; it must exit in both modes alike.
  State run(const std::vector<Instruction>& slots, std::array<u64, 4> words) {
    auto program = Program::make(slots);
    EXPECT_TRUE(program) << describe(program.error());
    if (!program) return {};
    auto code = Code::bind(*program, {.helpers = helpers_});
    EXPECT_TRUE(code) << describe(code.error());
    if (!code) return {};
    State fast{.memory = words}, checked{.memory = words};
    const Outcome quick = machine_.run(*code, reinterpret_cast<u64>(fast.memory.data()));
    const Region region{reinterpret_cast<u64>(checked.memory.data()), sizeof checked.memory, true};
    const Outcome strict = machine_.run_checked(*code, {&region, 1}, region.base);
    EXPECT_EQ(quick.stop, Stop::exited);
    EXPECT_EQ(strict.stop, Stop::exited) << describe(result_of(strict).error());
    EXPECT_EQ(quick.r0, strict.r0) << disassemble(*program);
    EXPECT_EQ(fast.memory, checked.memory) << disassemble(*program);
    return {.r0 = strict.r0, .memory = checked.memory};
  }

  // r2 = word 0, r3 = word 1, then `in`, which works on r2 and r3, then r0 = r2.
  u64 compute(const Instruction& in, u64 dst, u64 src) {
    return run({{.opcode = 0x79, .dst = 2, .src = 1},
                {.opcode = 0x79, .dst = 3, .src = 1, .offset = 8},
                in,
                {.opcode = 0xbf, .dst = 0, .src = 2},
                {.opcode = kOpcodeExit}},
               {dst, src, 0, 0})
        .r0;
  }
  void expect_model(const Instruction& in, u64 dst, u64 src) {
    const u64 wanted = model::compute(in, dst, src);
    const u64 got = compute(in, dst, src);
    ASSERT_EQ(got, wanted) << std::hex << "opcode " << int{in.opcode} << " offset " << in.offset
                           << " imm " << in.imm << " dst " << dst << " src " << src;
  }

  HelperTable helpers_;
  Machine machine_{{}};
};

TEST_F(Conformance, EveryArithmeticInstructionAgreesOnEdges) {
  const auto all = arithmetic_cases();
  // 11 with two sources (+ - * / | & << >> % ^ s>>) and mov, neg, two signed of two sources: in two
  // widths; movsx 2 and 3; le and be of three widths, bswap of three.
  EXPECT_EQ(all.size(), 2u * (12 * 2 + 1 + 4) + 5 + 9);
  for (const Instruction& in : all) {
    for (const Instruction& with : with_immediates(in)) {
      for (const u64 dst : kEdges) {
        if (!takes_register(with)) {
          expect_model(with, dst, 0);
        } else {
          for (const u64 src : kEdges) expect_model(with, dst, src);
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(Conformance, EveryArithmeticInstructionAgreesOnRandomValues) {
  for (u64 seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    for (Instruction in : arithmetic_cases()) {
      if (takes_immediate(in)) in.imm = static_cast<i32>(prng.next());
      // As many small numbers as large ones.
      expect_model(in, prng.next() >> prng.below(64), prng.next() >> prng.below(64));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Conformance, EveryJumpAgreesOnEdges) {
  const auto all = jump_cases();
  EXPECT_EQ(all.size(), 44u);
  for (const Instruction& jump : all) {
    for (const Instruction& in : with_immediates(jump)) {
      const auto expect = [&](u64 dst, u64 src) {
        const State state = run({{.opcode = 0x79, .dst = 2, .src = 1},
                                 {.opcode = 0x79, .dst = 3, .src = 1, .offset = 8},
                                 {.opcode = 0xb7, .dst = 0, .imm = 1},
                                 in,
                                 {.opcode = 0xb7, .dst = 0, .imm = 0},
                                 {.opcode = kOpcodeExit}},
                                {dst, src, 0, 0});
        ASSERT_EQ(state.r0, model::takes(in, dst, src) ? 1u : 0u)
            << std::hex << int{in.opcode} << " imm " << in.imm << " " << dst << " " << src;
      };
      for (const u64 dst : kEdges) {
        if (!takes_register(in)) {
          expect(dst, 0);
        } else {
          for (const u64 src : kEdges) expect(dst, src);
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(Conformance, AtomicsAgreeAndLeaveTheRestOfMemoryAlone) {
  for (const u8 opcode : {u8{0xc3}, u8{0xdb}}) {
    for (const i32 operation : kAtomicOperations) {
      const Instruction in{.opcode = opcode, .dst = 1, .src = 2, .offset = 8, .imm = operation};
      for (const u64 there : kEdges) {
        for (const u64 src : kEdges) {
          for (const u64 expected : {there, there ^ (u64{1} << 40), there + 1}) {
            // r0 = word 2 (for the compare), r2 = word 0; then r2 and r0 to words 2 and 3.
            const State state = run({{.opcode = 0x79, .dst = 0, .src = 1, .offset = 16},
                                     {.opcode = 0x79, .dst = 2, .src = 1},
                                     in,
                                     {.opcode = 0x7b, .dst = 1, .src = 2, .offset = 16},
                                     {.opcode = 0x7b, .dst = 1, .src = 0, .offset = 24},
                                     {.opcode = kOpcodeExit}},
                                    {src, there, expected, 0});
            const auto wanted = model::exchange(in, there, src, expected);
            const u64 kept = opcode == 0xc3 ? there >> 32 << 32 : 0;
            ASSERT_EQ(state.memory[1], (kept | wanted.memory)) << std::hex << operation;
            const bool compares = operation == kAtomicCompareExchange;
            ASSERT_EQ(state.memory[2], wanted.fetches && !compares ? wanted.fetched : src);
            ASSERT_EQ(state.memory[3], compares ? wanted.fetched : expected);
          }
        }
      }
    }
  }
}

TEST_F(Conformance, LoadsAndStoresOfEachWidth) {
  constexpr u64 kWord = 0xf1e2d3c4b5a69788;
  const std::pair<u8, u64> loads[] = {{0x71, 0x88},
                                      {0x69, 0x9788},
                                      {0x61, 0xb5a69788},
                                      {0x79, kWord},
                                      {0x91, 0xffffffffffffff88},
                                      {0x89, 0xffffffffffff9788},
                                      {0x81, 0xffffffffb5a69788}};
  for (const auto& [opcode, wanted] : loads) {
    const State state =
        run({{.opcode = opcode, .dst = 0, .src = 1, .offset = 8}, {.opcode = kOpcodeExit}},
            {0, kWord, 0, 0});
    EXPECT_EQ(state.r0, wanted) << std::hex << int{opcode};
  }
  // Positive: nothing to extend.
  for (const u8 opcode : {u8{0x91}, u8{0x89}, u8{0x81}}) {
    EXPECT_EQ(
        run({{.opcode = opcode, .dst = 0, .src = 1}, {.opcode = kOpcodeExit}}, {5, 0, 0, 0}).r0,
        5u);
  }
  const std::pair<u8, u64> stores[] = {{0x73, 0xaaaaaaaaaaaaaa88},
                                       {0x6b, 0xaaaaaaaaaaaa9788},
                                       {0x63, 0xaaaaaaaab5a69788},
                                       {0x7b, kWord}};
  for (const auto& [opcode, wanted] : stores) {
    const State state = run({{.opcode = 0x79, .dst = 2, .src = 1},
                             {.opcode = opcode, .dst = 1, .src = 2, .offset = 8},
                             {.opcode = 0xb7, .dst = 0},
                             {.opcode = kOpcodeExit}},
                            {kWord, 0xaaaaaaaaaaaaaaaa, 7, 7});
    EXPECT_EQ(state.memory, (std::array<u64, 4>{kWord, wanted, 7, 7}));
  }
  // The immediate of a store is signed.
  const std::pair<u8, u64> immediates[] = {{0x72, 0xaaaaaaaaaaaaaafe},
                                           {0x6a, 0xaaaaaaaaaaaafffe},
                                           {0x62, 0xaaaaaaaafffffffe},
                                           {0x7a, 0xfffffffffffffffe}};
  for (const auto& [opcode, wanted] : immediates) {
    const State state = run({{.opcode = opcode, .dst = 1, .imm = -2},
                             {.opcode = 0xb7, .dst = 0},
                             {.opcode = kOpcodeExit}},
                            {0xaaaaaaaaaaaaaaaa, 0, 0, 0});
    EXPECT_EQ(state.memory[0], wanted);
  }
}

TEST_F(Conformance, WideImmediatesJumpsBothWaysAndLongOnes) {
  EXPECT_EQ(
      run({{.opcode = 0x18, .dst = 0, .imm = -2}, {.imm = 0x12345678}, {.opcode = 0x95}}, {}).r0,
      0x12345678fffffffe);
  for (const u8 jump : {kOpcodeJump, kOpcodeLongJump}) {
    const auto to = [&](i16 by) {
      return jump == kOpcodeJump ? Instruction{.opcode = jump, .offset = by}
                                 : Instruction{.opcode = jump, .imm = by};
    };
    EXPECT_EQ(run({to(2), {.opcode = 0xb7, .dst = 0, .imm = 9}, {.opcode = 0x95}, to(-3)}, {}).r0,
              9u);
  }
  // Further than 16 bits reach.
  std::vector<Instruction> far{{.opcode = kOpcodeLongJump, .imm = 40'000}};
  far.resize(40'001, {.opcode = 0xb7, .dst = 0, .imm = 1});
  far.push_back({.opcode = 0xb7, .dst = 0, .imm = 2});
  far.push_back({.opcode = kOpcodeExit});
  EXPECT_EQ(run(far, {}).r0, 2u);
}

TEST_F(Conformance, LocalCallsKeepRegistersAndGiveEachItsStack) {
  // The callee overwrites r6 and its own stack; the caller's are as they were.
  const std::vector<Instruction> slots{
      {.opcode = 0xb7, .dst = 6, .imm = 40},                 // r6 = 40
      {.opcode = 0x7a, .dst = 10, .offset = -8, .imm = 2},   // *(u64 *)(r10 - 8) = 2
      {.opcode = 0xbf, .dst = 2, .src = 10},                 // r2 = r10
      {.opcode = kOpcodeCall, .src = 1, .imm = 4},           // call
      {.opcode = 0x79, .dst = 1, .src = 10, .offset = -8},   // r1 = *(r10 - 8)
      {.opcode = 0x0f, .dst = 0, .src = 6},                  // r0 += r6
      {.opcode = 0x0f, .dst = 0, .src = 1},                  // r0 += r1
      {.opcode = kOpcodeExit},                               //
      {.opcode = 0xb7, .dst = 6, .imm = 99},                 // r6 = 99
      {.opcode = 0x7a, .dst = 10, .offset = -8, .imm = 77},  // its own stack
      {.opcode = 0xbf, .dst = 0, .src = 10},                 // r0 = r10
      {.opcode = 0x1f, .dst = 0, .src = 2},                  // r0 -= caller's r10
      {.opcode = kOpcodeExit},
  };
  EXPECT_EQ(run(slots, {}).r0, kFrameBytes + 42u);
}

TEST_F(Conformance, CallsNestEightDeepAndNoDeeper) {
  for (const i32 calls : {7, 8}) {
    // f(n): n == 0 ? 0 : f(n - 1) + 1
    const std::vector<Instruction> slots{{.opcode = 0xb7, .dst = 1, .imm = calls},
                                         {.opcode = kOpcodeCall, .src = 1, .imm = 1},
                                         {.opcode = kOpcodeExit},
                                         {.opcode = 0xb7, .dst = 0, .imm = 1},
                                         {.opcode = 0x15, .dst = 1, .offset = 3, .imm = 1},
                                         {.opcode = 0x07, .dst = 1, .imm = -1},
                                         {.opcode = kOpcodeCall, .src = 1, .imm = -4},
                                         {.opcode = 0x07, .dst = 0, .imm = 1},
                                         {.opcode = kOpcodeExit}};
    auto program = Program::make(slots);
    ASSERT_TRUE(program);
    auto code = Code::bind(*program, {.helpers = helpers_});
    ASSERT_TRUE(code);
    for (const Outcome& outcome : {machine_.run(*code, 0), machine_.run_checked(*code, {}, 0)}) {
      EXPECT_EQ(outcome.stop, calls == 7 ? Stop::exited : Stop::depth);
      EXPECT_EQ(outcome.r0, calls == 7 ? 7u : 0u);
      EXPECT_EQ(outcome.slot, calls == 7 ? 0u : 6u);
    }
  }
}

}  // namespace
}  // namespace coppice::bpf
