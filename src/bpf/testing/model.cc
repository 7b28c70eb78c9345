#include "bpf/testing/model.h"

#include <utility>
#include <vector>

#include "base/check.h"

namespace coppice::bpf::model {
namespace {

using Bits = std::vector<bool>;  // The lowest first.

Bits bits_of(u64 value, size_t width) {
  Bits bits(width);
  for (size_t i = 0; i < width; ++i) bits[i] = (value >> i) % 2 == 1;
  return bits;
}
u64 value_of(const Bits& bits) {
  u64 value = 0;
  for (size_t i = bits.size(); i-- > 0;) value = value + value + (bits[i] ? 1 : 0);
  return value;
}
bool is_zero(const Bits& a) { return value_of(a) == 0; }
bool negative(const Bits& a) { return a.back(); }

Bits plus(const Bits& a, const Bits& b, bool carry = false) {
  Bits sum(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const int ones = (a[i] ? 1 : 0) + (b[i] ? 1 : 0) + (carry ? 1 : 0);
    sum[i] = ones % 2 == 1;
    carry = ones >= 2;
  }
  return sum;
}
Bits flipped(Bits a) {
  a.flip();
  return a;
}
Bits minus(const Bits& a, const Bits& b) { return plus(a, flipped(b), true); }
Bits negated(const Bits& a) { return minus(Bits(a.size()), a); }
Bits magnitude(const Bits& a) { return negative(a) ? negated(a) : a; }

bool less(const Bits& a, const Bits& b) {
  for (size_t i = a.size(); i-- > 0;) {
    if (a[i] != b[i]) return b[i];
  }
  return false;
}
bool signed_less(const Bits& a, const Bits& b) {
  return negative(a) != negative(b) ? negative(a) : less(a, b);
}

Bits up(const Bits& a, size_t by) {
  Bits out(a.size());
  for (size_t i = by; i < a.size(); ++i) out[i] = a[i - by];
  return out;
}
Bits down(const Bits& a, size_t by, bool fill) {
  Bits out(a.size(), fill);
  for (size_t i = 0; i + by < a.size(); ++i) out[i] = a[i + by];
  return out;
}

Bits times(const Bits& a, const Bits& b) {
  Bits product(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (b[i]) product = plus(product, up(a, i));
  }
  return product;
}

// Long division; a remainder of one bit more, so that nothing overflows.
std::pair<Bits, Bits> divided(const Bits& a, const Bits& b) {
  Bits wide = b;
  wide.push_back(false);
  Bits quotient(a.size()), rest(a.size() + 1);
  for (size_t i = a.size(); i-- > 0;) {
    rest = up(rest, 1);
    rest[0] = a[i];
    if (!less(rest, wide)) {
      rest = minus(rest, wide);
      quotient[i] = true;
    }
  }
  rest.pop_back();
  return {quotient, rest};
}

Bits each_bit(const Bits& a, const Bits& b, bool (*rule)(bool, bool)) {
  Bits out(a.size());
  for (size_t i = 0; i < a.size(); ++i) out[i] = rule(a[i], b[i]);
  return out;
}

Bits quotient(const Bits& a, const Bits& b, bool is_signed) {
  if (is_zero(b)) return Bits(a.size());
  if (!is_signed) return divided(a, b).first;
  const Bits size = divided(magnitude(a), magnitude(b)).first;
  return negative(a) != negative(b) ? negated(size) : size;
}
Bits remainder(const Bits& a, const Bits& b, bool is_signed) {
  if (is_zero(b)) return a;
  if (!is_signed) return divided(a, b).second;
  const Bits size = divided(magnitude(a), magnitude(b)).second;
  return negative(a) ? negated(size) : size;  // It has the sign of the dividend.
}

u64 bytes_reversed(u64 value, size_t bytes) {
  u64 out = 0;
  for (size_t i = 0; i < bytes; ++i) out |= (value >> (8 * i) & 0xff) << (8 * (bytes - 1 - i));
  return out;
}

u64 ends(const Instruction& in, u64 dst) {
  const size_t width = static_cast<size_t>(in.imm);
  const u64 kept = value_of(bits_of(dst, width));
  const bool keeps = in.instruction_class() == Class::alu && !in.from_register();
  return keeps ? kept : bytes_reversed(kept, width / 8);  // The host is little-endian.
}

// The second operand of either kind: an immediate is signed, of 32 bits.
Bits second(const Instruction& in, u64 src, size_t width) {
  if (in.from_register()) return bits_of(src, width);
  Bits bits = bits_of(static_cast<u32>(in.imm), 32);
  bits.resize(width, bits[31]);
  return bits;
}

}  // namespace

u64 compute(const Instruction& in, u64 dst, u64 src) {
  if (in.alu_code() == AluCode::end) return ends(in, dst);
  const size_t width = in.instruction_class() == Class::alu64 ? 64 : 32;
  const Bits a = bits_of(dst, width), b = second(in, src, width);
  const size_t shift = value_of(b) % width;
  const bool is_signed = in.offset == 1;
  switch (in.alu_code()) {
    case AluCode::add: return value_of(plus(a, b));
    case AluCode::sub: return value_of(minus(a, b));
    case AluCode::mul: return value_of(times(a, b));
    case AluCode::div: return value_of(quotient(a, b, is_signed));
    case AluCode::mod: return value_of(remainder(a, b, is_signed));
    case AluCode::bit_or: return value_of(each_bit(a, b, [](bool x, bool y) { return x || y; }));
    case AluCode::bit_and: return value_of(each_bit(a, b, [](bool x, bool y) { return x && y; }));
    case AluCode::bit_xor: return value_of(each_bit(a, b, [](bool x, bool y) { return x != y; }));
    case AluCode::lsh: return value_of(up(a, shift));
    case AluCode::rsh: return value_of(down(a, shift, false));
    case AluCode::arsh: return value_of(down(a, shift, negative(a)));
    case AluCode::neg: return value_of(negated(a));
    case AluCode::mov: {
      if (in.offset == 0) return value_of(b);
      Bits part = bits_of(src, static_cast<size_t>(in.offset));
      part.resize(width, part.back());
      return value_of(part);
    }
    case AluCode::end: break;
  }
  CHECK(false);
  return 0;
}

bool takes(const Instruction& in, u64 dst, u64 src) {
  const size_t width = in.instruction_class() == Class::jmp ? 64 : 32;
  const Bits a = bits_of(dst, width), b = second(in, src, width);
  switch (in.jump_code()) {
    case JumpCode::jeq: return a == b;
    case JumpCode::jne: return a != b;
    case JumpCode::jgt: return less(b, a);
    case JumpCode::jge: return !less(a, b);
    case JumpCode::jlt: return less(a, b);
    case JumpCode::jle: return !less(b, a);
    case JumpCode::jsgt: return signed_less(b, a);
    case JumpCode::jsge: return !signed_less(a, b);
    case JumpCode::jslt: return signed_less(a, b);
    case JumpCode::jsle: return !signed_less(b, a);
    case JumpCode::jset: return !is_zero(each_bit(a, b, [](bool x, bool y) { return x && y; }));
    default: break;
  }
  CHECK(false);
  return false;
}

Exchange exchange(const Instruction& in, u64 there, u64 src, u64 r0) {
  const size_t width = in.size() == Size::word ? 32 : 64;
  const Bits old = bits_of(there, width), with = bits_of(src, width);
  Exchange out{.memory = 0, .fetched = value_of(old), .fetches = (in.imm & kAtomicFetch) != 0};
  Instruction by{.opcode = static_cast<u8>(width == 32 ? 0x0c : 0x0f)};
  switch (in.imm & 0xf0) {
    case 0x40: by.opcode |= 0x40; break;
    case 0x50: by.opcode |= 0x50; break;
    case 0xa0: by.opcode |= 0xa0; break;
    case 0xe0: out.memory = value_of(with); return out;
    case 0xf0: out.memory = old == bits_of(r0, width) ? value_of(with) : value_of(old); return out;
    default: break;
  }
  out.memory = compute(by, there, src);
  return out;
}

}  // namespace coppice::bpf::model
