#include "bpf/verify/scalar.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "bpf/verify/conditions.h"
#include "bpf/verify/word_arithmetic.h"

namespace coppice::bpf {
namespace {

constexpr int kBits = 64;
using Words = WordArithmetic<kBits>;

Scalar tightened(const Scalar& raw) {
  const auto result = tight<kBits>(raw);
  CHECK(result.has_value());
  return *result;
}

bool names_one_register_twice(const Instruction& in) {
  return in.from_register() && in.dst == in.src;
}

// Byte swaps, and what was only cut.
Scalar reordered(const Instruction& in, const Scalar& dst) {
  const bool cuts = in.instruction_class() == Class::alu && !in.from_register();
  if (cuts) return Words::part(dst, in.imm, false);
  const auto swapped = [&](u64 word) { return __builtin_bswap64(word) >> (kBits - in.imm); };
  return Scalar::with_bits({.value = swapped(dst.bits.value), .mask = swapped(dst.bits.mask)});
}

Scalar moved(const Instruction& in, const Scalar& src) {
  const bool wide = in.instruction_class() == Class::alu64;
  if (in.offset == 0) return Words::part(src, wide ? 64 : 32, false);
  const Scalar extended = Words::part(src, in.offset, true);
  return wide ? extended : Words::part(extended, 32, false);
}

std::string number_text(u64 number) {
  return number < 4096 ? fmt::format("{}", number) : fmt::format("{:#x}", number);
}
std::string number_text(i64 number) {
  return number >= 0 ? number_text(static_cast<u64>(number))
                     : "-" + number_text(~static_cast<u64>(number) + 1);
}

template <typename Number>
std::string range_text(Number low, Number high) {
  return fmt::format("{}..{}", number_text(low), number_text(high));
}
bool same_ranges(const Scalar& a, const Scalar& b) {
  return a.umin == b.umin && a.umax == b.umax && a.smin == b.smin && a.smax == b.smax;
}

// The range that says most; empty if none says more than `low_bits`, a part of what is known.
std::string range_text(const Scalar& scalar, Tnum low_bits) {
  const Scalar halves = tightened({.bits = low_bits,
                                   .umin32 = scalar.umin32,
                                   .umax32 = scalar.umax32,
                                   .smin32 = scalar.smin32,
                                   .smax32 = scalar.smax32});
  if (!same_ranges(scalar, halves)) {
    const bool either_sign = scalar.smin < 0 && scalar.smax >= 0;
    return either_sign && (scalar.smin != INT64_MIN || scalar.smax != INT64_MAX)
               ? range_text(scalar.smin, scalar.smax)
               : range_text(scalar.umin, scalar.umax);
  }
  if (same_ranges(scalar, Scalar::with_bits(low_bits))) return {};
  const bool either_sign = scalar.smin32 < 0 && scalar.smax32 >= 0;
  return "low 32 bits " + (either_sign ? range_text(i64{scalar.smin32}, i64{scalar.smax32})
                                       : range_text(u64{scalar.umin32}, u64{scalar.umax32}));
}

// The bits that are known without a gap from the lowest on.
Tnum low_bits_of(Tnum bits) {
  const u64 unknown = bits.mask == 0 ? 0 : ~u64{0} << std::countr_zero(bits.mask);
  return {.value = bits.value & ~unknown, .mask = unknown};
}
std::string multiple_text(Tnum low_bits) {
  const u64 unit = ~low_bits.mask + 1;
  if (unit <= 1) return {};
  if (low_bits.value == 0) return fmt::format("multiple of {}", number_text(unit));
  return fmt::format("{} more than a multiple of {}", number_text(low_bits.value),
                     number_text(unit));
}

}  // namespace

Scalar Scalar::constant(u64 value) { return constant_word<kBits>(value); }
Scalar Scalar::between(u64 umin, u64 umax) {
  CHECK(umin <= umax);
  return tightened({.umin = umin, .umax = umax});
}
Scalar Scalar::between_signed(i64 smin, i64 smax) {
  CHECK(smin <= smax);
  return tightened({.smin = smin, .smax = smax});
}
Scalar Scalar::with_bits(Tnum bits) { return tightened({.bits = bits}); }

u64 Scalar::value() const {
  CHECK(is_constant());
  return umin;
}
bool Scalar::contains(u64 concrete) const { return contains_word<kBits>(*this, concrete); }
bool Scalar::covers(const Scalar& other) const {
  return bits.covers(other.bits) && umin <= other.umin && other.umax <= umax &&
         smin <= other.smin && other.smax <= smax && umin32 <= other.umin32 &&
         other.umax32 <= umax32 && smin32 <= other.smin32 && other.smax32 <= smax32;
}

Scalar unite(const Scalar& a, const Scalar& b) {
  return {.bits = unite(a.bits, b.bits),
          .umin = std::min(a.umin, b.umin),
          .umax = std::max(a.umax, b.umax),
          .smin = std::min(a.smin, b.smin),
          .smax = std::max(a.smax, b.smax),
          .umin32 = std::min(a.umin32, b.umin32),
          .umax32 = std::max(a.umax32, b.umax32),
          .smin32 = std::min(a.smin32, b.smin32),
          .smax32 = std::max(a.smax32, b.smax32)};
}
std::optional<Scalar> meet(const Scalar& a, const Scalar& b) { return meet_words<kBits>(a, b); }

Scalar compute(const Instruction& in, const Scalar& dst, const Scalar& src) {
  CHECK(in.is_alu());
  const AluCode code = in.alu_code();
  if (code == AluCode::end) return reordered(in, dst);
  if (code == AluCode::mov) return moved(in, src);
  const bool wide = in.instruction_class() == Class::alu64;
  if (names_one_register_twice(in)) {
    switch (code) {
      case AluCode::sub:
      case AluCode::bit_xor:
      case AluCode::mod: return Scalar::constant(0);
      case AluCode::bit_or:
      case AluCode::bit_and: return Words::part(dst, wide ? 64 : 32, false);
      default: break;
    }
  }
  const bool is_signed = in.offset == 1;
  return wide ? Words::compute(code, is_signed, dst, src)
              : Words::compute_low(code, is_signed, dst, src);
}

Scalar loaded(const Scalar& whole, u32 bytes, bool sign_extends) {
  CHECK(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8);
  return Words::part(whole, static_cast<int>(bytes * 8), sign_extends);
}

Branches branch(const Instruction& in, const Scalar& dst, const Scalar& src) {
  CHECK(in.is_jump());
  const bool wide = in.instruction_class() == Class::jmp;
  Condition condition = condition_of(in.jump_code());
  if (names_one_register_twice(in)) {
    // A number equals itself, is not less than itself, and shares a bit with itself unless it is 0.
    if (condition.relation != Relation::common_bit) {
      const bool holds = (condition.relation == Relation::equal) != condition.negated;
      const Refined same{.dst = dst, .src = dst};
      return holds ? Branches{.taken = same} : Branches{.fallthrough = same};
    }
    Branches sides;
    const Scalar zero = Scalar::constant(0);
    sides.taken = assume<kBits>({Relation::equal, false, true}, wide, dst, zero);
    sides.fallthrough = assume<kBits>({Relation::equal, false, false}, wide, dst, zero);
    for (auto* side : {&sides.taken, &sides.fallthrough})
      if (*side) (*side)->src = (*side)->dst;
    return sides;
  }
  Branches sides;
  sides.taken = assume<kBits>(condition, wide, dst, src);
  condition.negated = !condition.negated;
  sides.fallthrough = assume<kBits>(condition, wide, dst, src);
  return sides;
}

std::string describe(const Scalar& scalar) {
  if (scalar.is_constant()) return number_text(static_cast<i64>(scalar.value()));
  const Tnum low_bits = low_bits_of(scalar.bits);
  const std::string range = range_text(scalar, low_bits), multiple = multiple_text(low_bits);
  if (range.empty() && multiple.empty()) return "any number";
  return range + (range.empty() || multiple.empty() ? "" : ", ") + multiple;
}

}  // namespace coppice::bpf
