// bpf/verify/tnum.h — numbers of which some bits are known.
//
// Theory. A Tnum stands for every x whose known bits are those of `value`: (x & ~mask) == value. A
// bit of `mask` is an unknown one, and zero in `value`. Sums, differences and the bitwise
// operations below are the best there are: a bit of the result is unknown only if two choices of
// the operands differ in it. The functions work on 64 bits; whoever works on fewer cuts the result.
#pragma once

#include <bit>
#include <optional>

#include "base/types.h"

namespace coppice::bpf {

struct Tnum {
  u64 value = 0, mask = ~u64{0};

  static constexpr Tnum constant(u64 value) { return {.value = value, .mask = 0}; }

  constexpr bool is_constant() const { return mask == 0; }
  constexpr bool contains(u64 concrete) const { return (concrete & ~mask) == value; }
  constexpr bool covers(Tnum other) const {
    return (other.mask & ~mask) == 0 && contains(other.value & ~mask);
  }
  constexpr u64 least() const { return value; }
  constexpr u64 greatest() const { return value | mask; }
  constexpr Tnum cut(u64 to) const { return {.value = value & to, .mask = mask & to}; }
  friend constexpr bool operator==(Tnum, Tnum) = default;
};

constexpr Tnum operator+(Tnum a, Tnum b) {
  const u64 sum = a.value + b.value;
  const u64 differs = (sum + a.mask + b.mask) ^ sum;  // Where a carry may come or not.
  const u64 mask = differs | a.mask | b.mask;
  return {.value = sum & ~mask, .mask = mask};
}
constexpr Tnum operator-(Tnum a, Tnum b) {
  const u64 difference = a.value - b.value;
  const u64 mask = ((difference + a.mask) ^ (difference - b.mask)) | a.mask | b.mask;
  return {.value = difference & ~mask, .mask = mask};
}
constexpr Tnum operator&(Tnum a, Tnum b) {
  const u64 ones = a.value & b.value;
  return {.value = ones, .mask = (a.greatest() & b.greatest()) & ~ones};
}
constexpr Tnum operator|(Tnum a, Tnum b) {
  const u64 ones = a.value | b.value;
  return {.value = ones, .mask = (a.mask | b.mask) & ~ones};
}
constexpr Tnum operator^(Tnum a, Tnum b) {
  const u64 mask = a.mask | b.mask;
  return {.value = (a.value ^ b.value) & ~mask, .mask = mask};
}
constexpr Tnum operator<<(Tnum a, u32 by) { return {.value = a.value << by, .mask = a.mask << by}; }
constexpr Tnum operator>>(Tnum a, u32 by) { return {.value = a.value >> by, .mask = a.mask >> by}; }

// What either stands for, and as little else as possible.
constexpr Tnum unite(Tnum a, Tnum b) {
  const u64 mask = a.mask | b.mask | (a.value ^ b.value);
  return {.value = a.value & ~mask, .mask = mask};
}
// What both stand for; nothing if no number is of both.
constexpr std::optional<Tnum> meet(Tnum a, Tnum b) {
  if (((a.value ^ b.value) & ~a.mask & ~b.mask) != 0) return std::nullopt;
  return Tnum{.value = a.value | b.value, .mask = a.mask & b.mask};
}

Tnum operator*(Tnum a, Tnum b);

// The smallest number of `a` that is at least `from`.
constexpr std::optional<u64> least_from(Tnum a, u64 from) {
  const u64 wrong = (from ^ a.value) & ~a.mask;
  if (wrong == 0) return from;
  // Everything from the highest wrong bit down is chosen anew: the least there is, if that bit goes
  // from 0 to 1; else an unknown bit above must go from 0 to 1 first, the lowest that can.
  u64 pivot = std::bit_floor(wrong);
  if ((a.value & pivot) == 0) {
    const u64 raisable = a.mask & ~from & ~(pivot | (pivot - 1));
    if (raisable == 0) return std::nullopt;
    pivot = raisable & (~raisable + 1);
  }
  const u64 below = pivot - 1;
  return (from & ~(pivot | below)) | pivot | (a.value & below);
}
// The greatest number of `a` that is at most `to`.
constexpr std::optional<u64> greatest_to(Tnum a, u64 to) {
  const auto mirrored = least_from({.value = ~a.value & ~a.mask, .mask = a.mask}, ~to);
  if (!mirrored) return std::nullopt;
  return ~*mirrored;
}

}  // namespace coppice::bpf
