#include "bpf/object/core_relocation.h"

#include <fmt/format.h>

#include <bit>
#include <limits>

#include "base/check.h"
#include "bpf/code.h"

namespace coppice::bpf {
namespace {

constexpr Instruction kUnsatisfiedCall{.opcode = kOpcodeCall, .imm = kUnsatisfied};

std::unexpected<Error> unresolved(Errc code, const std::string& why) {
  return fail(code, "cannot relocate", why);
}

std::unexpected<Error> bad_before(const std::string& text, u64 is, u64 expected) {
  return unresolved(Errc::invalid,
                    fmt::format("the instruction has {} {}, and by the object's own types it is {}",
                                text, static_cast<i64>(is), static_cast<i64>(expected)));
}

}  // namespace

Result<> CoreResolver::relocate(const CoreRecord& record, std::span<Instruction> slots,
                                size_t slot) {
  CHECK(slot < slots.size());
  TRY(const CorePath path, core_path(own_, record));
  TRY(const Answer before, answer(own_, path, record.kind));
  std::optional<Answer> now = before;
  if (record.kind != CoreKind::type_id_local) {
    if (host_ == nullptr)
      return unresolved(Errc::unsupported,
                        fmt::format("{} depends on the host, whose types are not known here",
                                    describe(own_, record, path)));
    TRY(now, ask_host(record, path));
  }
  if (now) {
    TRY(const bool written, write(slots, slot, before, *now));
    if (written) return {};
  }
  const bool wide = slots[slot].is_wide();
  slots[slot] = kUnsatisfiedCall;
  if (wide) slots[slot + 1] = kUnsatisfiedCall;
  return {};
}

// The answer that all candidates give; nothing: there is none, or none has it.
Result<std::optional<CoreResolver::Answer>> CoreResolver::ask_host(const CoreRecord& record,
                                                                   const CorePath& path) {
  const Btf::Type& own = own_.type(record.type);
  const std::string_view name = core_name(own.name);
  if (name.empty())
    return unresolved(
        Errc::unsupported,
        fmt::format("{} has no name by which the host could know it", own_.describe(record.type)));
  std::optional<Answer> agreed;
  u32 agreed_by = 0;
  for (const u32 candidate : host_->find_flavours(name)) {
    const Btf::Type& type = host_->type(candidate);
    if (type.kind != own.kind && !(type.is_enumeration() && own.is_enumeration())) continue;
    if (core_name(type.name) != name) continue;
    const auto found = find_in_host(record, path, candidate);
    if (effort_.exhausted())
      return unresolved(Errc::too_big,
                        fmt::format("{} and what came before it take more than {} steps to find in "
                                    "the host's types",
                                    describe(own_, record, path), kCoreStepsMax));
    if (!found) continue;
    TRY(Answer answered, answer(*host_, *found, record.kind));
    answered.type = agreed ? agreed->type : answered.type;  // Only its size matters.
    if (agreed && *agreed != answered)
      return unresolved(
          Errc::invalid,
          fmt::format("{} is ambiguous: type {} of the host's says {}, type {} says {}",
                      describe(own_, record, path), agreed_by, agreed->value, candidate,
                      answered.value));
    agreed = answered;
    agreed_by = candidate;
  }
  const bool zero_if_missing =
      !agreed && record.kind != CoreKind::enumerator_value &&
      (record.kind == CoreKind::field_exists || !is_field_kind(record.kind));
  if (zero_if_missing) agreed = Answer{};
  return agreed;
}

std::optional<CorePath> CoreResolver::find_in_host(const CoreRecord& record, const CorePath& path,
                                                   u32 candidate) {
  if (is_field_kind(record.kind)) return find_field(own_, path, *host_, candidate, effort_);
  if (is_enumerator_kind(record.kind))
    return find_enumerator(own_, path, *host_, candidate, effort_);
  const bool fits = record.kind == CoreKind::type_matches
                        ? is_match(own_, record.type, *host_, candidate, effort_)
                        : is_alike(own_, record.type, *host_, candidate, effort_);
  if (!fits) return std::nullopt;
  return CorePath{.root = candidate};
}

Result<CoreResolver::Answer> CoreResolver::answer(const Btf& btf, const CorePath& path,
                                                  CoreKind kind) const {
  if (is_field_kind(kind)) return answer_field(btf, path, kind);
  switch (kind) {
    case CoreKind::type_id_local: return Answer{.value = path.root, .comparable = false};
    case CoreKind::type_id_target: return Answer{.value = path.root, .comparable = false};
    case CoreKind::type_size: {
      const auto size = btf.size_of(path.root);
      if (!size)
        return unresolved(Errc::invalid, fmt::format("{} has no size", btf.describe(path.root)));
      return Answer{.value = *size};
    }
    case CoreKind::enumerator_value:
      return Answer{.value = btf.plain(path.root).enumerators[path.enumerator].value};
    default: return Answer{.value = 1};
  }
}

// A bit field is read by loading the smallest aligned unit of its type's size, or a multiple, that
// holds all its bits, and shifting left and right.
Result<CoreResolver::Answer> CoreResolver::answer_field(const Btf& btf, const CorePath& path,
                                                        CoreKind kind) const {
  const u32 type = path.steps.back().type;
  const auto size = btf.size_of(type);
  CHECK(size);  // Members and elements have one.
  const bool is_bitfield = path.bitfield_size > 0;
  u64 bytes = *size, begin = path.bit_offset / 8;
  const u64 bits = is_bitfield ? path.bitfield_size : bytes * 8;
  if (is_bitfield) {
    if (!std::has_single_bit(bytes))
      return unresolved(Errc::invalid, fmt::format("a bit field in a type of {} bytes", bytes));
    begin = begin / bytes * bytes;
    while (path.bit_offset + bits > (begin + bytes) * 8) {
      bytes *= 2;
      begin = path.bit_offset / 8 / bytes * bytes;
    }
    if (bytes > 8)
      return unresolved(Errc::unsupported,
                        "no load of 8 bytes reaches the whole bit field at bit " +
                            std::to_string(path.bit_offset));
  }
  Answer answer{.comparable = !is_bitfield};
  switch (kind) {
    case CoreKind::field_byte_offset:
      answer.value = begin;
      answer.size = is_bitfield ? 0 : *size;
      answer.type = type;
      return answer;
    case CoreKind::field_byte_size: answer.value = bytes; return answer;
    case CoreKind::field_exists: answer.value = 1; return answer;
    case CoreKind::field_signed:
      answer.value = btf.plain(type).is_signed ? 1 : 0;
      answer.comparable = true;
      return answer;
    default: break;
  }
  const u64 behind = path.bit_offset + bits - begin * 8;
  if (behind > 64)
    return unresolved(Errc::invalid, fmt::format("a field of {} bits cannot be shifted", bits));
  answer.value = kind == CoreKind::field_left_shift ? 64 - behind : 64 - bits;
  return answer;
}

// False: the host's answer does not fit into the instruction.
Result<bool> CoreResolver::write(std::span<Instruction> slots, size_t slot, const Answer& before,
                                 const Answer& now) const {
  Instruction& in = slots[slot];
  if (in.is_wide()) {
    CHECK(slot + 1 < slots.size());
    const u64 is = static_cast<u32>(in.imm) | u64{static_cast<u32>(slots[slot + 1].imm)} << 32;
    if (before.comparable && is != before.value) return bad_before("the number", is, before.value);
    in.imm = static_cast<i32>(now.value);
    slots[slot + 1].imm = static_cast<i32>(now.value >> 32);
    return true;
  }
  if (in.is_alu()) {
    if (in.from_register() || in.alu_code() == AluCode::end)
      return unresolved(Errc::invalid, "the instruction has no number that could be changed");
    if (before.comparable && static_cast<u32>(in.imm) != static_cast<u32>(before.value))
      return bad_before("the number", static_cast<u64>(i64{in.imm}), before.value);
    const bool narrow = in.instruction_class() == Class::alu;
    const auto extended = static_cast<u64>(i64{static_cast<i32>(now.value)});
    if (extended != now.value && !(narrow && now.value <= std::numeric_limits<u32>::max()))
      return false;
    in.imm = static_cast<i32>(now.value);
    return true;
  }
  const Class of = in.instruction_class();
  if (of == Class::ldx || of == Class::st || of == Class::stx) return write_memory(in, before, now);
  return unresolved(Errc::invalid,
                    fmt::format("opcode {:#04x} takes neither a number nor an offset", in.opcode));
}

Result<bool> CoreResolver::write_memory(Instruction& in, const Answer& before,
                                        const Answer& now) const {
  if (before.comparable && static_cast<u64>(i64{in.offset}) != before.value)
    return bad_before("the offset", static_cast<u64>(i64{in.offset}), before.value);
  if (now.value > static_cast<u64>(std::numeric_limits<i16>::max())) return false;
  if (now.size != before.size && now.size > 0 && before.size > 0) {
    if (bytes_of(in.size()) != before.size)
      return unresolved(Errc::invalid,
                        fmt::format("the instruction takes {} bytes of a field of {}",
                                    bytes_of(in.size()), before.size));
    // A field of another size can be loaded or stored all the same if no sign is lost.
    const Btf::Type& ours = own_.plain(before.type);
    const Btf::Type& theirs = host_->plain(now.type);
    const bool both_pointers = ours.kind == Btf::Kind::pointer && theirs.kind == Btf::Kind::pointer;
    const bool both_unsigned = ours.kind == Btf::Kind::integer && !ours.is_signed &&
                               theirs.kind == Btf::Kind::integer && !theirs.is_signed;
    if (!both_pointers && !both_unsigned) return false;
    // The program's compiler cared for no more bits of what is stored than its field has.
    const Class of = in.instruction_class();
    const bool knows_all = of == Class::ldx || (of == Class::st && in.imm >= 0);
    if (now.size > before.size && !knows_all) return false;
    if (!std::has_single_bit(now.size) || now.size > 8) return false;
    constexpr Size kSizes[] = {Size::byte, Size::half, Size::word, Size::double_word};
    const auto size = static_cast<u8>(kSizes[std::countr_zero(now.size)]);
    in.opcode = static_cast<u8>((in.opcode & ~0x18) | size << 3);
  }
  in.offset = static_cast<i16>(now.value);
  return true;
}

}  // namespace coppice::bpf
