// Every theorem that bpf/verify rests on, tried with words of 4 bits, where all cases there are can
// be counted, and with random sets of words of 8 bits. The templates are the ones that programs are
// verified with, at 64 bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <tuple>
#include <vector>

#include "base/prng.h"
#include "bpf/verify/conditions.h"
#include "bpf/verify/word_arithmetic.h"

namespace coppice::bpf {
namespace {

template <int kBits>
struct Small {
  static constexpr size_t kWords = size_t{1} << kBits;
  using Set = std::bitset<kWords>;
  using Half = Word<kBits / 2>;

  static Set set_of(const Scalar& scalar) {
    Set set;
    for (u64 word = 0; word < kWords; ++word) set[word] = contains_word<kBits>(scalar, word);
    return set;
  }
  // The best description there is of a set that is not empty, found by looking at every member.
  static Scalar best(const Set& set) {
    std::optional<Scalar> best;
    for (u64 word = 0; word < kWords; ++word) {
      if (!set[word]) continue;
      const Scalar one = constant_word<kBits>(word);
      best = best ? unite(*best, one) : one;
    }
    return *best;
  }
  static Scalar whole() { return joined<kBits>(whole_view<kBits>(), whole_view<kBits / 2>()); }

  // All sets of one range or of known bits, of words and of their lower halves.
  static std::vector<Scalar> simple_sets() {
    std::vector<Scalar> sets;
    const auto add = [&](const Scalar& raw) { sets.push_back(*tight<kBits>(raw)); };
    for (u64 low = 0; low < kWords; ++low) {
      for (u64 high = low; high < kWords; ++high) {
        Scalar raw = whole();
        raw.umin = low, raw.umax = high;
        add(raw);
        raw = whole();
        raw.smin = Word<kBits>::kLeast + static_cast<i64>(low);
        raw.smax = Word<kBits>::kLeast + static_cast<i64>(high);
        add(raw);
      }
    }
    for (u64 low = 0; low <= Half::kMask; ++low) {
      for (u64 high = low; high <= Half::kMask; ++high) {
        Scalar raw = whole();
        raw.umin32 = static_cast<u32>(low), raw.umax32 = static_cast<u32>(high);
        add(raw);
        raw = whole();
        raw.smin32 = static_cast<i32>(Half::kLeast + static_cast<i64>(low));
        raw.smax32 = static_cast<i32>(Half::kLeast + static_cast<i64>(high));
        add(raw);
      }
    }
    for (u64 mask = 0; mask < kWords; ++mask) {
      for (u64 value = 0; value < kWords; ++value) {
        if ((mask & value) != 0) continue;
        Scalar raw = whole();
        raw.bits = {.value = value, .mask = mask};
        add(raw);
      }
    }
    const auto less = [](const Scalar& a, const Scalar& b) {
      const auto key = [](const Scalar& s) {
        return std::tuple(s.bits.value, s.bits.mask, s.umin, s.umax, s.smin, s.smax, s.umin32,
                          s.umax32, s.smin32, s.smax32);
      };
      return key(a) < key(b);
    };
    std::ranges::sort(sets, less);
    const auto repeated = std::ranges::unique(sets);
    sets.erase(repeated.begin(), repeated.end());
    return sets;
  }
  // Any five constraints; they may contradict each other.
  static Scalar random_raw(Prng& prng) {
    Scalar raw = whole();
    const auto ordered = [&](auto least, auto count, auto& low, auto& high) {
      if (prng.chance(1, 3)) return;
      using Number = std::remove_reference_t<decltype(low)>;
      const u64 a = prng.below(count), b = prng.below(count);
      low = static_cast<Number>(least + static_cast<i64>(std::min(a, b)));
      high = static_cast<Number>(least + static_cast<i64>(std::max(a, b)));
    };
    if (prng.chance(2, 3)) raw.bits.mask = prng.below(kWords) | prng.below(kWords);
    raw.bits.value = prng.below(kWords) & ~raw.bits.mask;
    ordered(i64{0}, kWords, raw.umin, raw.umax);
    ordered(Word<kBits>::kLeast, kWords, raw.smin, raw.smax);
    ordered(i64{0}, Half::kMask + 1, raw.umin32, raw.umax32);
    ordered(Half::kLeast, Half::kMask + 1, raw.smin32, raw.smax32);
    return raw;
  }
};

std::string text(const Scalar& s) {
  return "bits " + std::to_string(s.bits.value) + "/" + std::to_string(s.bits.mask) + " u " +
         std::to_string(s.umin) + ".." + std::to_string(s.umax) + " s " + std::to_string(s.smin) +
         ".." + std::to_string(s.smax) + " low u " + std::to_string(s.umin32) + ".." +
         std::to_string(s.umax32) + " s " + std::to_string(s.smin32) + ".." +
         std::to_string(s.smax32);
}

template <int kBits>
void expect_exact(const Scalar& raw) {
  using S = Small<kBits>;
  const auto set = S::set_of(raw);
  const auto found = tight<kBits>(raw);
  ASSERT_EQ(found.has_value(), set.any()) << text(raw);
  if (!found) return;
  ASSERT_EQ(*found, S::best(set)) << text(raw) << " became " << text(*found);
}

// Whatever the constraints, tight() describes the same set, and no fields describe it better.
TEST(NarrowWords, TightIsExactForEveryWordConstraint) {
  using S = Small<4>;
  for (u64 mask = 0; mask < S::kWords; ++mask) {
    for (u64 value = 0; value < S::kWords; ++value) {
      if ((mask & value) != 0) continue;
      for (u64 low = 0; low < S::kWords; ++low) {
        for (u64 high = low; high < S::kWords; ++high) {
          for (i64 least = -8; least < 8; least += 3) {
            Scalar raw = S::whole();
            raw.bits = {.value = value, .mask = mask};
            raw.umin = low, raw.umax = high;
            raw.smin = least, raw.smax = std::min<i64>(7, least + 9);
            expect_exact<4>(raw);
          }
        }
      }
    }
  }
}
TEST(NarrowWords, TightIsExactForRandomConstraints) {
  const u64 seed = 4;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  for (int i = 0; i < 200'000; ++i) expect_exact<4>(Small<4>::random_raw(prng));
  for (int i = 0; i < 20'000; ++i) expect_exact<8>(Small<8>::random_raw(prng));
}

// unite() is the least that covers both, meet_words() exactly what both have.
TEST(NarrowWords, UniteAndMeetAreExact) {
  using S = Small<4>;
  const auto sets = S::simple_sets();
  for (const Scalar& a : sets) {
    const auto in_a = S::set_of(a);
    for (const Scalar& b : sets) {
      const auto in_b = S::set_of(b);
      ASSERT_EQ(unite(a, b), S::best(in_a | in_b)) << text(a) << " with " << text(b);
      const auto both = meet_words<4>(a, b);
      ASSERT_EQ(both.has_value(), (in_a & in_b).any()) << text(a) << " with " << text(b);
      ASSERT_EQ(a.covers(b), (in_b & ~in_a).none()) << text(a) << " over " << text(b);
      if (!both) continue;
      ASSERT_EQ(*both, S::best(in_a & in_b)) << text(a) << " with " << text(b);
    }
  }
}

// What the RFC says of words of `bits` bits.
u64 computed(AluCode code, bool is_signed, int bits, u64 a, u64 b) {
  const u64 mask = (u64{1} << bits) - 1;
  a &= mask, b &= mask;
  const auto number = [&](u64 word) {
    return static_cast<i64>(word) - (word > mask / 2 ? static_cast<i64>(mask) + 1 : 0);
  };
  const i64 x = number(a), y = number(b);
  const u64 count = b % static_cast<u64>(bits);
  u64 result = 0;
  switch (code) {
    case AluCode::add: result = a + b; break;
    case AluCode::sub: result = a - b; break;
    case AluCode::mul: result = a * b; break;
    case AluCode::div:
      if (b != 0) result = is_signed ? static_cast<u64>(x / y) : a / b;
      break;
    case AluCode::mod: result = b == 0 ? a : is_signed ? static_cast<u64>(x % y) : a % b; break;
    case AluCode::bit_or: result = a | b; break;
    case AluCode::bit_and: result = a & b; break;
    case AluCode::bit_xor: result = a ^ b; break;
    case AluCode::lsh: result = a << count; break;
    case AluCode::rsh: result = a >> count; break;
    case AluCode::arsh: result = static_cast<u64>(x >> count); break;
    case AluCode::neg: result = 0 - a; break;
    default: result = b;
  }
  return result & mask;
}

struct Arithmetics {
  AluCode code;
  bool is_signed;
  bool wide;
  u64 best_percent;  // Of pairs of sets, at least: how often the result is the best there is.
};
std::vector<Arithmetics> all_arithmetic() {
  std::vector<Arithmetics> all;
  const auto add = [&](AluCode code, bool is_signed, u64 wide_percent, u64 low_percent) {
    all.push_back({code, is_signed, true, wide_percent});
    all.push_back({code, is_signed, false, low_percent});
  };
  add(AluCode::add, false, 96, 99);
  add(AluCode::sub, false, 96, 99);
  add(AluCode::mul, false, 61, 98);
  add(AluCode::div, false, 69, 83);
  add(AluCode::div, true, 59, 88);
  add(AluCode::mod, false, 47, 83);
  add(AluCode::mod, true, 74, 91);
  add(AluCode::bit_or, false, 78, 98);
  add(AluCode::bit_and, false, 78, 98);
  add(AluCode::bit_xor, false, 64, 96);
  add(AluCode::lsh, false, 27, 89);
  add(AluCode::rsh, false, 50, 90);
  add(AluCode::arsh, false, 82, 99);
  add(AluCode::neg, false, 100, 100);
  add(AluCode::mov, false, 100, 100);
  return all;
}

// Whether the result is the best there is, too; a fatal failure if it misses a number.
template <int kBits>
void expect_sound(const Arithmetics& what, const Scalar& a, const Scalar& b, bool& is_best) {
  using S = Small<kBits>;
  using W = WordArithmetic<kBits>;
  const Scalar result = what.wide ? W::compute(what.code, what.is_signed, a, b)
                                  : W::compute_low(what.code, what.is_signed, a, b);
  const auto left = S::set_of(a), right = S::set_of(b);
  typename S::Set image;
  for (u64 x = 0; x < S::kWords; ++x) {
    if (!left[x]) continue;
    for (u64 y = 0; y < S::kWords; ++y)
      if (right[y])
        image[computed(what.code, what.is_signed, what.wide ? kBits : kBits / 2, x, y)] = true;
  }
  ASSERT_TRUE((image & ~S::set_of(result)).none())
      << "operation " << int{static_cast<u8>(what.code)} << (what.is_signed ? " signed " : " ")
      << what.wide << ": " << text(a) << " by " << text(b) << " gave " << text(result);
  is_best = result == S::best(image);
}

// Whatever two numbers of the sets give is in the result; and the result is as often the best there
// is as it was when this was written.
TEST(NarrowWords, ArithmeticLosesNoResult) {
  const auto sets = Small<4>::simple_sets();
  for (const Arithmetics& what : all_arithmetic()) {
    u64 best = 0;
    for (const Scalar& a : sets) {
      for (const Scalar& b : sets) {
        bool is_best = false;
        ASSERT_NO_FATAL_FAILURE(expect_sound<4>(what, a, b, is_best));
        best += is_best ? 1 : 0;
      }
    }
    EXPECT_GE(100 * best, what.best_percent * sets.size() * sets.size())
        << "operation " << int{static_cast<u8>(what.code)} << " " << what.is_signed << what.wide;
  }
}
TEST(NarrowWords, ArithmeticOnRandomSetsLosesNoResult) {
  const u64 seed = 5;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  const auto all = all_arithmetic();
  bool is_best = false;
  for (int i = 0; i < 300'000; ++i) {
    const auto a = tight<4>(Small<4>::random_raw(prng)), b = tight<4>(Small<4>::random_raw(prng));
    if (!a || !b) continue;
    ASSERT_NO_FATAL_FAILURE(expect_sound<4>(all[prng.below(all.size())], *a, *b, is_best));
  }
  for (int i = 0; i < 3'000; ++i) {
    const auto a = tight<8>(Small<8>::random_raw(prng)), b = tight<8>(Small<8>::random_raw(prng));
    if (!a || !b) continue;
    ASSERT_NO_FATAL_FAILURE(expect_sound<8>(all[prng.below(all.size())], *a, *b, is_best));
  }
}

// The low bits of a word, extended either way, are among those computed.
TEST(NarrowWords, PartsLoseNoWord) {
  using S = Small<8>;
  const u64 seed = 6;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  for (int i = 0; i < 20'000; ++i) {
    const auto whole = tight<8>(S::random_raw(prng));
    if (!whole) continue;
    for (const int count : {1, 2, 3, 4, 8}) {
      for (const bool sign_extends : {false, true}) {
        const Scalar part = WordArithmetic<8>::part(*whole, count, sign_extends);
        S::Set image;
        for (u64 word = 0; word < S::kWords; ++word) {
          if (!contains_word<8>(*whole, word)) continue;
          const u64 above = (S::kWords - 1) << count & (S::kWords - 1);
          const bool negative = sign_extends && (word >> (count - 1) & 1) != 0;
          image[(word & ~above) | (negative ? above : 0)] = true;
        }
        ASSERT_TRUE((image & ~S::set_of(part)).none())
            << count << " bits of " << text(*whole) << " gave " << text(part);
        // Half of the word is never less than exact.
        if (count == 8 || (count == 4 && !sign_extends)) {
          ASSERT_EQ(part, S::best(image)) << text(*whole);
        }
      }
    }
  }
}

bool holds(JumpCode code, int bits, u64 a, u64 b) {
  const u64 mask = (u64{1} << bits) - 1;
  a &= mask, b &= mask;
  const auto number = [&](u64 word) {
    return static_cast<i64>(word) - (word > mask / 2 ? static_cast<i64>(mask) + 1 : 0);
  };
  switch (code) {
    case JumpCode::jeq: return a == b;
    case JumpCode::jne: return a != b;
    case JumpCode::jgt: return a > b;
    case JumpCode::jge: return a >= b;
    case JumpCode::jlt: return a < b;
    case JumpCode::jle: return a <= b;
    case JumpCode::jsgt: return number(a) > number(b);
    case JumpCode::jsge: return number(a) >= number(b);
    case JumpCode::jslt: return number(a) < number(b);
    case JumpCode::jsle: return number(a) <= number(b);
    default: return (a & b) != 0;
  }
}
constexpr JumpCode kJumps[] = {JumpCode::jeq,  JumpCode::jne,  JumpCode::jgt,  JumpCode::jge,
                               JumpCode::jlt,  JumpCode::jle,  JumpCode::jset, JumpCode::jsgt,
                               JumpCode::jsge, JumpCode::jslt, JumpCode::jsle};

// Each pair that a condition holds for is kept, and a side that no pair takes is given up. The
// orders and equality keep nothing else that could be told apart.
template <int kBits>
void expect_kept(JumpCode code, bool wide, bool taken, const Scalar& a, const Scalar& b) {
  using S = Small<kBits>;
  Condition condition = condition_of(code);
  if (!taken) condition.negated = !condition.negated;
  const auto refined = assume<kBits>(condition, wide, a, b);
  const auto in_a = S::set_of(a), in_b = S::set_of(b);
  typename S::Set left, right;
  for (u64 x = 0; x < S::kWords; ++x) {
    for (u64 y = 0; in_a[x] && y < S::kWords; ++y) {
      if (!in_b[y] || holds(code, wide ? kBits : kBits / 2, x, y) != taken) continue;
      left[x] = right[y] = true;
    }
  }
  const auto says = [&] {
    return "jump " + std::to_string(static_cast<u8>(code)) + (taken ? " taken " : " not taken ") +
           std::to_string(wide) + ": " + text(a) + " to " + text(b);
  };
  const bool is_exact = condition.relation != Relation::common_bit &&
                        (condition.relation != Relation::equal || (!condition.negated && wide));
  if (!refined) {
    ASSERT_TRUE(left.none()) << says();
    return;
  }
  ASSERT_TRUE((left & ~S::set_of(refined->dst)).none()) << says();
  ASSERT_TRUE((right & ~S::set_of(refined->src)).none()) << says();
  if (!is_exact) return;
  ASSERT_TRUE(left.any()) << says();
  ASSERT_EQ(refined->dst, S::best(left)) << says();
  ASSERT_EQ(refined->src, S::best(right)) << says();
}
TEST(NarrowWords, ConditionsKeepWhatTakesThem) {
  const auto sets = Small<4>::simple_sets();
  for (const JumpCode code : kJumps)
    for (const bool wide : {true, false})
      for (const bool taken : {true, false})
        for (const Scalar& a : sets)
          for (const Scalar& b : sets)
            ASSERT_NO_FATAL_FAILURE(expect_kept<4>(code, wide, taken, a, b));
}
TEST(NarrowWords, ConditionsOnRandomSetsKeepWhatTakesThem) {
  const u64 seed = 7;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  for (int i = 0; i < 5'000; ++i) {
    const auto a = tight<8>(Small<8>::random_raw(prng)), b = tight<8>(Small<8>::random_raw(prng));
    const JumpCode code = kJumps[prng.below(std::size(kJumps))];
    const bool wide = prng.chance(1, 2), taken = prng.chance(1, 2);
    if (!a || !b) continue;
    ASSERT_NO_FATAL_FAILURE(expect_kept<8>(code, wide, taken, *a, *b));
  }
}

}  // namespace
}  // namespace coppice::bpf
