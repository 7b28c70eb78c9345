// Scalars of 64 bits: what they make of real instructions, against the model that computes bit by
// bit, and what they must find out. That the templates behind them are right for every word is
// tried in narrow_words_test.cc.
#include "bpf/verify/scalar.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/prng.h"
#include "bpf/testing/model.h"

namespace coppice::bpf {
namespace {

// A number near the ends and powers where ranges break, or any.
u64 random_number(Prng& prng) {
  const u64 power = u64{1} << prng.below(64);
  switch (prng.below(5)) {
    case 0: return prng.below(16) - 8;
    case 1: return power + prng.below(5) - 2;
    case 2: return u64{0} - power + prng.below(5) - 2;
    case 3: return prng.next() >> prng.below(64);
    default: return prng.next();
  }
}

// A set that has `concrete`: of ranges around it and of some of its bits.
Scalar around(Prng& prng, u64 concrete) {
  if (prng.chance(1, 8)) return Scalar::constant(concrete);
  Scalar set = Scalar::unknown();
  const auto narrow = [&](const Scalar& by) {
    const auto both = meet(set, by);
    ASSERT_TRUE(both.has_value());
    set = *both;
  };
  if (prng.chance(1, 2)) {
    const u64 other = prng.chance(1, 2) ? concrete + prng.below(200) - 100 : random_number(prng);
    narrow(Scalar::between(std::min(concrete, other), std::max(concrete, other)));
  }
  if (prng.chance(1, 2)) {
    const i64 number = static_cast<i64>(concrete);
    const i64 other = static_cast<i64>(prng.chance(1, 2) ? concrete + prng.below(200) - 100
                                                         : random_number(prng));
    narrow(Scalar::between_signed(std::min(number, other), std::max(number, other)));
  }
  if (prng.chance(1, 2)) {
    const u64 mask = random_number(prng) | random_number(prng);
    narrow(Scalar::with_bits({.value = concrete & ~mask, .mask = mask}));
  }
  if (prng.chance(1, 4)) set = unite(set, Scalar::constant(random_number(prng)));
  return set;
}

std::vector<Instruction> instructions_of(std::initializer_list<u8> classes, u8 codes) {
  std::vector<Instruction> all;
  for (const u8 low : classes) {
    for (u8 code = 0; code < codes; ++code) {
      for (const u8 source : {u8{0}, kSourceRegister}) {
        for (const i16 offset : {0, 1, 8, 16, 32}) {
          for (const i32 imm : {0, 16, 32, 64}) {
            const Instruction in{.opcode = static_cast<u8>(code << 4 | low | source),
                                 .dst = 2,
                                 .src = static_cast<u8>(source != 0 && code != 13 ? 3 : 0),
                                 .offset = offset,
                                 .imm = imm};
            if (fault_of(in).empty()) all.push_back(in);
          }
        }
      }
    }
  }
  return all;
}

// Whatever an instruction makes of two numbers, it is among what is made of sets that have them;
// with two constants it is all of it.
TEST(Scalar, ComputeLosesNoResult) {
  const u64 seed = 11;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  const auto all = instructions_of({4, 7}, 14);
  for (int i = 0; i < 200'000; ++i) {
    Instruction in = all[prng.below(all.size())];
    u64 dst = random_number(prng), src = random_number(prng);
    if (in.from_register() && in.alu_code() != AluCode::end && prng.chance(1, 20)) {
      in.src = in.dst;
      src = dst;
    }
    if (!in.from_register() && in.alu_code() != AluCode::end && in.alu_code() != AluCode::neg) {
      in.imm = static_cast<i32>(src);
      src = static_cast<u64>(i64{in.imm});
    }
    const Scalar a = around(prng, dst);
    const Scalar b = in.src == in.dst     ? a
                     : in.from_register() ? around(prng, src)
                                          : Scalar::constant(src);
    const u64 wanted = model::compute(in, dst, src);
    const Scalar got = compute(in, a, b);
    ASSERT_TRUE(got.contains(wanted))
        << std::hex << "opcode " << int{in.opcode} << " offset " << in.offset << " imm " << in.imm
        << " dst " << dst << " src " << src << " of " << describe(a) << " and " << describe(b)
        << " gave " << describe(got);
    const Scalar exact = compute(in, Scalar::constant(dst), Scalar::constant(src));
    ASSERT_EQ(exact, Scalar::constant(wanted)) << std::hex << int{in.opcode};
  }
}

// A pair of numbers that takes a side of a branch is kept on that side.
TEST(Scalar, BranchKeepsWhatTakesIt) {
  const u64 seed = 12;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  std::vector<Instruction> all;
  for (const Instruction& in : instructions_of({5, 6}, 14)) {
    const JumpCode code = in.jump_code();
    if (code != JumpCode::ja && code != JumpCode::call && code != JumpCode::exit) all.push_back(in);
  }
  for (int i = 0; i < 200'000; ++i) {
    Instruction in = all[prng.below(all.size())];
    const u64 dst = random_number(prng);
    u64 src = prng.chance(1, 3) ? dst + prng.below(3) - 1 : random_number(prng);
    if (in.from_register() && prng.chance(1, 20)) {
      in.src = in.dst;
      src = dst;
    }
    if (!in.from_register()) {
      in.imm = static_cast<i32>(src);
      src = static_cast<u64>(i64{in.imm});
    }
    const Scalar a = around(prng, dst);
    const Scalar b = in.src == in.dst ? a : around(prng, src);
    const Branches sides = branch(in, a, b);
    const auto& side = model::takes(in, dst, src) ? sides.taken : sides.fallthrough;
    ASSERT_TRUE(side && side->dst.contains(dst) && side->src.contains(src))
        << std::hex << "opcode " << int{in.opcode} << " dst " << dst << " src " << src << " of "
        << describe(a) << " and " << describe(b);
    const Branches exact = branch(in, Scalar::constant(dst), Scalar::constant(src));
    ASSERT_NE(exact.taken.has_value(), exact.fallthrough.has_value());
  }
}

// The low bytes of a number are among those of its set.
TEST(Scalar, LoadedLosesNoNumber) {
  const u64 seed = 13;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  for (int i = 0; i < 100'000; ++i) {
    const u64 number = random_number(prng);
    const u32 bytes = 1u << prng.below(4), unused = 64 - 8 * bytes;
    const Scalar whole = around(prng, number);
    ASSERT_TRUE(loaded(whole, bytes, false).contains(number << unused >> unused));
    ASSERT_TRUE(loaded(whole, bytes, true)
                    .contains(static_cast<u64>(static_cast<i64>(number << unused) >> unused)));
  }
}

// Of any number the low bytes may be any, and no more.
TEST(Scalar, LoadedHasTheRangeOfItsBytes) {
  const Scalar any = Scalar::unknown();
  EXPECT_EQ(loaded(any, 1, false), Scalar::between(0, 255));
  EXPECT_EQ(loaded(any, 1, true), Scalar::between_signed(-128, 127));
  EXPECT_EQ(loaded(Scalar::between(0, 65535), 2, true), Scalar::between_signed(-32768, 32767));
  EXPECT_EQ(loaded(any, 4, true), Scalar::between_signed(INT32_MIN, INT32_MAX));
  EXPECT_EQ(loaded(Scalar::between(0, 300), 1, false), Scalar::between(0, 255));
  EXPECT_EQ(loaded(any, 8, true), any);
}

constexpr u8 kMov64 = 0xbf, kMov32 = 0xbc;
constexpr u8 kWide = 0x07, kNarrow = 0x04;

Scalar by(AluCode code, u8 instruction_class, const Scalar& dst, u64 imm) {
  return compute({.opcode = static_cast<u8>(static_cast<u8>(code) << 4 | instruction_class)}, dst,
                 Scalar::constant(imm));
}
Branches jump(JumpCode code, bool wide, const Scalar& dst, u64 imm) {
  return branch({.opcode = static_cast<u8>(static_cast<u8>(code) << 4 | (wide ? 5 : 6))}, dst,
                Scalar::constant(imm));
}

// What programs rely on to index an array.
TEST(Scalar, FindsTheBoundsOfCommonIdioms) {
  const Scalar any = Scalar::unknown();
  EXPECT_EQ(by(AluCode::bit_and, kWide, any, 63), Scalar::between(0, 63));
  EXPECT_EQ(by(AluCode::mod, kWide, any, 10), Scalar::between(0, 9));
  EXPECT_EQ(by(AluCode::rsh, kNarrow, any, 24), Scalar::between(0, 255));
  EXPECT_EQ(by(AluCode::div, kNarrow, any, 1000), Scalar::between(0, UINT32_MAX / 1000));
  // A sign extension by two shifts, and a zero extension.
  const Scalar small = *meet(Scalar::between_signed(-5, 5), any);
  const Scalar low = compute({.opcode = kMov32, .src = 1}, any, small);
  EXPECT_EQ(low.smin32, -5);
  EXPECT_EQ(low.smax32, 5);
  EXPECT_EQ(by(AluCode::arsh, kWide, by(AluCode::lsh, kWide, low, 32), 32), small);
  EXPECT_EQ(compute({.opcode = kMov64, .src = 1, .offset = 32}, any, low), small);
  const Scalar few = Scalar::between(3, 700);
  EXPECT_EQ(by(AluCode::rsh, kWide, by(AluCode::lsh, kWide, few, 32), 32), few);
  // An element of 24 bytes behind a header of 16.
  const Scalar offset = by(AluCode::add, kWide, by(AluCode::mul, kWide, few, 24), 16);
  EXPECT_EQ(offset.umin, 88u);
  EXPECT_EQ(offset.umax, 16816u);
  EXPECT_EQ(offset.bits.cut(7), Tnum::constant(0));
}

TEST(Scalar, FindsTheBoundsThatComparisonsGive) {
  const Scalar any = Scalar::unknown();
  EXPECT_EQ(jump(JumpCode::jgt, true, any, 63).fallthrough->dst, Scalar::between(0, 63));
  EXPECT_EQ(jump(JumpCode::jslt, true, any, 0).taken->dst, Scalar::between_signed(INT64_MIN, -1));
  // A signed bound from above and one from below are an unsigned range.
  const Scalar above = jump(JumpCode::jsgt, true, any, static_cast<u64>(-1)).taken->dst;
  EXPECT_EQ(jump(JumpCode::jslt, true, above, 64).taken->dst, Scalar::between(0, 63));
  // A bound of the low half is one of the whole once the upper half is known.
  const Scalar low = jump(JumpCode::jlt, false, any, 64).taken->dst;
  EXPECT_EQ(low.umax, UINT64_MAX - UINT32_MAX + 63);
  EXPECT_EQ(compute({.opcode = kMov32, .src = 1}, any, low), Scalar::between(0, 63));
  // Not equal to an end.
  EXPECT_EQ(jump(JumpCode::jne, true, Scalar::between(0, 9), 0).taken->dst, Scalar::between(1, 9));
  EXPECT_EQ(jump(JumpCode::jeq, true, Scalar::between(0, 9), 9).fallthrough->dst,
            Scalar::between(0, 8));
  // Sides that nothing takes.
  EXPECT_FALSE(jump(JumpCode::jgt, true, Scalar::between(0, 9), 9).taken);
  EXPECT_FALSE(jump(JumpCode::jne, true, Scalar::constant(7), 7).taken);
  EXPECT_FALSE(jump(JumpCode::jset, true, Scalar::between(0, 7), 8).taken);
  EXPECT_EQ(jump(JumpCode::jset, true, Scalar::between(0, 15), 8).taken->dst,
            Scalar::between(8, 15));
  EXPECT_EQ(jump(JumpCode::jset, true, any, ~u64{7}).fallthrough->dst, Scalar::between(0, 7));
}

// One register named twice is one number.
TEST(Scalar, ARegisterEqualsItself) {
  const Scalar any = Scalar::unknown();
  EXPECT_EQ(compute({.opcode = 0xaf, .dst = 1, .src = 1}, any, any), Scalar::constant(0));
  EXPECT_EQ(compute({.opcode = 0x1c, .dst = 1, .src = 1}, any, any), Scalar::constant(0));
  EXPECT_FALSE(branch({.opcode = 0x1d, .dst = 1, .src = 1}, any, any).fallthrough);
  EXPECT_FALSE(branch({.opcode = 0x2d, .dst = 1, .src = 1}, any, any).taken);
  EXPECT_EQ(branch({.opcode = 0x4d, .dst = 1, .src = 1}, any, any).fallthrough->src,
            Scalar::constant(0));
}

TEST(Scalar, IsDescribedInWords) {
  EXPECT_EQ(describe(Scalar::unknown()), "any number");
  EXPECT_EQ(describe(Scalar::constant(5)), "5");
  EXPECT_EQ(describe(Scalar::constant(static_cast<u64>(-2))), "-2");
  EXPECT_EQ(describe(Scalar::constant(0x12345)), "0x12345");
  EXPECT_EQ(describe(Scalar::between(0, 64)), "0..64");
  EXPECT_EQ(describe(Scalar::between_signed(-8, 7)), "-8..7");
  const auto aligned = meet(Scalar::between(0, 0xfffff), Scalar::with_bits({.mask = ~u64{3}}));
  EXPECT_EQ(describe(*aligned), "0..0xffffc, multiple of 4");
  EXPECT_EQ(describe(Scalar::with_bits({.value = 1, .mask = ~u64{3}})),
            "1 more than a multiple of 4");
  EXPECT_EQ(describe(by(AluCode::bit_or, kWide, Scalar::between(0, 300), 16)), "16..511");
  EXPECT_EQ(describe(jump(JumpCode::jlt, false, Scalar::unknown(), 8).taken->dst),
            "low 32 bits 0..7");
}

}  // namespace
}  // namespace coppice::bpf
