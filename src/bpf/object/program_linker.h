// bpf/object/program_linker.h — makes whole programs of the functions in an object's sections.
//
// Theory. A function is a symbol: a run of slots in a section of code. It is settled once, when the
// first program reaches it: decoded, its relocations turned into references (to other functions,
// maps, values of maps), its CO-RE relocations answered. A program is its function and, behind it,
// those that are reached from it, breadth first, each once; then references become distances.
// Functions that no program reaches are not looked at. The sum of all programs is bounded before
// anything is copied, because a few functions can be part of very many programs.
#pragma once

#include <map>

#include "bpf/object/btf_extension.h"
#include "bpf/object/core_relocation.h"
#include "bpf/object/map_reader.h"

namespace coppice::bpf {

class ProgramLinker {
 public:
  // What there is of the two is the object's; all live as long as this.
  struct Sources {
    const ElfFile& file;
    const Btf* btf;
    const BtfExtension& extension;
    CoreResolver* resolver;  // Null if there is no BTF.
    MapReader& maps;
  };
  explicit ProgramLinker(const Sources& sources) : from_(sources) {}

  // Finds the functions, and which of them are programs: all, or the one of that name.
  Result<> find_functions(const std::string& only);
  Result<std::vector<ObjectProgram>> link_programs();
  // The number among the programs; nothing: it is one of those that were not asked for.
  Result<std::optional<u32>> find_program(const ElfFile::Symbol& symbol, u64 addend) const;

 private:
  struct Reference {
    size_t slot = 0;  // In its function.
    enum class Kind : u8 { call, code, map, value } kind = Kind::call;
    u32 target = 0;  // A function or a map.
    u32 offset = 0;  // In a value.
  };
  struct SectionFunction {
    const ElfFile::Symbol* symbol = nullptr;
    std::optional<u32> program = {};
    bool settled = false;
    bool relocated = false;  // By the host's types.
    std::vector<Instruction> slots = {};
    std::vector<bool> taken = {};  // Slots that are second halves, or already relocated.
    std::vector<Reference> references = {};

    u64 begin() const { return symbol->value; }
    u64 end() const { return symbol->value + symbol->size; }
    size_t slot_count() const { return symbol->size / kSlotBytes; }
  };
  // Where each function of a program begins, in the order of their slots.
  struct Placement {
    std::vector<u32> order;
    std::map<u32, size_t> begins;
    size_t slots = 0;
  };

  Result<> check_function(const ElfFile::Symbol& symbol) const;
  bool is_program(const ElfFile::Symbol& symbol) const;
  Result<u32> function_at(u32 section, u64 offset, const SectionFunction& from, size_t slot) const;

  Result<> settle(u32 number);
  Result<> decode_slots(SectionFunction& function);
  Result<> relocate(SectionFunction& function, const ElfFile::Relocation& relocation);
  Result<> relocate_immediate(SectionFunction& function, size_t slot,
                              const ElfFile::Symbol& symbol);
  Result<> relocate_call(SectionFunction& function, size_t slot, const ElfFile::Symbol& symbol);
  Result<> find_near_calls(SectionFunction& function);
  Result<> relocate_types(SectionFunction& function);

  Result<ObjectProgram> link(u32 number);
  Result<Placement> place(u32 number);
  std::vector<Instruction> copy_slots(const Placement& placement) const;
  void describe(const Placement& placement, ObjectProgram& program) const;
  Function function_of(u32 number, size_t slot) const;
  void add_lines(u32 number, size_t slot, std::vector<Line>& lines) const;

  const ElfFile::Section& section_of(const SectionFunction& function) const {
    return from_.file.section(function.symbol->section);
  }
  std::unexpected<Error> bad(const SectionFunction& function, size_t slot, const std::string& why,
                             Errc code = Errc::invalid) const;

  Sources from_;
  std::vector<SectionFunction> functions_;  // By section, then by offset.
  std::vector<u32> programs_;               // Functions.
  size_t slots_linked_ = 0;
};

}  // namespace coppice::bpf
