#include "bpf/object/program_linker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace coppice::bpf {
namespace {

constexpr std::string_view kText = ".text";

// Of a list by offset, those of the function's bytes.
template <class Record>
std::span<const Record> within(std::span<const Record> records, u64 begin, u64 end) {
  const auto first = std::ranges::lower_bound(records, begin, {}, &Record::offset);
  const auto last = std::ranges::lower_bound(records, end, {}, &Record::offset);
  return {first, last};
}
template <class Record>
std::span<const Record> within(const std::map<std::string_view, std::vector<Record>>& lists,
                               std::string_view section, u64 begin, u64 end) {
  const auto list = lists.find(section);
  if (list == lists.end()) return {};
  return within(std::span<const Record>(list->second), begin, end);
}

}  // namespace

std::unexpected<Error> ProgramLinker::bad(const SectionFunction& function, size_t slot,
                                          const std::string& why, Errc code) const {
  return bad_object(code, section_of(function).name, function.begin() + slot * kSlotBytes,
                    fmt::format("function '{}', slot {}: {}", function.symbol->name, slot, why));
}

Result<> ProgramLinker::find_functions(const std::string& only) {
  for (const ElfFile::Symbol& symbol : from_.file.symbols()) {
    if (!symbol.is_function || symbol.section == ElfFile::kUndefined) continue;
    TRY_VOID(check_function(symbol));
    functions_.push_back({.symbol = &symbol});
  }
  std::ranges::sort(functions_, {}, [](const SectionFunction& each) {
    return std::pair(each.symbol->section, each.symbol->value);
  });
  for (size_t i = 1; i < functions_.size(); ++i) {
    const ElfFile::Symbol& before = *functions_[i - 1].symbol;
    const ElfFile::Symbol& symbol = *functions_[i].symbol;
    if (before.section == symbol.section && before.value + before.size > symbol.value)
      return bad_object(Errc::invalid, section_of(functions_[i]).name, symbol.value,
                        fmt::format("function '{}' overlaps with '{}'", symbol.name, before.name));
  }
  for (u32 i = 0; i < functions_.size(); ++i) {
    const ElfFile::Symbol& symbol = *functions_[i].symbol;
    if (!is_program(symbol) || (!only.empty() && only != symbol.name)) continue;
    if (programs_.size() == kProgramsMax)
      return fail(Errc::too_big, "cannot read the object",
                  fmt::format("it has more than {} programs", kProgramsMax));
    functions_[i].program = static_cast<u32>(programs_.size());
    programs_.push_back(i);
  }
  if (!only.empty() && programs_.empty())
    return fail(Errc::not_found, "cannot read the object",
                fmt::format("it has no program '{}'", only));
  return {};
}

Result<> ProgramLinker::check_function(const ElfFile::Symbol& symbol) const {
  const ElfFile::Section& section = from_.file.section(symbol.section);
  const auto bad_place = [&](const std::string& why) {
    return bad_object(Errc::invalid, section.name, symbol.value,
                      fmt::format("function '{}': {}", symbol.name, why));
  };
  if (!section.is_code()) return bad_place("this section is no code");
  if (symbol.name.empty()) return bad_place("it has no name");
  if (symbol.value % kSlotBytes != 0 || symbol.size % kSlotBytes != 0 || symbol.size == 0)
    return bad_place(fmt::format("{} bytes here are no instructions of 8", symbol.size));
  return {};
}

bool ProgramLinker::is_program(const ElfFile::Symbol& symbol) const {
  return !symbol.is_local && from_.file.section(symbol.section).name != kText;
}

Result<std::optional<u32>> ProgramLinker::find_program(const ElfFile::Symbol& symbol,
                                                       u64 addend) const {
  const auto at =
      std::ranges::lower_bound(functions_, std::pair(symbol.section, symbol.value + addend), {},
                               [](const SectionFunction& each) {
                                 return std::pair(each.symbol->section, each.symbol->value);
                               });
  if (at == functions_.end() || at->symbol->section != symbol.section ||
      at->symbol->value != symbol.value + addend || !is_program(*at->symbol))
    return fail(Errc::invalid, "cannot read the object",
                fmt::format("section '.maps' has the address of {}, which is no program",
                            from_.file.describe(symbol)));
  return at->program;
}

Result<u32> ProgramLinker::function_at(u32 section, u64 offset, const SectionFunction& from,
                                       size_t slot) const {
  const auto at = std::ranges::lower_bound(
      functions_, std::pair(section, offset), {}, [](const SectionFunction& each) {
        return std::pair(each.symbol->section, each.symbol->value);
      });
  if (at == functions_.end() || at->symbol->section != section || at->symbol->value != offset)
    return bad(from, slot,
               fmt::format("no function begins at {:#x} of section '{}'", offset,
                           from_.file.section(section).name));
  return static_cast<u32>(at - functions_.begin());
}

Result<> ProgramLinker::settle(u32 number) {
  SectionFunction& function = functions_[number];
  if (function.settled) return {};
  TRY_VOID(decode_slots(function));
  for (const auto& each :
       within(from_.file.relocations(function.symbol->section), function.begin(), function.end()))
    TRY_VOID(relocate(function, each));
  TRY_VOID(find_near_calls(function));
  TRY_VOID(relocate_types(function));
  function.settled = true;
  return {};
}

Result<> ProgramLinker::decode_slots(SectionFunction& function) {
  const auto bytes = section_of(function).bytes.subspan(function.begin(), function.symbol->size);
  auto decoded = decode(bytes);
  if (!decoded)
    return bad_object(
        decoded.error().code, section_of(function).name, function.begin(),
        fmt::format("function '{}', {}", function.symbol->name, decoded.error().detail));
  function.slots = *std::move(decoded);
  function.taken.assign(function.slots.size(), false);
  for (size_t i = 0; i < function.slots.size(); ++i) {
    const Instruction& in = function.slots[i];
    if (!in.is_wide()) continue;
    if (in.src != static_cast<u8>(Immediate::number))
      return bad(function, i,
                 fmt::format("source {} of a 64-bit immediate; in an object it is 0, "
                             "and a relocation says what is meant",
                             in.src));
    function.taken[++i] = true;
  }
  return {};
}

Result<> ProgramLinker::relocate(SectionFunction& function, const ElfFile::Relocation& relocation) {
  const size_t slot = (relocation.offset - function.begin()) / kSlotBytes;
  const ElfFile::Symbol& symbol = from_.file.symbols()[relocation.symbol];
  if (relocation.offset % kSlotBytes != 0 || function.taken[slot])
    return bad(function, slot,
               fmt::format("a relocation at {:#x} changes no instruction, or one "
                           "that another has changed",
                           relocation.offset));
  function.taken[slot] = true;
  if (relocation.kind == kRelocateImmediate && function.slots[slot].is_wide())
    return relocate_immediate(function, slot, symbol);
  const Instruction& in = function.slots[slot];
  if (relocation.kind == kRelocateCall && in.opcode == kOpcodeCall &&
      in.src == static_cast<u8>(Callee::local))
    return relocate_call(function, slot, symbol);
  return bad(function, slot,
             fmt::format("a relocation of kind {} at an instruction of opcode "
                         "{:#04x}",
                         relocation.kind, in.opcode));
}

Result<> ProgramLinker::relocate_immediate(SectionFunction& function, size_t slot,
                                           const ElfFile::Symbol& symbol) {
  std::span<Instruction> in = std::span(function.slots).subspan(slot, 2);
  const u64 addend = static_cast<u32>(in[0].imm) | u64{static_cast<u32>(in[1].imm)} << 32;
  if (symbol.section == ElfFile::kUndefined) {
    // What is weak may be missing: then its address is 0, which the program can ask about.
    if (symbol.is_weak) return {};
    return bad(function, slot,
               fmt::format("it takes the address of {}, which is not in the object; there are no "
                           "variables of a kernel here",
                           from_.file.describe(symbol)),
               Errc::unsupported);
  }
  if (from_.file.section(symbol.section).is_code()) {
    TRY(const u32 target, function_at(symbol.section, symbol.value + addend, function, slot));
    in[0] = {.opcode = kOpcodeLoadImm64, .dst = in[0].dst, .src = static_cast<u8>(Immediate::code)};
    in[1] = {};
    function.references.push_back({.slot = slot, .kind = Reference::Kind::code, .target = target});
    return {};
  }
  if (!from_.maps.has(symbol.section))
    return bad(function, slot,
               fmt::format("it takes the address of {}, and section '{}' is neither maps nor data",
                           from_.file.describe(symbol), from_.file.section(symbol.section).name));
  auto place = from_.maps.place_of(symbol, addend);
  if (!place) return std::unexpected(std::move(place).error());
  const auto kind = place->is_value ? Immediate::map_value : Immediate::map;
  in[0] = {.opcode = kOpcodeLoadImm64,
           .dst = in[0].dst,
           .src = static_cast<u8>(kind),
           .imm = static_cast<i32>(place->map)};
  in[1] = {.imm = static_cast<i32>(place->offset)};
  return {};
}

Result<> ProgramLinker::relocate_call(SectionFunction& function, size_t slot,
                                      const ElfFile::Symbol& symbol) {
  Instruction& in = function.slots[slot];
  if (symbol.section == ElfFile::kUndefined) {
    if (!symbol.is_weak)
      return bad(function, slot,
                 fmt::format("it calls {}, which is not in the object; functions of a kernel are "
                             "not offered here, only helpers",
                             from_.file.describe(symbol)),
                 Errc::unsupported);
    in = {.opcode = kOpcodeCall, .imm = kUnsatisfied};
    return {};
  }
  if (!from_.file.section(symbol.section).is_code())
    return bad(function, slot,
               fmt::format("it calls {}, which is no code", from_.file.describe(symbol)));
  const u64 offset = symbol.value + static_cast<u64>(i64{in.imm} + 1) * kSlotBytes;
  TRY(const u32 target, function_at(symbol.section, offset, function, slot));
  function.references.push_back({.slot = slot, .kind = Reference::Kind::call, .target = target});
  return {};
}

// Calls within a section need no relocation.
Result<> ProgramLinker::find_near_calls(SectionFunction& function) {
  for (size_t i = 0; i < function.slots.size(); ++i) {
    const Instruction& in = function.slots[i];
    if (function.taken[i] || in.opcode != kOpcodeCall || in.src != static_cast<u8>(Callee::local))
      continue;
    const u64 offset =
        function.begin() + static_cast<u64>(static_cast<i64>(i) + 1 + in.imm) * kSlotBytes;
    TRY(const u32 target, function_at(function.symbol->section, offset, function, i));
    function.references.push_back({.slot = i, .kind = Reference::Kind::call, .target = target});
    function.taken[i] = true;
  }
  return {};
}

Result<> ProgramLinker::relocate_types(SectionFunction& function) {
  const auto records =
      within(from_.extension.cores, section_of(function).name, function.begin(), function.end());
  for (const CoreRecord& each : records) {
    CHECK(from_.resolver != nullptr);  // Records come with BTF.
    const size_t slot = (each.offset - function.begin()) / kSlotBytes;
    if (function.taken[slot])
      return bad(function, slot,
                 "a CO-RE relocation changes no instruction, or one that another has changed");
    function.taken[slot] = true;
    function.relocated = true;
    if (auto done = from_.resolver->relocate(each, function.slots, slot); !done)
      return bad(function, slot, done.error().detail, done.error().code);
  }
  return {};
}

Result<std::vector<ObjectProgram>> ProgramLinker::link_programs() {
  std::vector<ObjectProgram> programs;
  for (const u32 each : programs_) {
    TRY(ObjectProgram program, link(each));
    programs.push_back(std::move(program));
  }
  return programs;
}

Result<ObjectProgram> ProgramLinker::link(u32 number) {
  TRY(const Placement placement, place(number));
  const SectionFunction& function = functions_[number];
  auto program = Program::make(copy_slots(placement));
  if (!program)
    return bad_object(program.error().code, section_of(function).name, function.begin(),
                      fmt::format("program '{}', with its subprograms behind it: {}",
                                  function.symbol->name, program.error().detail));
  ObjectProgram linked{.name = std::string(function.symbol->name),
                       .section = std::string(section_of(function).name),
                       .program = *std::move(program),
                       .functions = {},
                       .lines = {}};
  describe(placement, linked);
  return linked;
}

Result<ProgramLinker::Placement> ProgramLinker::place(u32 number) {
  Placement placement;
  const auto add = [&](u32 each) -> Result<> {
    if (!placement.begins.try_emplace(each, placement.slots).second) return {};
    const size_t count = functions_[each].slot_count();
    placement.order.push_back(each);
    placement.slots += count;
    slots_linked_ += count;
    if (placement.slots > kSlotsMax || slots_linked_ > kObjectSlotsMax)
      return bad(functions_[number], 0,
                 fmt::format("with its subprograms it has more than {} slots, or all programs have "
                             "more than {}",
                             kSlotsMax, kObjectSlotsMax),
                 Errc::too_big);
    return {};
  };
  TRY_VOID(add(number));
  for (size_t i = 0; i < placement.order.size(); ++i) {
    const u32 each = placement.order[i];
    TRY_VOID(settle(each));
    for (const Reference& reference : functions_[each].references) TRY_VOID(add(reference.target));
  }
  return placement;
}

std::vector<Instruction> ProgramLinker::copy_slots(const Placement& placement) const {
  std::vector<Instruction> slots;
  slots.reserve(placement.slots);
  for (const u32 each : placement.order) {
    const SectionFunction& function = functions_[each];
    const size_t begin = slots.size();
    CHECK(begin == placement.begins.at(each));
    slots.insert(slots.end(), function.slots.begin(), function.slots.end());
    for (const Reference& reference : function.references) {
      const size_t at = begin + reference.slot;
      const size_t target = placement.begins.at(reference.target);
      slots[at].imm = static_cast<i32>(static_cast<i64>(target) - static_cast<i64>(at) - 1);
    }
  }
  CHECK(slots.size() == placement.slots);
  return slots;
}

void ProgramLinker::describe(const Placement& placement, ObjectProgram& program) const {
  size_t slot = 0;
  for (const u32 each : placement.order) {
    program.functions.push_back(function_of(each, slot));
    add_lines(each, slot, program.lines);
    program.relocated = program.relocated || functions_[each].relocated;
    slot += functions_[each].slot_count();
  }
}

Function ProgramLinker::function_of(u32 number, size_t slot) const {
  const SectionFunction& function = functions_[number];
  const ElfFile::Symbol& symbol = *function.symbol;
  Function described{.slot = static_cast<u32>(slot),
                     .name = symbol.name,
                     .global = !symbol.is_local && !symbol.is_hidden};
  const auto records = within(from_.extension.functions, section_of(function).name,
                              function.begin(), function.begin() + 1);
  if (!records.empty()) {
    described.type = records[0].type;
  } else if (from_.btf != nullptr) {
    described.type = from_.btf->find(symbol.name, Btf::Kind::function).value_or(0);
  }
  return described;
}

void ProgramLinker::add_lines(u32 number, size_t slot, std::vector<Line>& lines) const {
  const SectionFunction& function = functions_[number];
  const auto records =
      within(from_.extension.lines, section_of(function).name, function.begin(), function.end());
  const bool begins = !records.empty() && records[0].offset == function.begin();
  // The line of the function before does not hold here.
  if (!begins && !lines.empty()) lines.push_back({.slot = static_cast<u32>(slot)});
  for (const LineRecord& each : records) {
    lines.push_back({.slot = static_cast<u32>(slot + (each.offset - function.begin()) / kSlotBytes),
                     .file = each.file,
                     .line = each.line,
                     .column = each.column,
                     .text = each.text});
  }
}

}  // namespace coppice::bpf
