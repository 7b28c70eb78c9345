// bpf/verify/conditions.h — what a condition that holds says of the numbers it compares.
//
// Theory. There are four relations: equal, less as unsigned and as signed numbers, a bit in common;
// the rest are these with the operands swapped or negated. The ends of tight ranges belong to
// numbers of the set, so "a < b" says a < greatest b and b > least a, and no more: what is made of
// tight operands here is again the tightest there is, except that "not equal" removes a number only
// from an end of a range, and that of bits in common the tests know what may be missed.
#pragma once

#include "bpf/verify/tight.h"

namespace coppice::bpf {

enum class Relation : u8 { equal, less, signed_less, common_bit };
struct Condition {
  Relation relation;
  bool swapped, negated;
};
// Of a conditional jump, if it is taken.
constexpr Condition condition_of(JumpCode code) {
  switch (code) {
    case JumpCode::jeq: return {Relation::equal, false, false};
    case JumpCode::jne: return {Relation::equal, false, true};
    case JumpCode::jlt: return {Relation::less, false, false};
    case JumpCode::jge: return {Relation::less, false, true};
    case JumpCode::jgt: return {Relation::less, true, false};
    case JumpCode::jle: return {Relation::less, true, true};
    case JumpCode::jslt: return {Relation::signed_less, false, false};
    case JumpCode::jsge: return {Relation::signed_less, false, true};
    case JumpCode::jsgt: return {Relation::signed_less, true, false};
    case JumpCode::jsle: return {Relation::signed_less, true, true};
    case JumpCode::jset: return {Relation::common_bit, false, false};
    default: break;
  }
  CHECK(false);
  return {};
}

// Each narrows both words to those that have a partner in the other set; false: there are none.
template <int kBits>
struct Comparison {
  using W = Word<kBits>;

  static bool equal(View& a, View& b) {
    const auto bits = meet(a.bits, b.bits);
    if (!bits) return false;
    a = b = {.bits = *bits,
             .umin = std::max(a.umin, b.umin),
             .umax = std::min(a.umax, b.umax),
             .smin = std::max(a.smin, b.smin),
             .smax = std::min(a.smax, b.smax)};
    return true;
  }
  static void exclude(View& from, u64 word) {
    if (from.is_constant()) return;  // Of another word, or the comparison is decided already.
    const i64 number = W::sign(word);
    if (from.umin == word) ++from.umin;
    if (from.umax == word) --from.umax;
    if (from.smin == number) ++from.smin;
    if (from.smax == number) --from.smax;
  }
  static bool not_equal(View& a, View& b) {
    if (a.is_constant() && b.is_constant()) return a.umin != b.umin;
    if (b.is_constant()) exclude(a, b.umin);
    if (a.is_constant()) exclude(b, a.umin);
    return true;
  }
  static bool less(View& a, View& b) {
    if (a.umin >= b.umax) return false;
    a.umax = std::min(a.umax, b.umax - 1);
    b.umin = std::max(b.umin, a.umin + 1);
    return true;
  }
  static bool not_less(View& a, View& b) {
    if (a.umax < b.umin) return false;
    a.umin = std::max(a.umin, b.umin);
    b.umax = std::min(b.umax, a.umax);
    return true;
  }
  static bool signed_less(View& a, View& b) {
    if (a.smin >= b.smax) return false;
    a.smax = std::min(a.smax, b.smax - 1);
    b.smin = std::max(b.smin, a.smin + 1);
    return true;
  }
  static bool not_signed_less(View& a, View& b) {
    if (a.smax < b.smin) return false;
    a.smin = std::max(a.smin, b.smin);
    b.smax = std::min(b.smax, a.smax);
    return true;
  }
  // A word with one of `bits` is at least the lowest of them.
  static bool common_bit(View& a, View& b) {
    const u64 bits = a.bits.greatest() & b.bits.greatest();
    if (bits == 0) return false;
    if ((a.bits.value & b.bits.value) != 0) return true;
    for (View* view : {&a, &b}) {
      view->umin = std::max(view->umin, bits & (~bits + 1));
      if (!std::has_single_bit(bits)) continue;
      view->bits.value |= bits;
      view->bits.mask &= ~bits;
    }
    return true;
  }
  static bool no_common_bit(View& a, View& b) {
    if ((a.bits.value & b.bits.value) != 0) return false;
    const u64 ones_of_a = a.bits.value;
    a.bits.mask &= ~b.bits.value;
    b.bits.mask &= ~ones_of_a;
    return true;
  }

  static bool narrow(Relation relation, bool negated, View& a, View& b) {
    switch (relation) {
      case Relation::equal: return negated ? not_equal(a, b) : equal(a, b);
      case Relation::less: return negated ? not_less(a, b) : less(a, b);
      case Relation::signed_less: return negated ? not_signed_less(a, b) : signed_less(a, b);
      case Relation::common_bit: return negated ? no_common_bit(a, b) : common_bit(a, b);
    }
    CHECK(false);
    return false;
  }
};

// `wide`: whole words are compared, else their lower halves.
template <int kBits>
std::optional<Refined> assume(Condition condition, bool wide, const Scalar& dst,
                              const Scalar& src) {
  if (wide && condition.relation == Relation::equal && !condition.negated) {
    const auto both = meet_words<kBits>(dst, src);
    if (!both) return std::nullopt;
    return Refined{.dst = *both, .src = *both};
  }
  Refined refined{.dst = dst, .src = src};
  const auto view = [wide](const Scalar& of) { return wide ? full_view(of) : low_view<kBits>(of); };
  const View dst_before = view(dst), src_before = view(src);
  View dst_view = dst_before, src_view = src_before;
  View& a = condition.swapped ? src_view : dst_view;
  View& b = condition.swapped ? dst_view : src_view;
  const bool possible =
      wide ? Comparison<kBits>::narrow(condition.relation, condition.negated, a, b)
           : Comparison<kBits / 2>::narrow(condition.relation, condition.negated, a, b);
  if (!possible) return std::nullopt;
  const auto narrowed = [&](Scalar& scalar, const View& before, const View& after) {
    if (before == after) return true;
    View low = wide ? low_view<kBits>(scalar) : after, full = wide ? after : full_view(scalar);
    if (wide) low.bits = after.bits.cut(Word<kBits / 2>::kMask);
    const auto result = tight<kBits>(joined<kBits>(full, low));
    if (result) scalar = *result;
    return result.has_value();
  };
  if (!narrowed(refined.dst, dst_before, dst_view) || !narrowed(refined.src, src_before, src_view))
    return std::nullopt;
  return refined;
}

}  // namespace coppice::bpf
