#include <fmt/format.h>

#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

bool is_equality(const Instruction& in) {
  return in.jump_code() == JumpCode::jeq || in.jump_code() == JumpCode::jne;
}

// Of a comparison `pointer OP end`, which side proves what; `pointer` stands left.
struct PacketProof {
  bool when_taken = false;
  bool strictly = false;  // pointer < end, not only <=.
  bool known = true;
};
PacketProof proof_of(JumpCode code) {
  switch (code) {
    case JumpCode::jgt: return {.when_taken = false, .strictly = false};
    case JumpCode::jge: return {.when_taken = false, .strictly = true};
    case JumpCode::jlt: return {.when_taken = true, .strictly = true};
    case JumpCode::jle: return {.when_taken = true, .strictly = false};
    default: return {.known = false};
  }
}
JumpCode mirrored(JumpCode code) {
  switch (code) {
    case JumpCode::jgt: return JumpCode::jlt;
    case JumpCode::jge: return JumpCode::jle;
    case JumpCode::jlt: return JumpCode::jgt;
    case JumpCode::jle: return JumpCode::jge;
    default: return code;
  }
}

// The two that a comparison bounds: a pointer, and what it is compared with.
bool is_end_for(const Value& pointer, const Value& end) {
  if (pointer.kind == ValueKind::packet) return end.kind == ValueKind::packet_end;
  return pointer.kind == ValueKind::packet_meta && end.kind == ValueKind::packet &&
         end.offset == 0 && end.number.is_constant() && end.number.value() == 0;
}

}  // namespace

// What the branch taught about `reg`, and so about all that are equal to it.
void Walker::narrow(State& s, const Value& old, u8 reg, const Scalar& number, Origin other,
                    bool taken) {
  if (number == old.number) return;
  const OriginKind kind = taken ? OriginKind::taken : OriginKind::not_taken;
  const Origin origin = origins_.add(kind, s.slot, old.origin, other);
  origins_.remember(origin, number);
  s.reg(reg).number = number;
  s.reg(reg).origin = origin;
  if (old.id == 0) return;
  for_each_value(s.frames, [&](Value& value) {
    if (!value.is_number() || value.id != old.id || &value == &s.reg(reg)) return;
    value.number = number;
    value.origin = origins_.add(kind, s.slot, value.origin, origin);
    origins_.remember(value.origin, number);
  });
}

// Every pointer of this id is null, or none is.
void Walker::know_null(State& s, u32 id, bool is_null) {
  u32 reference = 0;
  for_each_value(s.frames, [&](Value& value) {
    if (!value.is_pointer() || !value.nullable || value.id != id) return;
    if (is_null) {
      if (value.owned) reference = value.reference;
      value =
          number_value(Scalar::constant(0), origins_.add(OriginKind::taken, s.slot, value.origin));
    } else {
      value.nullable = false;
      if (!value.is_packet()) value.id = 0;
    }
  });
  if (is_null && reference != 0)
    std::erase_if(s.references, [&](const Reference& each) { return each.id == reference; });
}

// All pointers with the variable part of `pointer` may reach as far as it.
void Walker::know_packet(State& s, const Value& pointer, bool strictly) {
  if (pointer.offset < 0 || (pointer.offset == 0 && strictly)) return;
  if (pointer.number.umax > kPacketBytesMax ||
      pointer.number.umax + static_cast<u64>(pointer.offset) > kPacketBytesMax)
    return;
  const u32 range = static_cast<u32>(pointer.offset) + (strictly ? 1 : 0);
  for_each_value(s.frames, [&](Value& value) {
    if (value.kind == pointer.kind && value.id == pointer.id)
      value.range = std::max(value.range, range);
  });
}

// Goes on behind the jump with `s`; `other`, where it is taken, waits.
Walker::Next Walker::branch_both(State& s, State other) {
  other.slot = static_cast<u32>(program_.target_of(s.slot));
  if (!push(std::move(other))) return Next::refused;
  ++s.slot;
  return Next::go_on;
}

Walker::Next Walker::jump(State& s, const Instruction& in) {
  ++jumps_since_;
  if (in.opcode == kOpcodeJump || in.opcode == kOpcodeLongJump) {
    s.slot = static_cast<u32>(program_.target_of(s.slot));
    return Next::go_on;
  }
  const auto uninitialised = [&](u8 reg) {
    refuse_uninitialised(s, reg);
    return Next::refused;
  };
  if (s.reg(in.dst).kind == ValueKind::nothing) return uninitialised(in.dst);
  if (in.from_register() && s.reg(in.src).kind == ValueKind::nothing) return uninitialised(in.src);
  const bool wide = in.instruction_class() == Class::jmp;
  const Value dst = s.reg(in.dst);
  const Value src =
      in.from_register()
          ? s.reg(in.src)
          : number_value(Scalar::constant(static_cast<u64>(static_cast<i64>(in.imm))), 0);
  if (dst.is_number() && src.is_number()) {
    const Branches branches = branch(in, dst.number, src.number);
    const auto apply = [&](State& state, const Refined& refined, bool taken) {
      narrow(state, dst, in.dst, refined.dst, src.origin, taken);
      if (in.from_register() && in.src != in.dst)
        narrow(state, src, in.src, refined.src, dst.origin, taken);
    };
    if (!branches.taken || !branches.fallthrough) {
      origins_.mark_precise(dst.origin);
      origins_.mark_precise(src.origin);
      const bool taken = branches.taken.has_value();
      apply(s, taken ? *branches.taken : *branches.fallthrough, taken);
      s.slot = taken ? static_cast<u32>(program_.target_of(s.slot)) : s.slot + 1;
      return Next::go_on;
    }
    State other = s;
    apply(other, *branches.taken, true);
    apply(s, *branches.fallthrough, false);
    return branch_both(s, std::move(other));
  }
  State other = s;
  const bool equality = is_equality(in) && wide;
  const bool when_equal = in.jump_code() == JumpCode::jeq;  // Taken when equal.
  const Value& pointer = dst.is_pointer() ? dst : src;
  const Value& with = dst.is_pointer() ? src : dst;
  if (equality && with.is_null()) {
    if (pointer.is_never_null()) {
      origins_.mark_precise(with.origin);
      s.slot = when_equal ? s.slot + 1 : static_cast<u32>(program_.target_of(s.slot));
      return Next::go_on;  // It is not null.
    }
    if (pointer.nullable) {
      origins_.mark_precise(with.origin);
      know_null(other, pointer.id, when_equal);
      know_null(s, pointer.id, !when_equal);
    }
  } else if (equality && ((pointer.nullable && with.is_never_null()) ||
                          (with.nullable && pointer.is_never_null()))) {
    // What equals a pointer that is not null is not null.
    know_null(when_equal ? other : s, pointer.nullable ? pointer.id : with.id, false);
  } else if (wide && dst.is_pointer() && src.is_pointer()) {
    const bool left = is_end_for(dst, src), right = is_end_for(src, dst);
    const PacketProof proof = proof_of(left ? in.jump_code() : mirrored(in.jump_code()));
    if ((left || right) && proof.known)
      know_packet(proof.when_taken ? other : s, left ? dst : src, proof.strictly);
  }
  return branch_both(s, std::move(other));
}

}  // namespace coppice::bpf
