// Random programs of idioms: the verifier accepts many, and all of those keep what it claimed.
#include "bpf/testing/random_program.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "bpf/disassembler.h"

namespace coppice::bpf {
namespace {

TEST(RandomProgram, KeepsWhatTheVerifierClaims) {
  const u64 seed = 7;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  RandomBed bed;
  int accepted = 0;
  constexpr int kPrograms = 400;
  for (int i = 0; i < kPrograms; ++i) {
    std::vector<u8> bytes(20 + prng.below(180));
    for (u8& byte : bytes) byte = static_cast<u8>(prng.next());
    const auto program = random_program(bytes);
    ASSERT_TRUE(program) << describe(program.error());
    const Verdict verdict = bed.verify(*program);
    if (!verdict.accepted()) continue;
    ++accepted;
    ASSERT_EQ(bed.run(*program, verdict, prng.next()), "") << disassemble(*program);
  }
  EXPECT_GT(accepted, kPrograms / 5) << "too few are accepted to try much";
}

}  // namespace
}  // namespace coppice::bpf
