// Machine code does what the model of bpf/testing/model.h says: every instruction of RFC 9669, with
// each source, width and pair of edge values, and with random values.
//
// All of them are in one program, because compiling takes milliseconds and running nothing.
#include <gtest/gtest.h>

#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/testing/cases.h"
#include "bpf/testing/model.h"
#include "helper/jit/testing/in_process.h"

namespace coppice::jit {
namespace {

using namespace bpf;

constexpr u8 kLoad = 0x79, kStore = 0x7b;

class JitConformance : public ::testing::Test {
 protected:
  JitConformance() { add_core_helpers(helpers_); }

  void compile(std::vector<Instruction> slots) {
    slots.push_back({.opcode = kOpcodeExit});
    auto program = Program::make(std::move(slots));
    ASSERT_TRUE(program) << describe(program.error());
    auto code = Code::bind(*program, {.helpers = helpers_});
    ASSERT_TRUE(code) << describe(code.error());
    code_ = std::make_unique<Code>(*std::move(code));
    natives_.clear();
    for (const Target target : {Target::host, Target::x86_64}) {
      auto native = compile_here(*program, *code_, {}, target);
      ASSERT_TRUE(native) << describe(native.error());
      natives_.push_back(*std::move(native));
    }
    EXPECT_TRUE(compile_here(*program, *code_, {}, Target::aarch64));  // It has code for all.
  }
  // With all that this processor can do, and with what each can.
  void run(std::vector<u64>& words) {
    std::vector<u64> again = words;
    machine_.run(natives_[0], reinterpret_cast<u64>(words.data()));
    machine_.run(natives_[1], reinterpret_cast<u64>(again.data()));
    ASSERT_EQ(words, again);
  }

  HelperTable helpers_;
  Machine machine_{{}};
  std::unique_ptr<Code> code_;
  std::vector<Native> natives_;
};

// r2 and r3 are words 0 and 1; what is left in r2 goes to word 2 + k.
TEST_F(JitConformance, EveryArithmeticInstruction) {
  std::vector<Instruction> all, slots;
  for (const Instruction& each : arithmetic_cases()) {
    for (const Instruction& in : with_immediates(each)) {
      slots.push_back({.opcode = kLoad, .dst = 2, .src = 1});
      slots.push_back({.opcode = kLoad, .dst = 3, .src = 1, .offset = 8});
      slots.push_back(in);
      slots.push_back({.opcode = kStore,
                       .dst = 1,
                       .src = 2,
                       .offset = static_cast<bpf::i16>(8 * (all.size() + 2))});
      all.push_back(in);
    }
  }
  ASSERT_GT(all.size(), 600u);
  compile(std::move(slots));
  std::vector<u64> words(all.size() + 2);
  std::vector<u64> wanted(all.size());
  u64 last_dst = ~kEdges[0];
  const auto check = [&](u64 dst, u64 src) {
    words[0] = dst;
    words[1] = src;
    run(words);
    for (size_t i = 0; i < all.size(); ++i) {
      // The model is slow, and most of them do not look at r3.
      if (dst != last_dst || takes_register(all[i])) wanted[i] = model::compute(all[i], dst, src);
      ASSERT_EQ(words[i + 2], wanted[i])
          << std::hex << "opcode " << int{all[i].opcode} << " offset " << all[i].offset << " imm "
          << all[i].imm << " dst " << dst << " src " << src;
    }
    last_dst = dst;
  };
  for (const u64 dst : kEdges) {
    for (const u64 src : kEdges) {
      check(dst, src);
      if (HasFatalFailure()) return;
    }
  }
  for (u64 seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    check(prng.next() >> prng.below(64), prng.next() >> prng.below(64));
    if (HasFatalFailure()) return;
  }
}

// Word 2 + k becomes 1 if jump k is taken, else 0.
TEST_F(JitConformance, EveryJump) {
  std::vector<Instruction> all, slots;
  slots.push_back({.opcode = kLoad, .dst = 2, .src = 1});
  slots.push_back({.opcode = kLoad, .dst = 3, .src = 1, .offset = 8});
  for (const Instruction& each : jump_cases()) {
    for (const Instruction& in : with_immediates(each)) {
      slots.push_back({.opcode = 0xb7, .dst = 0, .imm = 1});
      slots.push_back(in);
      slots.push_back({.opcode = 0xb7, .dst = 0, .imm = 0});
      slots.push_back({.opcode = kStore,
                       .dst = 1,
                       .src = 0,
                       .offset = static_cast<bpf::i16>(8 * (all.size() + 2))});
      all.push_back(in);
    }
  }
  compile(std::move(slots));
  std::vector<u64> words(all.size() + 2);
  for (const u64 dst : kEdges) {
    for (const u64 src : kEdges) {
      words[0] = dst;
      words[1] = src;
      run(words);
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(words[i + 2], model::takes(all[i], dst, src) ? 1u : 0u)
            << std::hex << int{all[i].opcode} << " imm " << all[i].imm << " " << dst << " " << src;
      }
    }
  }
}

// Words 0 to 2: the operand, what is there, what is expected. Four words for each operation: a
// guard, the place, and what r2 and r0 are afterwards.
TEST_F(JitConformance, EveryAtomicOperation) {
  std::vector<Instruction> all, slots;
  for (const u8 opcode : {u8{0xc3}, u8{0xdb}}) {
    for (const i32 operation : kAtomicOperations) {
      const auto at = static_cast<bpf::i16>(24 + 32 * all.size());
      const auto plus = [at](int bytes) { return static_cast<bpf::i16>(at + bytes); };
      const Instruction in{
          .opcode = opcode, .dst = 1, .src = 2, .offset = plus(8), .imm = operation};
      slots.push_back({.opcode = kLoad, .dst = 2, .src = 1});
      slots.push_back({.opcode = kLoad, .dst = 3, .src = 1, .offset = 8});
      slots.push_back({.opcode = kLoad, .dst = 0, .src = 1, .offset = 16});
      slots.push_back({.opcode = kStore, .dst = 1, .src = 3, .offset = plus(8)});
      slots.push_back(in);
      slots.push_back({.opcode = kStore, .dst = 1, .src = 2, .offset = plus(16)});
      slots.push_back({.opcode = kStore, .dst = 1, .src = 0, .offset = plus(24)});
      all.push_back(in);
    }
  }
  compile(std::move(slots));
  std::vector<u64> words(3 + 4 * all.size());
  for (const u64 there : kEdges) {
    for (const u64 src : kEdges) {
      for (const u64 expected : {there, there ^ (u64{1} << 40), there + 1}) {
        words[0] = src;
        words[1] = there;
        words[2] = expected;
        run(words);
        for (size_t i = 0; i < all.size(); ++i) {
          const u64* four = &words[3 + 4 * i];
          const auto wanted = model::exchange(all[i], there, src, expected);
          const u64 kept = all[i].opcode == 0xc3 ? there >> 32 << 32 : 0;
          const bool compares = all[i].imm == kAtomicCompareExchange;
          ASSERT_EQ(four[0], 0u);
          ASSERT_EQ(four[1], kept | wanted.memory) << std::hex << all[i].imm;
          ASSERT_EQ(four[2], wanted.fetches && !compares ? wanted.fetched : src);
          ASSERT_EQ(four[3], compares ? wanted.fetched : expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace coppice::jit
