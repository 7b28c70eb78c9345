#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "bpf/verify/walker.h"

namespace coppice::bpf {

StackSlot& Walker::slot_at(State& s, u32 frame, i64 offset) {
  const size_t index = slot_of(offset);
  CHECK(index < kFrameBytes / 8);
  auto& slots = s.frames[frame].slots;
  if (slots.size() <= index) slots.resize(index + 1);
  return slots[index];
}

void Walker::touch(const State& s, u32 frame, i64 least) {
  u32& deepest = stack_bytes_[subprogram_index(s.frames[frame].subprogram)];
  deepest = std::max(deepest, static_cast<u32>(-least));
}

// The bytes that the access may touch, as offsets from the frame pointer: [least, most).
bool Walker::stack_range(State& s, const Value& pointer, const Access& access, i64& least,
                         i64& most) {
  const i64 fixed = pointer.offset + access.offset;
  const auto bad = [&](Rule rule, std::string known, std::string suggestion) {
    return refuse(s, rule,
                  fmt::format("{} {} bytes of the stack through r{}",
                              access.write ? "writes" : "reads", access.size, access.reg),
                  fmt::format("bytes between {} and 0 from the frame pointer",
                              -static_cast<i64>(kFrameBytes)),
                  std::move(known), std::move(suggestion), pointer.origin);
  };
  if (pointer.number.smin <= -kOffsetMax || pointer.number.smax >= kOffsetMax)
    return bad(Rule::unbounded, fmt::format("the offset has no bound: {}", describe(pointer)),
               "test the index before using it");
  least = fixed + pointer.number.smin;
  most = fixed + pointer.number.smax + access.size;
  if (least < -static_cast<i64>(kFrameBytes) || most > 0)
    return bad(Rule::stack_bounds, fmt::format("they may lie from {} to {}", least, most),
               pointer.number.is_constant() ? "" : "bound the index more tightly");
  touch(s, pointer.index, least);
  return true;
}

// Bytes [begin, end) become something, `surely` or perhaps.
void Walker::write_bytes(State& s, u32 frame, i64 begin, i64 end, bool surely) {
  for (i64 at = begin; at < end; ++at) {
    StackSlot& slot = slot_at(s, frame, at);
    ByteKind& byte = slot.bytes[byte_of(at)];
    if (slot.holds_value()) {  // No longer whole.
      for (ByteKind& each : slot.bytes) {
        if (each == ByteKind::spilled) each = ByteKind::data;
      }
      slot.size = 0;
      slot.value = {};
    }
    if (surely || byte != ByteKind::unwritten || type_.reads_unwritten_stack) byte = ByteKind::data;
    if (at == begin || byte_of(at) == 0) {
      const bool whole = surely && begin <= at && byte_of(at) == 0 && end >= at + 8;
      slot.origin = origins_.add(OriginKind::stored, s.slot, whole ? 0 : slot.origin);
    }
  }
}

bool Walker::write_stack(State& s, const Value& pointer, const Access& access, const Value& value) {
  i64 least = 0, most = 0;
  if (!stack_range(s, pointer, access, least, most)) return false;
  const bool known_place = pointer.has_fixed_offset();
  if (value.is_pointer()) {
    const auto bad = [&](std::string needed, std::string known) {
      return refuse(s, Rule::pointer_store, "a pointer is stored on the stack", std::move(needed),
                    std::move(known), {}, value.origin);
    };
    if (access.size != 8) return bad("all 8 bytes of it", fmt::format("{} bytes", access.size));
    if (!known_place) return bad("a known place", describe(pointer));
    if (value.kind == ValueKind::stack && pointer.index + 1 < s.frames.size())
      return bad("a place in the function's own frame",
                 "it points to a stack, and is stored in the frame of a caller");
  }
  if (!check_alignment(s, pointer, access)) return false;
  if (!known_place) {
    write_bytes(s, pointer.index, least, most, false);
    return true;
  }
  StackSlot& slot = slot_at(s, pointer.index, least);
  const u8 begin = static_cast<u8>(byte_of(least));
  CHECK(begin + access.size <= 8);
  const bool zero = value.is_null();
  const bool alone =
      !slot.holds_value() || (begin <= slot.begin && begin + access.size >= slot.begin + slot.size);
  const bool keeps_old = slot.holds_value() && !alone;
  if (keeps_old) {
    // What is left of another value: zero bytes of a zero, else plain bytes.
    const bool was_zero = slot.value.is_null();
    if (was_zero) origins_.mark_precise(slot.value.origin);
    for (ByteKind& each : slot.bytes) {
      if (each == ByteKind::spilled) each = was_zero ? ByteKind::zero : ByteKind::data;
    }
    slot.size = 0;
    slot.value = {};
  }
  slot.origin = origins_.add(OriginKind::stored, s.slot, access.size == 8 ? 0 : slot.origin);
  if (zero && access.size < 8) {
    origins_.mark_precise(value.origin);
    for (u32 i = 0; i < access.size; ++i) slot.bytes[begin + i] = ByteKind::zero;
    if (alone) {
      slot.size = 0;
      slot.value = {};
    }
    return true;
  }
  for (u32 i = 0; i < access.size; ++i) slot.bytes[begin + i] = ByteKind::spilled;
  slot.begin = begin;
  slot.size = static_cast<u8>(access.size);
  slot.value = value;
  if (access.size < 8) {
    if (value.number.umax >> (8 * access.size) != 0) slot.value.id = 0;
    slot.value.number = loaded(value.number, access.size, false);
  }
  return true;
}

// Looks at bytes [begin, end): were they written? `all_zero`: are they known to be 0?
bool Walker::read_bytes(State& s, const Value& pointer, const Access& access, i64 begin, i64 end,
                        bool* all_zero) {
  const u32 frame = pointer.index;
  *all_zero = true;
  for (i64 at = begin; at < end; ++at) {
    StackSlot& slot = slot_at(s, frame, at);
    if (slot.origin == 0) slot.origin = origins_.add(OriginKind::stored, s.slot);
    origins_.mark_used(slot.origin);
    const ByteKind byte = slot.bytes[byte_of(at)];
    const bool spilled_zero = byte == ByteKind::spilled && slot.value.is_null();
    if (spilled_zero) origins_.mark_precise(slot.value.origin);
    if (byte != ByteKind::zero && !spilled_zero) *all_zero = false;
    if (byte != ByteKind::unwritten || type_.reads_unwritten_stack) continue;
    return refuse(s, Rule::unwritten_stack,
                  fmt::format("the stack is read at {} from the frame pointer, where nothing was "
                              "written",
                              at),
                  "bytes that every path before has written",
                  fmt::format("bytes {} to {} are read through r{}", begin, end - 1, access.reg),
                  "initialise the variable, its padding too: struct s x = {}; or memset",
                  pointer.origin);
  }
  return true;
}

std::optional<Value> Walker::read_stack(State& s, const Value& pointer, const Access& access) {
  i64 least = 0, most = 0;
  if (!stack_range(s, pointer, access, least, most)) return std::nullopt;
  if (!check_alignment(s, pointer, access)) return std::nullopt;
  bool zero = false;
  if (!read_bytes(s, pointer, access, least, most, &zero)) return std::nullopt;
  Value number = number_value(loaded(Scalar::unknown(), access.size, false), made(s));
  if (zero) number.number = Scalar::constant(0);
  if (!pointer.has_fixed_offset()) {
    // A pointer among the bytes would become a number: harmless, and so allowed.
    return number;
  }
  const StackSlot& slot = slot_at(s, pointer.index, least);
  const u8 begin = static_cast<u8>(byte_of(least));
  const bool all_spilled =
      std::all_of(slot.bytes.begin() + begin, slot.bytes.begin() + begin + access.size,
                  [](ByteKind byte) { return byte == ByteKind::spilled; });
  if (!slot.holds_value() || !all_spilled) return number;
  if (slot.value.is_pointer()) {
    if (access.size == 8) return slot.value;
    refuse(s, Rule::pointer_store, "part of a pointer on the stack is read", "all 8 bytes of it",
           fmt::format("{} bytes of {}", access.size, describe(slot.value)), {}, slot.value.origin);
    return std::nullopt;
  }
  if (begin != slot.begin) return number;
  Value value = slot.value;
  if (access.size < slot.size) {
    value.number = loaded(value.number, access.size, false);
    value.origin = made(s, slot.value.origin);
    if (slot.value.number != value.number) value.id = 0;
    if (slot.value.number.umax >> (8 * access.size) != 0) value.id = 0;
  }
  return value;
}

}  // namespace coppice::bpf
