// bpf/verify/tight.h — words of any width, and the tightest description of a set of them.
//
// Theory. A Scalar's fields are five constraints on one word: its bits, two ranges of the word, two
// of its lower half. tight() finds the smallest fields that describe the same set, exactly:
// - Cut by the sign, the two ranges of a word are at most two spans of unsigned numbers; so are
//   those of the lower half. Nothing is lost by that.
// - The words that the bits and the lower half allow are a product: any upper half that has its
//   known bits, beside any lower half of its two spans that has its own. Its least element from a
//   given word on is found as in a dictionary: the same upper half with a greater lower one, or the
//   next upper half with the least lower one. So each span shrinks to ends that belong to the set.
// - Of the lower halves then only those count that occur beside an upper half of a span: all of
//   them if some upper half lies strictly between its ends, else those from its first and up to its
//   last word on.
// - A span of numbers with known bits whose ends belong to it takes both values of every unknown
//   bit at or below the highest one in which its ends differ, and of no other.
// No step changes the set, so none has to be repeated.
//
// Everything is a template of the width, an even number of bits: programs have 64, and the tests
// check every case there is with 4.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "bpf/verify/scalar.h"

namespace coppice::bpf {

template <int kBits>
struct Word {
  static constexpr u64 kMask = ~u64{0} >> (64 - kBits);
  static constexpr u64 kSign = u64{1} << (kBits - 1);
  static constexpr i64 kGreatest = static_cast<i64>(kSign - 1);
  static constexpr i64 kLeast = -kGreatest - 1;
  static constexpr u64 wrap(u64 number) { return number & kMask; }
  static constexpr u64 wrap(i64 number) { return static_cast<u64>(number) & kMask; }
  static constexpr i64 sign(u64 word) {
    return static_cast<i64>(word << (64 - kBits)) >> (64 - kBits);
  }
};

// What is known of one word alone: of a Scalar, or of its lower half.
struct View {
  Tnum bits;
  u64 umin, umax;
  i64 smin, smax;
  bool is_constant() const { return umin == umax; }
  friend bool operator==(const View&, const View&) = default;
};

template <int kBits>
constexpr View whole_view() {
  return {.bits = {.value = 0, .mask = Word<kBits>::kMask},
          .umin = 0,
          .umax = Word<kBits>::kMask,
          .smin = Word<kBits>::kLeast,
          .smax = Word<kBits>::kGreatest};
}
template <int kBits>
constexpr View constant_view(u64 word) {
  const i64 number = Word<kBits>::sign(word);
  return {.bits = Tnum::constant(word), .umin = word, .umax = word, .smin = number, .smax = number};
}

inline View full_view(const Scalar& of) {
  return {.bits = of.bits, .umin = of.umin, .umax = of.umax, .smin = of.smin, .smax = of.smax};
}
template <int kBits>
View low_view(const Scalar& of) {
  return {.bits = of.bits.cut(Word<kBits / 2>::kMask),
          .umin = of.umin32,
          .umax = of.umax32,
          .smin = of.smin32,
          .smax = of.smax32};
}
// Of both views; what they say of the bits of the lower half must agree. Not tight.
template <int kBits>
Scalar joined(const View& full, const View& low) {
  constexpr u64 kLow = Word<kBits / 2>::kMask;
  return {.bits = {.value = (full.bits.value & ~kLow) | low.bits.value,
                   .mask = (full.bits.mask & ~kLow) | low.bits.mask},
          .umin = full.umin,
          .umax = full.umax,
          .smin = full.smin,
          .smax = full.smax,
          .umin32 = static_cast<u32>(low.umin),
          .umax32 = static_cast<u32>(low.umax),
          .smin32 = static_cast<i32>(low.smin),
          .smax32 = static_cast<i32>(low.smax)};
}

template <int kBits>
Scalar constant_word(u64 word) {
  return joined<kBits>(constant_view<kBits>(word),
                       constant_view<kBits / 2>(Word<kBits / 2>::wrap(word)));
}
template <int kBits>
bool contains_word(const Scalar& scalar, u64 word) {
  const auto within = [](const View& view, u64 number, i64 as_signed) {
    return view.bits.contains(number) && view.umin <= number && number <= view.umax &&
           view.smin <= as_signed && as_signed <= view.smax;
  };
  const u64 low = Word<kBits / 2>::wrap(word);
  return within(full_view(scalar), word, Word<kBits>::sign(word)) &&
         within(low_view<kBits>(scalar), low, Word<kBits / 2>::sign(low));
}

// Unsigned words, both ends included.
struct Span {
  u64 low = 1, high = 0;
  bool empty() const { return low > high; }
};
struct Signs {
  Span positive, negative;
};

// The ranges of `view`, cut by the sign; its bits are not looked at.
template <int kBits>
Signs signs_of(const View& view) {
  using W = Word<kBits>;
  Signs signs;
  if (view.smax >= 0)
    signs.positive = {std::max(view.umin, view.smin < 0 ? u64{0} : static_cast<u64>(view.smin)),
                      std::min(view.umax, static_cast<u64>(view.smax))};
  if (view.smin < 0)
    signs.negative = {std::max(view.umin, W::wrap(view.smin)),
                      std::min(view.umax, view.smax < 0 ? W::wrap(view.smax) : W::kMask)};
  return signs;
}
// The ranges of two tight spans, at least one of which is not empty.
template <int kBits>
View view_of(const Signs& signs, Tnum bits) {
  const Span& first = signs.positive.empty() ? signs.negative : signs.positive;
  const Span& last = signs.negative.empty() ? signs.positive : signs.negative;
  return {.bits = bits,
          .umin = first.low,
          .umax = last.high,
          .smin = Word<kBits>::sign(last.low),
          .smax = Word<kBits>::sign(first.high)};
}

// The part of `span` that has `bits`, with ends that have them.
inline Span snapped(Tnum bits, Span span) {
  if (span.empty()) return {};
  const auto low = least_from(bits, span.low);
  const auto high = greatest_to(bits, span.high);
  if (!low || !high || *low > *high) return {};
  return {*low, *high};
}
// What is known of the bits of numbers that have `bits` and lie between two that have them.
inline Tnum bits_between(Tnum bits, u64 low, u64 high) {
  const u64 differs = low ^ high;
  const u64 unknown = differs == 0 ? 0 : bits.mask & (~u64{0} >> std::countl_zero(differs));
  return {.value = low & ~unknown, .mask = unknown};
}

// The known bits of numbers that are added one span after the other.
class BitsSeen {
 public:
  void add(Tnum bits) {
    seen_ = any_ ? unite(seen_, bits) : bits;
    any_ = true;
  }
  Tnum get() const { return seen_; }

 private:
  Tnum seen_;
  bool any_ = false;
};

template <int kBits>
class Tightening {
 public:
  explicit Tightening(const Scalar& raw)
      : upper_(raw.bits >> kHalf), lower_(raw.bits.cut(Half::kMask)) {
    low_ = signs_of<kHalf>(low_view<kBits>(raw));
    low_.positive = snapped(lower_, low_.positive);
    low_.negative = snapped(lower_, low_.negative);
    full_ = signs_of<kBits>(full_view(raw));
  }

  std::optional<Scalar> run() {
    if (low_.positive.empty() && low_.negative.empty()) return std::nullopt;
    shrink(full_.positive);
    shrink(full_.negative);
    if (full_.positive.empty() && full_.negative.empty()) return std::nullopt;
    visit(full_.positive);
    visit(full_.negative);
    const Tnum high = high_seen_.get() << kHalf, low = low_seen_.get();
    return joined<kBits>(view_of<kBits>(full_, {high.value | low.value, high.mask | low.mask}),
                         view_of<kHalf>(low_occurs_, low));
  }

 private:
  static constexpr int kHalf = kBits / 2;
  using Half = Word<kHalf>;

  std::optional<u64> least_low(u64 from) const {
    for (const Span* span : {&low_.positive, &low_.negative}) {
      if (span->empty() || span->high < from) continue;
      return from <= span->low ? span->low : least_from(lower_, from);
    }
    return std::nullopt;
  }
  std::optional<u64> greatest_low(u64 to) const {
    for (const Span* span : {&low_.negative, &low_.positive}) {
      if (span->empty() || span->low > to) continue;
      return to >= span->high ? span->high : greatest_to(lower_, to);
    }
    return std::nullopt;
  }
  std::optional<u64> least(u64 from) const {
    const u64 high = from >> kHalf;
    if (upper_.contains(high)) {
      if (const auto low = least_low(Half::wrap(from))) return high << kHalf | *low;
    }
    if (high == Half::kMask) return std::nullopt;
    const auto next = least_from(upper_, high + 1);
    if (!next) return std::nullopt;
    return *next << kHalf | *least_low(0);
  }
  std::optional<u64> greatest(u64 to) const {
    const u64 high = to >> kHalf;
    if (upper_.contains(high)) {
      if (const auto low = greatest_low(Half::wrap(to))) return high << kHalf | *low;
    }
    if (high == 0) return std::nullopt;
    const auto next = greatest_to(upper_, high - 1);
    if (!next) return std::nullopt;
    return *next << kHalf | *greatest_low(Half::kMask);
  }

  void shrink(Span& span) const {
    if (span.empty()) return;
    const auto low = least(span.low), high = greatest(span.high);
    span = low && high ? Span{*low, *high} : Span{};
  }

  // Notes which halves occur in `span` of words.
  void visit(const Span& span) {
    if (span.empty()) return;
    const u64 first = span.low >> kHalf, last = span.high >> kHalf;
    high_seen_.add(bits_between(upper_, first, last));
    if (first == last) {
      occurs({Half::wrap(span.low), Half::wrap(span.high)});
    } else if (*least_from(upper_, first + 1) < last) {
      occurs({0, Half::kMask});
    } else {
      occurs({Half::wrap(span.low), Half::kMask});
      occurs({0, Half::wrap(span.high)});
    }
  }
  void occurs(Span lows) {
    occurs(lows, low_.positive, low_occurs_.positive);
    occurs(lows, low_.negative, low_occurs_.negative);
  }
  void occurs(Span lows, const Span& possible, Span& occurring) {
    if (possible.empty()) return;
    const Span part =
        snapped(lower_, {std::max(lows.low, possible.low), std::min(lows.high, possible.high)});
    if (part.empty()) return;
    low_seen_.add(bits_between(lower_, part.low, part.high));
    occurring = occurring.empty()
                    ? part
                    : Span{std::min(occurring.low, part.low), std::max(occurring.high, part.high)};
  }

  Tnum upper_, lower_;  // The known bits of each half.
  Signs low_;           // The lower halves there may be...
  Signs full_;
  Signs low_occurs_;  // ... and those that occur in a word.
  BitsSeen high_seen_, low_seen_;
};

// The same set, tight; nothing if it is empty.
template <int kBits>
std::optional<Scalar> tight(const Scalar& raw) {
  if (raw.umin == raw.umax) {
    if (!contains_word<kBits>(raw, raw.umin)) return std::nullopt;
    return constant_word<kBits>(raw.umin);
  }
  return Tightening<kBits>(raw).run();
}

template <int kBits>
std::optional<Scalar> meet_words(const Scalar& a, const Scalar& b) {
  const auto bits = meet(a.bits, b.bits);
  if (!bits) return std::nullopt;
  return tight<kBits>({.bits = *bits,
                       .umin = std::max(a.umin, b.umin),
                       .umax = std::min(a.umax, b.umax),
                       .smin = std::max(a.smin, b.smin),
                       .smax = std::min(a.smax, b.smax),
                       .umin32 = std::max(a.umin32, b.umin32),
                       .umax32 = std::min(a.umax32, b.umax32),
                       .smin32 = std::max(a.smin32, b.smin32),
                       .smax32 = std::min(a.smax32, b.smax32)});
}

}  // namespace coppice::bpf
