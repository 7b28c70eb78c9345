#include <fmt/format.h>

#include <cstring>

#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

Scalar number_of_bytes(u32 bytes, bool sign_extends) {
  return loaded(Scalar::unknown(), bytes, sign_extends);
}

}  // namespace

bool Walker::check_alignment(State& s, const Value& pointer, const Access& access) {
  const bool always = pointer.kind == ValueKind::stack || access.atomic ||
                      pointer.kind == ValueKind::context || pointer.kind == ValueKind::object;
  if (!always && !type_.strict_alignment) return true;
  constexpr u64 kBeforePacket = 2;  // What a network card leaves free, so that headers are aligned.
  Tnum at = Tnum::constant(static_cast<u64>(pointer.offset + access.offset)) + pointer.number.bits;
  if (pointer.is_packet()) at = at + Tnum::constant(kBeforePacket);
  if (((at.value | at.mask) & (access.size - 1)) == 0) return true;
  return refuse(
      s, Rule::misaligned,
      fmt::format("{} bytes are accessed at an address that is not their multiple", access.size),
      fmt::format("an offset that is a multiple of {}", access.size),
      fmt::format("offset {} from {}", access.offset, describe(pointer)),
      "align the variable, or copy it byte by byte", pointer.origin);
}

// Whether the access lies in [0, size) from the pointer's base.
bool Walker::check_bounds(State& s, const Value& pointer, const Access& access, u64 size,
                          const std::string& of, Rule rule) {
  const i64 fixed = pointer.offset + access.offset;
  const Scalar& moving = pointer.number;
  const auto bad = [&](std::string known, std::string suggestion) {
    return refuse(s, rule,
                  fmt::format("{} {} bytes through r{}, outside {}",
                              access.write ? "writes" : "reads", access.size, access.reg, of),
                  fmt::format("bytes within the {} there are", size), std::move(known),
                  std::move(suggestion), pointer.origin);
  };
  const std::string plus =
      access.offset == 0 ? "" : fmt::format(" and {:+} of the instruction", access.offset);
  if (fixed + moving.smin < 0 && moving.is_constant())
    return bad(fmt::format("it begins at byte {}", fixed + moving.smin), "");
  if (moving.smin < 0 || fixed + moving.smin < 0)
    return bad(fmt::format("the offset may be negative: {}{}", describe(pointer), plus),
               "make the index unsigned, or test that it is not negative");
  if (moving.umax >= static_cast<u64>(kOffsetMax))
    return bad(
        fmt::format("the offset has no bound: {}", describe(pointer)),
        fmt::format("test that the index is small enough (the size is {}) before using it", size));
  const u64 end = static_cast<u64>(fixed) + moving.umax + access.size;
  if (end <= size) return true;
  return bad(fmt::format("it may end at byte {}: {}{}", end, describe(pointer), plus),
             moving.is_constant() ? "" : "bound the index more tightly");
}

bool Walker::check_field(State& s, const Value& pointer, const Access& access, const Layout& layout,
                         Rule rule, const Field** found) {
  const auto bad = [&](std::string needed, std::string known) {
    return refuse(s, rule,
                  fmt::format("{} {} bytes at offset {} of {}", access.write ? "writes" : "reads",
                              access.size, pointer.offset + access.offset, layout.name),
                  std::move(needed), std::move(known), {}, pointer.origin);
  };
  if (!pointer.has_fixed_offset() || pointer.fixed_offset() != 0)
    return bad("the pointer as the host gave it", describe(pointer));
  const i64 at = access.offset;
  for (const Field& field : layout.fields) {
    if (at < field.offset || at + access.size > i64{field.offset} + field.size) continue;
    const bool whole = at == field.offset && access.size == field.size;
    const bool pointer_field = field.kind != FieldKind::number;
    if ((field.whole || pointer_field) && !whole)
      return bad(fmt::format("all {} bytes of field '{}' at once", field.size, field.name),
                 fmt::format("{} bytes at {} of it", access.size, at - field.offset));
    if (access.write ? !field.writable : !field.readable)
      return bad(fmt::format("a field that may be {}", access.write ? "written" : "read"),
                 fmt::format("field '{}' may not", field.name));
    *found = &field;
    return check_alignment(s, pointer, access);
  }
  return bad("a field of it", "there is none with these bytes");
}

std::optional<Value> Walker::load_field(State& s, const Value& pointer, const Access& access) {
  const Field* field = nullptr;
  const Rule rule =
      pointer.kind == ValueKind::context ? Rule::context_access : Rule::structure_access;
  if (!check_field(s, pointer, access, *pointer.layout, rule, &field)) return std::nullopt;
  const Origin origin = made(s, pointer.origin);
  switch (field->kind) {
    case FieldKind::number: return number_value(number_of_bytes(access.size, false), origin);
    case FieldKind::packet: return pointer_value(ValueKind::packet, origin);
    case FieldKind::packet_meta: return pointer_value(ValueKind::packet_meta, origin);
    case FieldKind::packet_end: return pointer_value(ValueKind::packet_end, origin);
    case FieldKind::object:
    case FieldKind::btf: break;
  }
  Value value =
      pointer_value(field->kind == FieldKind::object ? ValueKind::object : ValueKind::btf, origin);
  value.layout = field->layout;
  value.index = field->type;
  value.nullable = field->nullable;
  if (value.nullable) value.id = next_id_++;
  return value;
}

// What lies at a place of a structure that BTF describes: numbers, and addresses that nobody
// vouches for.
std::optional<Value> Walker::load_btf(State& s, const Value& pointer, const Access& access) {
  const Btf* btf = input_.host_btf;
  const auto bad = [&](std::string needed, std::string known, std::string suggestion = {}) {
    refuse(s, Rule::structure_access,
           fmt::format("reads {} bytes at offset {} of a structure of the host's", access.size,
                       pointer.offset + access.offset),
           std::move(needed), std::move(known), std::move(suggestion), pointer.origin);
    return std::nullopt;
  };
  if (btf == nullptr) return bad("the host's type information", "there is none");
  if (!pointer.trusted && !type_.catches_faults)
    return bad("an address that the host vouches for", "it was read from memory",
               "read through it with bpf_probe_read_kernel");
  if (!pointer.has_fixed_offset()) return bad("a known offset", describe(pointer));
  i64 at = pointer.fixed_offset() + access.offset;
  u32 type = btf->skip_modifiers(pointer.index);
  const u32 whole = type;
  const auto size = btf->size_of(type);
  if (!size || at < 0 || at + access.size > *size)
    return bad(fmt::format("bytes within '{}'", btf->describe(whole)),
               fmt::format("it has {} bytes", size.value_or(0)));
  // Down to the member that holds the bytes.
  for (u32 depth = 0; depth < Btf::kNestingMax; ++depth) {
    const Btf::Type& now = btf->type(type);
    if (now.kind == Btf::Kind::array) {
      const u32 element = btf->size_of(now.type).value_or(0);
      if (element == 0) break;
      at %= element;
      type = btf->skip_modifiers(now.type);
      continue;
    }
    if (!now.is_composite()) break;
    const Btf::Member* inner = nullptr;
    for (const Btf::Member& member : now.members) {
      const i64 begin = member.bit_offset / 8;
      const i64 bytes = btf->size_of(member.type).value_or(0);
      if (member.bitfield_size == 0 && at >= begin && at + access.size <= begin + bytes) {
        inner = &member;
        break;
      }
    }
    if (inner == nullptr) break;
    at -= inner->bit_offset / 8;
    type = btf->skip_modifiers(inner->type);
  }
  const Btf::Type& found = btf->type(type);
  const Origin origin = made(s, pointer.origin);
  if (found.is_composite() || found.kind == Btf::Kind::array) {
    return bad("one member of it",
               fmt::format("the bytes belong to several of '{}'", btf->describe(type)));
  }
  if (found.kind != Btf::Kind::pointer)
    return number_value(number_of_bytes(access.size, false), origin);
  if (at != 0 || access.size != 8) return bad("the whole pointer", "a part of it");
  if (!btf->plain(found.type).is_composite())
    return number_value(Scalar::unknown(), origin);  // Of no use but to probe reads.
  Value value = pointer_value(ValueKind::btf, origin);
  value.index = btf->skip_modifiers(found.type);
  value.trusted = false;
  return value;
}

// Everything but the stack, the context and structures: plain bytes.
bool Walker::check_access(State& s, const Value& pointer, const Access& access) {
  const auto bad = [&](Rule rule, std::string what, std::string needed, std::string suggestion) {
    return refuse(s, rule, std::move(what), std::move(needed), describe(pointer),
                  std::move(suggestion), pointer.origin);
  };
  if (pointer.kind == ValueKind::nothing) return refuse_uninitialised(s, access.reg);
  if (pointer.is_number())
    return bad(Rule::not_a_pointer,
               fmt::format("r{} is used as an address, and is a number", access.reg), "a pointer",
               pointer.is_null() ? "the pointer is null on this path: return before it is used"
                                 : "read memory that the program was not given with a helper");
  if (pointer.nullable)
    return bad(
        Rule::maybe_null, fmt::format("r{} is used as an address, and may be null", access.reg),
        "a pointer that was compared with null", "add a test before it is used: if (!p) return 0;");
  if (access.atomic && pointer.kind != ValueKind::stack && pointer.kind != ValueKind::map_value &&
      pointer.kind != ValueKind::memory)
    return bad(Rule::atomic_access, "an atomic operation on memory that has none",
               "the stack, a map's value or memory of the program's", "");
  if (access.write && pointer.read_only)
    return bad(Rule::read_only, fmt::format("writes through r{} to what is read-only", access.reg),
               "memory that may be written", "");
  switch (pointer.kind) {
    case ValueKind::map_value: {
      const MapView& map = input_.maps[pointer.index];
      if (!check_alignment(s, pointer, access)) return false;
      return check_bounds(s, pointer, access, map.spec.value_size,
                          fmt::format("a value of {}", map_name(pointer.index)),
                          Rule::out_of_bounds);
    }
    case ValueKind::memory:
      if (!check_alignment(s, pointer, access)) return false;
      return check_bounds(s, pointer, access, pointer.size, "the memory it points to",
                          Rule::out_of_bounds);
    case ValueKind::packet:
    case ValueKind::packet_meta: {
      if (access.write && !type_.packet_writable)
        return bad(Rule::read_only, "writes into the packet",
                   "a program type that may change packets", "");
      if (!check_alignment(s, pointer, access)) return false;
      const i64 fixed = pointer.offset + access.offset;
      if (pointer.number.smin >= 0 && fixed >= 0 &&
          fixed + static_cast<i64>(access.size) <= static_cast<i64>(pointer.range))
        return true;
      return bad(Rule::packet_bounds,
                 fmt::format("{} {} bytes of the packet at offset {}, which it may not have",
                             access.write ? "writes" : "reads", access.size, fixed),
                 "a comparison with the packet's end that proves they are there",
                 fmt::format("compare before: if (data + {} > data_end) return 0;",
                             fixed + static_cast<i64>(access.size)));
    }
    default: break;
  }
  return bad(Rule::wrong_pointer,
             fmt::format("{} memory through r{}, which points to none of the program's",
                         access.write ? "writes" : "reads", access.reg),
             "a pointer to the context, the stack, a map's value, a packet or memory", "");
}

// A load from a map whose contents stay as they are, at a known place, gives a known number. Every
// load has to come here: one from elsewhere, on another path, takes the fact back.
void Walker::note_constant(const State& s, const Value& pointer, const Access& access,
                           bool sign_extends, Value& value) {
  Fact& fact = verdict_.facts.slots[s.slot];
  const bool first = !loaded_[s.slot];
  loaded_[s.slot] = true;
  const auto unknown = [&] { fact.constant = false; };
  if (pointer.kind != ValueKind::map_value || !pointer.has_fixed_offset()) return unknown();
  const MapView& map = input_.maps[pointer.index];
  const u64 at = static_cast<u64>(pointer.fixed_offset() + access.offset);
  if (!map.frozen || at + access.size > map.contents.size()) return unknown();
  u64 raw = 0;
  std::memcpy(&raw, map.contents.data() + at, access.size);
  const Scalar number = loaded(Scalar::constant(raw), access.size, sign_extends);
  value.number = number;
  if (first) {
    fact.constant = true;
    fact.value = number.value();
  } else if (fact.value != number.value()) {
    fact.constant = false;
  }
}

// An instruction opens the same on every path: whoever serves a structure's fields by other means
// than plain memory, as pointers to packets of 4 bytes must be, can do so only for all paths.
bool Walker::check_one_meaning(State& s, const Value& pointer) {
  const bool special = pointer.kind == ValueKind::context || pointer.kind == ValueKind::object ||
                       pointer.kind == ValueKind::btf;
  const Opened now{.kind = special ? pointer.kind : ValueKind::memory,
                   .layout = special ? pointer.layout : nullptr};
  Opened& before = opened_[s.slot];
  if (before.kind == ValueKind::nothing) before = now;
  if (before == now) return true;
  return refuse(s, Rule::wrong_pointer, "one instruction accesses memory and structures",
                "a pointer of the same kind on every path", describe(pointer),
                "access each in its own branch", pointer.origin);
}

bool Walker::load(State& s, const Instruction& in) {
  const Value pointer = s.reg(in.src);
  if (pointer.is_pointer() && !check_one_meaning(s, pointer)) return false;
  const bool sign_extends = in.mode() == Mode::memsx;
  const Access access{.offset = in.offset, .size = bytes_of(in.size()), .reg = in.src};
  std::optional<Value> value;
  const bool special = !pointer.nullable &&
                       (pointer.kind == ValueKind::context || pointer.kind == ValueKind::object);
  if (special) {
    value = load_field(s, pointer, access);
  } else if (!pointer.nullable && pointer.kind == ValueKind::btf) {
    value = load_btf(s, pointer, access);
  } else if (pointer.kind == ValueKind::stack) {
    value = read_stack(s, pointer, access);
  } else if (check_access(s, pointer, access)) {
    value = number_value(number_of_bytes(access.size, sign_extends), made(s, pointer.origin));
  }
  if (!value) return false;
  note_constant(s, pointer, access, sign_extends, *value);
  if (sign_extends && value->is_pointer())
    return refuse(s, Rule::pointer_store, "a pointer is loaded as a signed number",
                  "a plain load of 8 bytes", bpf::name_of(value->kind), {}, pointer.origin);
  if (sign_extends) {
    value->number = loaded(value->number, access.size, true);
    value->id = 0;
  }
  if (value->is_number()) origins_.remember(value->origin, value->number);
  s.reg(in.dst) = *value;
  return true;
}

bool Walker::store(State& s, const Instruction& in) {
  const Value pointer = s.reg(in.dst);
  if (pointer.is_pointer() && !check_one_meaning(s, pointer)) return false;
  const bool immediate = in.instruction_class() == Class::st;
  if (!immediate && s.reg(in.src).kind == ValueKind::nothing)
    return refuse_uninitialised(s, in.src);
  const Access access{
      .offset = in.offset, .size = bytes_of(in.size()), .write = true, .reg = in.dst};
  const Value value =
      immediate
          ? number_value(Scalar::constant(static_cast<u64>(static_cast<i64>(in.imm))), made(s))
          : s.reg(in.src);
  if (pointer.kind == ValueKind::stack) {
    const bool whole = access.size == 8 || value.number.umax >> (8 * access.size) == 0;
    if (!immediate && value.is_number() && whole && !value.is_constant() && value.id == 0)
      s.reg(in.src).id = next_id_++;
    return write_stack(s, pointer, access, immediate ? value : s.reg(in.src));
  }
  if (!pointer.nullable &&
      (pointer.kind == ValueKind::context || pointer.kind == ValueKind::object)) {
    const Field* field = nullptr;
    const Rule rule =
        pointer.kind == ValueKind::context ? Rule::context_access : Rule::structure_access;
    return check_field(s, pointer, access, *pointer.layout, rule, &field);
  }
  return check_access(s, pointer, access);
}

bool Walker::atomic(State& s, const Instruction& in) {
  const Value pointer = s.reg(in.dst);
  const auto initialised = [&](u8 reg) {
    return s.reg(reg).kind != ValueKind::nothing || refuse_uninitialised(s, reg);
  };
  const bool compares = in.imm == kAtomicCompareExchange;
  if (!initialised(in.src) || (compares && !initialised(0)) || !initialised(in.dst)) return false;
  const Access access{.offset = in.offset,
                      .size = bytes_of(in.size()),
                      .write = true,
                      .atomic = true,
                      .reg = in.dst};
  if (s.reg(in.src).is_pointer())
    return refuse(s, Rule::pointer_store, "a pointer is the operand of an atomic operation",
                  "a number", describe(s.reg(in.src)), {}, s.reg(in.src).origin);
  Value fetched = number_value(number_of_bytes(access.size, false), made(s, pointer.origin));
  if (pointer.kind == ValueKind::stack) {
    if (!check_alignment(s, pointer, access)) return false;
    Access reads = access;
    reads.write = false;
    const auto before = read_stack(s, pointer, reads);
    if (!before) return false;
    if (before->is_pointer())
      return refuse(s, Rule::pointer_store, "an atomic operation on a pointer on the stack",
                    "a number there", describe(*before), {}, before->origin);
    fetched = number_value(before->number, made(s, before->origin));
    const Value after = number_value(number_of_bytes(access.size, false), made(s));
    if (!write_stack(s, pointer, access, after)) return false;
  } else if (!check_access(s, pointer, access)) {
    return false;
  }
  if ((in.imm & kAtomicFetch) != 0) {
    const u8 result = compares ? u8{0} : in.src;
    origins_.remember(fetched.origin, fetched.number);
    s.reg(result) = fetched;
  }
  return true;
}

}  // namespace coppice::bpf
