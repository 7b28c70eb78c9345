#include "bpf/object/listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "bpf/disassembler.h"

namespace coppice::bpf {
namespace {

// "knob", or "table+8", of what lies there in global data.
std::string variable_at(const Object& object, const ObjectMap& map, u32 offset) {
  if (!map.is_data || map.value_type == 0) return fmt::format("{}+{}", map.spec.name, offset);
  const auto placed = object.btf()->type(map.value_type).placed;
  auto behind = std::ranges::upper_bound(placed, offset, {}, &Btf::Placed::offset);
  if (behind == placed.begin()) return fmt::format("{}+{}", map.spec.name, offset);
  const Btf::Placed& each = *std::prev(behind);
  const std::string_view name = object.btf()->type(each.variable).name;
  if (offset == each.offset) return std::string(name);
  return fmt::format("{}+{}", name, offset - each.offset);
}

std::string function_at(const ObjectProgram& program, size_t slot) {
  const auto at = std::ranges::find(program.functions, slot, &Function::slot);
  return at == program.functions.end() ? std::string{} : std::string(at->name);
}

std::string note_of_immediate(const Object& object, const ObjectProgram& program, size_t slot) {
  const Instruction& in = program.program.slots()[slot];
  const auto kind = static_cast<Immediate>(in.src);
  if (kind == Immediate::code) return function_at(program, program.program.target_of(slot));
  if (kind != Immediate::map && kind != Immediate::map_value) return {};
  const auto number = static_cast<size_t>(in.imm);
  CHECK(number < object.maps().size());
  const ObjectMap& map = object.maps()[number];
  if (kind == Immediate::map) return map.spec.name;
  return variable_at(object, map, static_cast<u32>(program.program.slots()[slot + 1].imm));
}

std::string note_of_call(const ObjectProgram& program, size_t slot, const HelperTable& helpers) {
  const Instruction& in = program.program.slots()[slot];
  if (in.src == static_cast<u8>(Callee::local))
    return function_at(program, program.program.target_of(slot));
  if (in.imm == kUnsatisfied) return "needs what the host has not";
  if (in.imm == kTailCall) return "tail_call";
  const Helper* helper = helpers.find(in.imm);
  return helper == nullptr ? "no such helper here" : helper->name;
}

std::string note_of(const Object& object, const ObjectProgram& program, size_t slot,
                    const HelperTable& helpers) {
  const Instruction& in = program.program.slots()[slot];
  if (in.is_wide()) return note_of_immediate(object, program, slot);
  if (!in.is_jump() || in.opcode == kOpcodeExit) return {};
  if (in.opcode == kOpcodeCall) return note_of_call(program, slot, helpers);
  return fmt::format("to {}", program.program.target_of(slot));
}

std::string described_part(const Object& object, const char* name, u32 size, u32 type) {
  if (size == 0) return {};
  const std::string spelt = type == 0 || object.btf()->type(type).kind == Btf::Kind::section
                                ? std::string{}
                                : fmt::format(" ({})", object.btf()->describe(type));
  return fmt::format(", {} of {} bytes{}", name, size, spelt);
}

}  // namespace

std::vector<ListedInstruction> list(const Object& object, const ObjectProgram& program,
                                    const HelperTable& helpers) {
  std::vector<ListedInstruction> listed;
  const auto slots = program.program.slots();
  auto function = program.functions.begin();
  auto line = program.lines.begin();
  for (u32 slot = 0; slot < slots.size(); slot += slots[slot].is_wide() ? 2 : 1) {
    ListedInstruction& each = listed.emplace_back();
    each.slot = slot;
    each.opcode = slots[slot].opcode;
    each.text = disassemble(program.program, slot);
    each.note = note_of(object, program, slot, helpers);
    for (; function != program.functions.end() && function->slot <= slot; ++function)
      each.function = &*function;
    for (; line != program.lines.end() && line->slot <= slot; ++line) each.line = &*line;
  }
  return listed;
}

std::string describe(const Object& object, const ObjectMap& map) {
  std::string text = fmt::format("{} '{}'", name_of(map.spec.kind), map.spec.name);
  text += described_part(object, "key", map.spec.key_size, map.key_type);
  text += described_part(object, "value", map.spec.value_size, map.value_type);
  text += fmt::format(", {} {}", map.spec.max_entries,
                      map.spec.kind == MapKind::ringbuf ? "bytes" : "entries");
  if (map.frozen) text += ", frozen";
  if (map.read_only && !map.frozen) text += ", programs only read it";
  if (map.by_name) text += ", shared by name";
  if (!map.kernel_field.empty()) text += fmt::format(", holds a {}", map.kernel_field);
  return text;
}

}  // namespace coppice::bpf
