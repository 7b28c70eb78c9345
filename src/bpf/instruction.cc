#include "bpf/instruction.h"

#include <fmt/format.h>

#include "base/endian.h"

namespace coppice::bpf {
namespace {

std::optional<Form> form_of_alu(const Instruction& in) {
  const bool wide = in.instruction_class() == Class::alu64;
  const bool by_register = in.from_register();
  Form form{
      .reads_dst = true, .writes_dst = true, .reads_src = by_register, .uses_imm = !by_register};
  switch (in.alu_code()) {
    case AluCode::div:
    case AluCode::mod:
      form.uses_offset = in.offset == 1;  // The signed ones.
      return form;
    case AluCode::mov:
      form.reads_dst = false;
      if (by_register && (in.offset == 8 || in.offset == 16 || (in.offset == 32 && wide)))
        form.uses_offset = true;  // MOVSX.
      return form;
    case AluCode::neg:
      if (by_register) return std::nullopt;
      form.uses_imm = false;
      return form;
    case AluCode::end:
      if (in.imm != 16 && in.imm != 32 && in.imm != 64) return std::nullopt;
      if (wide && by_register) return std::nullopt;  // Bit 3 tells orders apart in 32 bits only.
      return Form{.reads_dst = true, .writes_dst = true, .uses_imm = true};
    default: break;
  }
  if (in.alu_code() > AluCode::end) return std::nullopt;
  return form;
}

std::optional<Form> form_of_jump(const Instruction& in) {
  const bool narrow = in.instruction_class() == Class::jmp32;
  switch (in.jump_code()) {
    case JumpCode::ja:
      if (in.from_register()) return std::nullopt;
      return Form{.uses_offset = !narrow, .uses_imm = narrow};
    case JumpCode::call:
      if (narrow || in.from_register() || in.src > static_cast<u8>(Callee::btf))
        return std::nullopt;
      return Form{.uses_imm = true, .src_is_kind = true};
    case JumpCode::exit:
      if (narrow || in.from_register()) return std::nullopt;
      return Form{};
    default: break;
  }
  if (in.jump_code() > JumpCode::jsle) return std::nullopt;
  return Form{.reads_dst = true,
              .reads_src = in.from_register(),
              .uses_offset = true,
              .uses_imm = !in.from_register()};
}

std::optional<Form> form_of_atomic(const Instruction& in) {
  if (in.size() != Size::word && in.size() != Size::double_word) return std::nullopt;
  Form form{.reads_dst = true, .reads_src = true, .uses_offset = true, .uses_imm = true};
  switch (in.imm) {
    case kAtomicAdd:
    case kAtomicOr:
    case kAtomicAnd:
    case kAtomicXor:
    case kAtomicCompareExchange:  // What was there goes to r0.
      return form;
    case kAtomicAdd | kAtomicFetch:
    case kAtomicOr | kAtomicFetch:
    case kAtomicAnd | kAtomicFetch:
    case kAtomicXor | kAtomicFetch:
    case kAtomicExchange: form.writes_src = true; return form;
    default: return std::nullopt;
  }
}

std::optional<Form> form_of_memory(const Instruction& in) {
  switch (in.instruction_class()) {
    case Class::ld:
      if (!in.is_wide() || in.src > static_cast<u8>(Immediate::map_value_by_index))
        return std::nullopt;
      return Form{.writes_dst = true, .uses_imm = true, .src_is_kind = true};
    case Class::ldx:
      if (in.mode() != Mode::mem && (in.mode() != Mode::memsx || in.size() == Size::double_word))
        return std::nullopt;
      return Form{.writes_dst = true, .reads_src = true, .uses_offset = true};
    case Class::st:
      if (in.mode() != Mode::mem) return std::nullopt;
      return Form{.reads_dst = true, .uses_offset = true, .uses_imm = true};
    default: break;
  }
  if (in.mode() == Mode::atomic) return form_of_atomic(in);
  if (in.mode() != Mode::mem) return std::nullopt;
  return Form{.reads_dst = true, .reads_src = true, .uses_offset = true};
}

bool is_packet_load(const Instruction& in) {
  return in.instruction_class() == Class::ld && in.size() != Size::double_word &&
         (in.mode() == Mode::abs || in.mode() == Mode::ind);
}

// What the second slot of a wide instruction must be, for the first.
std::string fault_of_second(const Instruction& first, const Instruction& second) {
  if (second.opcode != 0 || second.dst != 0 || second.src != 0 || second.offset != 0)
    return "the second half of a 64-bit immediate has only an immediate; its other fields must be "
           "zero";
  const auto kind = static_cast<Immediate>(first.src);
  const bool uses = kind == Immediate::number || kind == Immediate::map_value ||
                    kind == Immediate::map_value_by_index;
  if (!uses && second.imm != 0)
    return fmt::format("immediate {} in the second half is reserved and must be 0", second.imm);
  return {};
}

std::unexpected<Error> bad_slot(size_t slot, const std::string& why) {
  return fail(Errc::invalid, "cannot decode the program", fmt::format("slot {}: {}", slot, why));
}

}  // namespace

Instruction decode_slot(std::span<const std::byte, kSlotBytes> slot) {
  const u8 registers = load_le<u8>(slot.data() + 1);
  return {.opcode = load_le<u8>(slot.data()),
          .dst = static_cast<u8>(registers & 15),
          .src = static_cast<u8>(registers >> 4),
          .offset = load_le<i16>(slot.data() + 2),
          .imm = load_le<i32>(slot.data() + 4)};
}

void encode_slot(const Instruction& instruction, std::span<std::byte, kSlotBytes> into) {
  CHECK(instruction.dst < 16);
  CHECK(instruction.src < 16);
  store_le(into.data(), instruction.opcode);
  store_le(into.data() + 1, static_cast<u8>(instruction.dst | instruction.src << 4));
  store_le(into.data() + 2, instruction.offset);
  store_le(into.data() + 4, instruction.imm);
}

std::vector<std::byte> encode(std::span<const Instruction> instructions) {
  std::vector<std::byte> bytes(instructions.size() * kSlotBytes);
  for (size_t i = 0; i < instructions.size(); ++i)
    encode_slot(instructions[i], std::span<std::byte, kSlotBytes>(&bytes[i * kSlotBytes], 8));
  return bytes;
}

std::optional<Form> form_of(const Instruction& instruction) {
  if (instruction.is_alu()) return form_of_alu(instruction);
  if (instruction.is_jump()) return form_of_jump(instruction);
  return form_of_memory(instruction);
}

std::string fault_of(const Instruction& in) {
  if (is_packet_load(in))
    return fmt::format("opcode {:#04x} loads from a packet the old way, which nothing here has",
                       in.opcode);
  const auto form = form_of(in);
  if (!form)
    return fmt::format(
        "RFC 9669 defines no instruction of opcode {:#04x}, source {}, offset {}, immediate {}",
        in.opcode, in.src, in.offset, in.imm);
  const bool uses_dst = form->reads_dst || form->writes_dst;
  const bool uses_src = form->reads_src || form->src_is_kind;
  if (in.dst >= kRegisters || (!form->src_is_kind && in.src >= kRegisters))
    return fmt::format("there is no register r{}: they are r0 to r10",
                       in.dst >= kRegisters ? in.dst : in.src);
  if (!uses_dst && in.dst != 0)
    return fmt::format("destination r{} is reserved in opcode {:#04x} and must be 0", in.dst,
                       in.opcode);
  if (!uses_src && in.src != 0)
    return fmt::format("source {} is reserved in opcode {:#04x} and must be 0", in.src, in.opcode);
  if (!form->uses_offset && in.offset != 0)
    return fmt::format("offset {} is reserved in opcode {:#04x} and must be 0", in.offset,
                       in.opcode);
  if (!form->uses_imm && in.imm != 0)
    return fmt::format("immediate {} is reserved in opcode {:#04x} and must be 0", in.imm,
                       in.opcode);
  if ((form->writes_dst && in.dst == kFramePointer) ||
      (form->writes_src && in.src == kFramePointer))
    return "r10 is the frame pointer and cannot be written";
  return {};
}

Result<std::vector<Instruction>> decode(std::span<const std::byte> bytes) {
  if (bytes.empty())
    return fail(Errc::invalid, "cannot decode the program", "it has no instructions");
  if (bytes.size() % kSlotBytes != 0)
    return fail(
        Errc::invalid, "cannot decode the program",
        fmt::format("{} bytes are not a multiple of 8, the size of an instruction", bytes.size()));
  const size_t count = bytes.size() / kSlotBytes;
  if (count > kSlotsMax)
    return fail(Errc::too_big, "cannot decode the program",
                fmt::format("it has {} slots; {} is the most", count, kSlotsMax));
  std::vector<Instruction> slots;
  slots.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const auto at = [&](size_t slot) {
      return decode_slot(bytes.subspan(slot * kSlotBytes).first<kSlotBytes>());
    };
    const Instruction instruction = at(i);
    if (const std::string why = fault_of(instruction); !why.empty()) return bad_slot(i, why);
    slots.push_back(instruction);
    if (!instruction.is_wide()) continue;
    if (++i == count)
      return bad_slot(i - 1, "the program ends before the second half of this 64-bit immediate");
    const Instruction second = at(i);
    if (const std::string why = fault_of_second(instruction, second); !why.empty())
      return bad_slot(i, why);
    slots.push_back(second);
  }
  CHECK(slots.size() == count);
  return slots;
}

}  // namespace coppice::bpf
