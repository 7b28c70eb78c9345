// bpf/verify/word_arithmetic.h — what arithmetic makes of sets of words.
//
// Theory. Each operation takes views of words of one width and yields constraints that its result
// meets: bits found bit by bit, and intervals found in whole numbers, where nothing overflows. An
// interval [low, high] of whole numbers, shorter than the words are many, says something of the
// words that it wraps to: as unsigned words if low does not wrap past high, and as signed ones
// likewise. So an operation hands narrow() every interval that it knows, from either range of its
// operands; which of them overflow is judged in that one place.
//
// The lower half of a sum, difference, product or of a bitwise operation depends on the lower
// halves alone: it is computed a second time from them, since what is known of them may say more.
#pragma once

#include "bpf/verify/tight.h"

namespace coppice::bpf {

__extension__ using WideNumber = unsigned __int128;
__extension__ using WideSigned = __int128;

template <int kBits>
struct Arithmetic {
  using W = Word<kBits>;

  // The words that whole numbers of [low, high], taken modulo 2^128, wrap to.
  static void narrow(View& view, WideNumber low, WideNumber high) {
    if (high - low > W::kMask) return;
    const u64 first = W::wrap(static_cast<u64>(low)), last = W::wrap(static_cast<u64>(high));
    if (first <= last) {
      view.umin = std::max(view.umin, first);
      view.umax = std::min(view.umax, last);
    }
    if (W::sign(first) <= W::sign(last)) {
      view.smin = std::max(view.smin, W::sign(first));
      view.smax = std::min(view.smax, W::sign(last));
    }
  }
  static void narrow_signed(View& view, WideSigned low, WideSigned high) {
    narrow(view, static_cast<WideNumber>(low), static_cast<WideNumber>(high));
  }
  static View with_bits(Tnum bits) {
    View view = whole_view<kBits>();
    view.bits = bits.cut(W::kMask);
    return view;
  }

  static View add(const View& a, const View& b) {
    View sum = with_bits(a.bits + b.bits);
    narrow(sum, WideNumber{a.umin} + b.umin, WideNumber{a.umax} + b.umax);
    narrow_signed(sum, WideSigned{a.smin} + b.smin, WideSigned{a.smax} + b.smax);
    return sum;
  }
  static View subtract(const View& a, const View& b) {
    View difference = with_bits(a.bits - b.bits);
    narrow(difference, WideNumber{a.umin} - b.umax, WideNumber{a.umax} - b.umin);
    narrow_signed(difference, WideSigned{a.smin} - b.smax, WideSigned{a.smax} - b.smin);
    return difference;
  }
  static View multiply(const View& a, const View& b) {
    View product = with_bits(a.bits * b.bits);
    narrow(product, WideNumber{a.umin} * b.umin, WideNumber{a.umax} * b.umax);
    const WideSigned corners[] = {WideSigned{a.smin} * b.smin, WideSigned{a.smin} * b.smax,
                                  WideSigned{a.smax} * b.smin, WideSigned{a.smax} * b.smax};
    narrow_signed(product, std::ranges::min(corners), std::ranges::max(corners));
    return product;
  }

  // Operands with as many copies of the sign make a result with as many.
  static void keep_signs(View& view, const View& a, const View& b) {
    const auto magnitude = [](i64 number) {
      return static_cast<u64>(number < 0 ? ~number : number);
    };
    const u64 bits = magnitude(a.smin) | magnitude(a.smax) | magnitude(b.smin) | magnitude(b.smax);
    const i64 most = static_cast<i64>(~u64{0} >> 1 >> (std::countl_zero(bits) - 1));
    view.smin = std::max(view.smin, ~most);
    view.smax = std::min(view.smax, most);
  }
  static View bit_and(const View& a, const View& b) {
    View result = with_bits(a.bits & b.bits);
    result.umax = std::min(a.umax, b.umax);
    keep_signs(result, a, b);
    return result;
  }
  static View bit_or(const View& a, const View& b) {
    View result = with_bits(a.bits | b.bits);
    result.umin = std::max(a.umin, b.umin);
    keep_signs(result, a, b);
    return result;
  }
  static View bit_xor(const View& a, const View& b) {
    View result = with_bits(a.bits ^ b.bits);
    keep_signs(result, a, b);
    return result;
  }

  // By how much a shift shifts: the width is a power of two, and what lies above is ignored.
  struct Counts {
    u32 least, greatest;
    bool is_constant() const { return least == greatest; }
  };
  static Counts counts_of(const View& b) {
    if (b.umax < kBits) return {static_cast<u32>(b.umin), static_cast<u32>(b.umax)};
    const Tnum used = b.bits.cut(kBits - 1);
    return {static_cast<u32>(used.least()), static_cast<u32>(used.greatest())};
  }

  static View shift_left(const View& a, Counts by) {
    const u64 highest = a.bits.greatest();
    const u64 multiple = highest & (~highest + 1);  // Of this power of two, at least.
    View result = with_bits(by.is_constant() ? a.bits << by.least
                                             : Tnum{.mask = (~multiple + 1) << by.least});
    if (highest == 0) return constant_view<kBits>(0);
    shift_left_ranges(result, a, by);
    return result;
  }
  static void shift_left_ranges(View& result, const View& a, Counts by) {
    narrow(result, WideNumber{a.umin} << by.least, WideNumber{a.umax} << by.greatest);
    const auto scaled = [](i64 number, u32 count) {
      return WideSigned{number} * (u64{1} << count);
    };
    narrow_signed(result, scaled(a.smin, a.smin < 0 ? by.greatest : by.least),
                  scaled(a.smax, a.smax < 0 ? by.least : by.greatest));
  }
  static View shift_right(const View& a, Counts by) {
    View result = by.is_constant() ? with_bits(a.bits >> by.least) : whole_view<kBits>();
    narrow(result, a.umin >> by.greatest, a.umax >> by.least);
    return result;
  }
  static View shift_right_signed(const View& a, Counts by) {
    const auto shifted = [&](u64 word) { return W::wrap(W::sign(word) >> by.least); };
    View result = by.is_constant()
                      ? with_bits({.value = shifted(a.bits.value), .mask = shifted(a.bits.mask)})
                      : whole_view<kBits>();
    result.smin = a.smin >> (a.smin < 0 ? by.least : by.greatest);
    result.smax = a.smax >> (a.smax < 0 ? by.greatest : by.least);
    return result;
  }

  static bool is_power_of_two(const View& a) {
    return a.is_constant() && std::has_single_bit(a.umin);
  }

  // By zero: zero.
  static View divide(const View& a, const View& b) {
    if (is_power_of_two(b)) {
      const u32 count = static_cast<u32>(std::countr_zero(b.umin));
      return shift_right(a, {count, count});
    }
    if (b.umax == 0) return constant_view<kBits>(0);
    View quotient = whole_view<kBits>();
    narrow(quotient, b.umin == 0 ? 0 : a.umin / b.umax, a.umax / std::max(b.umin, u64{1}));
    return quotient;
  }
  // What a remainder keeps: the low bits that every divisor has none of. By zero: the dividend.
  static View kept_low_bits(const View& a, const View& b) {
    const u64 divisors = b.bits.greatest();
    const u64 kept = (divisors & (~divisors + 1)) - 1;
    return with_bits({.value = a.bits.value & kept, .mask = (a.bits.mask & kept) | ~kept});
  }
  static View modulo(const View& a, const View& b) {
    if (b.umax == 0 || a.umax < b.umin) return a;
    if (is_power_of_two(b)) return bit_and(a, constant_view<kBits>(b.umin - 1));
    View rest = kept_low_bits(a, b);
    if (b.is_constant() && a.umin / b.umin == a.umax / b.umin)
      narrow(rest, a.umin % b.umin, a.umax % b.umin);
    else
      narrow(rest, 0, b.umin == 0 ? a.umax : std::min(a.umax, b.umax - 1));
    return rest;
  }

  // A quotient rounded towards zero: as the divisor keeps its sign, it goes one way with either
  // operand, so its ends are among the corners.
  static View divide_signed(const View& a, const View& b) {
    if (a.smin >= 0 && b.smin >= 0) return divide(a, b);
    if (b.umax == 0) return constant_view<kBits>(0);
    constexpr WideSigned kBeyond = WideSigned{1} << 64;
    WideSigned low = b.umin == 0 ? 0 : kBeyond, high = -low;
    const auto corner = [&](i64 dividend, i64 divisor) {
      const WideSigned quotient = divisor == -1 ? -WideSigned{dividend} : dividend / divisor;
      low = std::min(low, quotient);
      high = std::max(high, quotient);
    };
    const auto corners = [&](i64 least, i64 greatest) {
      for (const i64 divisor : {least, greatest}) {
        corner(a.smin, divisor);
        corner(a.smax, divisor);
      }
    };
    if (b.smin < 0) corners(b.smin, std::min<i64>(b.smax, -1));
    if (b.smax > 0) corners(std::max<i64>(b.smin, 1), b.smax);
    View quotient = whole_view<kBits>();
    narrow_signed(quotient, low, high);
    return quotient;
  }
  // It has the sign of the dividend and is nearer to zero than both.
  static View modulo_signed(const View& a, const View& b) {
    if (a.smin >= 0 && b.smin >= 0) return modulo(a, b);
    if (b.umax == 0) return a;
    const auto magnitude = [](i64 number) { return number < 0 ? -WideSigned{number} : number; };
    const WideSigned dividend_most = std::max(magnitude(a.smin), magnitude(a.smax));
    const WideSigned divisor_most = std::max(magnitude(b.smin), magnitude(b.smax));
    const WideSigned divisor_least = b.smin > 0   ? magnitude(b.smin)
                                     : b.smax < 0 ? magnitude(b.smax)
                                                  : 0;
    if (dividend_most < divisor_least) return a;
    View rest = kept_low_bits(a, b);
    if (b.is_constant() && b.smin != -1 && a.smin / b.smin == a.smax / b.smin) {
      narrow_signed(rest, a.smin % b.smin, a.smax % b.smin);
      return rest;
    }
    const WideSigned most = b.umin == 0 ? dividend_most : divisor_most - 1;
    narrow_signed(rest, std::max<WideSigned>(std::min<i64>(a.smin, 0), -most),
                  std::min<WideSigned>(std::max<i64>(a.smax, 0), most));
    return rest;
  }

  static View compute(AluCode code, bool is_signed, const View& a, const View& b) {
    switch (code) {
      case AluCode::add: return add(a, b);
      case AluCode::sub: return subtract(a, b);
      case AluCode::mul: return multiply(a, b);
      case AluCode::div: return is_signed ? divide_signed(a, b) : divide(a, b);
      case AluCode::mod: return is_signed ? modulo_signed(a, b) : modulo(a, b);
      case AluCode::bit_or: return bit_or(a, b);
      case AluCode::bit_and: return bit_and(a, b);
      case AluCode::bit_xor: return bit_xor(a, b);
      case AluCode::lsh: return shift_left(a, counts_of(b));
      case AluCode::rsh: return shift_right(a, counts_of(b));
      case AluCode::arsh: return shift_right_signed(a, counts_of(b));
      case AluCode::neg: return subtract(constant_view<kBits>(0), a);
      case AluCode::mov: return b;
      case AluCode::end: break;
    }
    CHECK(false);
    return whole_view<kBits>();
  }
};

// A word of an operation on words, or of one on their lower halves, which clears the upper ones.
// Everything but byte swaps and moves that extend a sign.
template <int kBits>
struct WordArithmetic {
  static constexpr int kHalf = kBits / 2;
  using Full = Arithmetic<kBits>;
  using Half = Arithmetic<kHalf>;

  static Scalar compute(AluCode code, bool is_signed, const Scalar& dst, const Scalar& src) {
    const View a = full_view(dst), b = full_view(src);
    View full = Full::compute(code, is_signed, a, b);
    if (full.is_constant()) return constant_word<kBits>(full.umin);  // The most common case.
    View low = Half::with_bits(full.bits);
    switch (code) {
      case AluCode::div:
      case AluCode::mod:
      case AluCode::rsh:
      case AluCode::arsh: break;
      case AluCode::lsh: shift_left_low(full, low, dst, Full::counts_of(b)); break;
      default:
        low = Half::compute(code, is_signed, low_view<kBits>(dst), low_view<kBits>(src));
        low.bits = full.bits.cut(Word<kHalf>::kMask);
    }
    const auto result = tight<kBits>(joined<kBits>(full, low));
    CHECK(result.has_value());
    return *result;
  }
  // Shifted by half the width or more, only the lower half counts.
  static void shift_left_low(View& full, View& low, const Scalar& of, typename Full::Counts by) {
    const View shifted = low_view<kBits>(of);
    if (by.least >= kHalf)
      Full::shift_left_ranges(full, shifted, by);
    else if (by.greatest < kHalf)
      Half::shift_left_ranges(low, shifted, {by.least, by.greatest});
  }

  static Scalar compute_low(AluCode code, bool is_signed, const Scalar& dst, const Scalar& src) {
    return zero_extended(
        Half::compute(code, is_signed, low_view<kBits>(dst), low_view<kBits>(src)));
  }
  static Scalar zero_extended(const View& low) {
    View full = Full::with_bits(low.bits);
    full.umin = low.umin;
    full.umax = low.umax;
    const auto result = tight<kBits>(joined<kBits>(full, low));
    CHECK(result.has_value());
    return *result;
  }

  // The low `count` bits of a word, the rest zeros or copies of the sign.
  static Scalar part(const Scalar& of, int count, bool sign_extends) {
    if (count == kBits) return of;
    const View low = low_view<kBits>(of);
    if (count == kHalf && !sign_extends) return zero_extended(low);
    const u64 mask = (u64{1} << count) - 1;
    const u64 sign = sign_extends ? (u64{1} << (count - 1)) : 0;
    const auto extended = [&](u64 word) {
      return Word<kBits>::wrap(((word & mask) ^ sign) - sign);
    };
    Scalar result = joined<kBits>(whole_view<kBits>(), whole_view<kHalf>());
    result.bits.value = extended(of.bits.value);
    result.bits.mask = extended(of.bits.mask);
    View full = full_view(result);
    const WideSigned words = WideSigned{1} << count, least = -static_cast<WideSigned>(sign);
    Full::narrow_signed(full, least, least + words - 1);
    // Numbers of one stretch between two wraps stay in order; that of signs begins at -sign.
    const auto stretch = [&](i64 first, i64 last) {
      const i64 shift = static_cast<i64>(sign);
      if ((first + shift) >> count != (last + shift) >> count) return;
      Full::narrow_signed(full, Word<kBits>::sign(extended(static_cast<u64>(first))),
                          Word<kBits>::sign(extended(static_cast<u64>(last))));
    };
    stretch(static_cast<i64>(low.umin), static_cast<i64>(low.umax));
    stretch(low.smin, low.smax);
    const auto tightened = tight<kBits>(joined<kBits>(full, low_view<kBits>(result)));
    CHECK(tightened.has_value());
    return *tightened;
  }
};

}  // namespace coppice::bpf
