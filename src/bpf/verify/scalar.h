// bpf/verify/scalar.h — what is known of a number in a register or on the stack.
//
// Theory. A Scalar stands for a set of 64-bit numbers, given by five views: known bits, the range
// as an unsigned and as a signed number, and both of the low 32 bits. A number is of the set if it
// is of all five. Every Scalar that the functions here return is *tight*: each end of each range
// belongs to a number of the set, and each unknown bit is 0 in one and 1 in another
// (bpf/verify/tight.h says how). So the set is never empty, equal sets are equal fields, one set
// covers another exactly if each of its fields does, and no order of deductions finds more than
// another.
//
// Sound means: whatever the numbers of the operands are, compute() has what the instruction makes
// of them, and branch() keeps both on the side they take. Nothing else here matters as much.
#pragma once

#include <optional>
#include <string>

#include "bpf/instruction.h"
#include "bpf/verify/tnum.h"

namespace coppice::bpf {

struct Scalar {
  Tnum bits = {};
  u64 umin = 0, umax = UINT64_MAX;
  i64 smin = INT64_MIN, smax = INT64_MAX;
  u32 umin32 = 0, umax32 = UINT32_MAX;
  i32 smin32 = INT32_MIN, smax32 = INT32_MAX;

  static Scalar unknown() { return {}; }
  static Scalar constant(u64 value);
  static Scalar between(u64 umin, u64 umax);  // umin <= umax; both included.
  static Scalar between_signed(i64 smin, i64 smax);
  static Scalar with_bits(Tnum bits);

  bool is_constant() const { return umin == umax; }
  u64 value() const;  // Of a constant.
  bool contains(u64 concrete) const;
  bool covers(const Scalar& other) const;
  friend bool operator==(const Scalar&, const Scalar&) = default;
};

// The smallest Scalar that covers both.
Scalar unite(const Scalar& a, const Scalar& b);
// Exactly the numbers that both stand for; nothing if there are none.
std::optional<Scalar> meet(const Scalar& a, const Scalar& b);

// What `in`, an arithmetic instruction, leaves in its destination. `src` is the second operand: the
// source register, or the immediate as bpf/code.h extends it. If `in` names one register twice,
// both operands are taken to be the same number, and not only of the same set.
Scalar compute(const Instruction& in, const Scalar& dst, const Scalar& src);

// The low `bytes` (1, 2, 4, 8) of a number, the rest zeros or copies of the sign.
Scalar loaded(const Scalar& whole, u32 bytes, bool sign_extends);

// What the operands of a conditional jump are known to be on each of its sides. A side that cannot
// be reached has none. One register named twice is one number, as for compute().
struct Refined {
  Scalar dst, src;
};
struct Branches {
  std::optional<Refined> taken = {}, fallthrough = {};
};
Branches branch(const Instruction& in, const Scalar& dst, const Scalar& src);

// For people: "5", "0..64", "-8..7", "0..0xffff, multiple of 4", "any number".
std::string describe(const Scalar& scalar);

}  // namespace coppice::bpf
