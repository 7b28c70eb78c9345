// Random programs leave the same in memory and r0, interpreted with every access checked and as
// machine code.
#include <gtest/gtest.h>

#include <array>

#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/disassembler.h"
#include "bpf/interpreter.h"
#include "helper/jit/testing/in_process.h"
#include "helper/jit/testing/random_program.h"

namespace coppice::jit {
namespace {

using namespace bpf;

TEST(RandomPrograms, RunAlikeAsMachineCode) {
  HelperTable helpers;
  add_core_helpers(helpers);
  Machine machine({});
  size_t slots = 0;
  for (u64 seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    std::vector<u8> bytes(40 + prng.below(1500));
    for (u8& each : bytes) each = static_cast<u8>(prng.next());
    const auto program = Program::make(random_program(bytes));
    ASSERT_TRUE(program) << describe(program.error());
    slots += program->slots().size();
    const auto code = Code::bind(*program, {.helpers = helpers});
    ASSERT_TRUE(code);
    const auto native = compile_here(*program, *code);
    ASSERT_TRUE(native) << describe(native.error());
    if (seed % 8 == 0) {
      EXPECT_TRUE(compile_here(*program, *code, {}, Target::aarch64));
    }
    for (int run = 0; run < 5; ++run) {
      alignas(8) std::array<u64, kArenaBytes / 8> first{}, second{};
      for (u64& word : first) word = prng.next() >> prng.below(64);
      second = first;
      const Region region{reinterpret_cast<u64>(first.data()), kArenaBytes, true};
      const Outcome outcome = machine.run_checked(*code, {&region, 1}, region.base);
      ASSERT_TRUE(result_of(outcome)) << describe(result_of(outcome).error());
      const u64 r0 = machine.run(*native, reinterpret_cast<u64>(second.data()));
      ASSERT_EQ(r0, outcome.r0) << disassemble(*program);
      ASSERT_EQ(first, second) << disassemble(*program);
    }
  }
  EXPECT_GT(slots, 60u * 60);  // They are not trivial.
}

}  // namespace
}  // namespace coppice::jit
