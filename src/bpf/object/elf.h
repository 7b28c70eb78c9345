// bpf/object/elf.h — sections, symbols and relocations of an object file, looked at as they are
// read.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace coppice::bpf {

inline constexpr size_t kObjectBytesMax = 64 << 20;

// Kinds of relocations: of a 64-bit immediate, of a word or two of data, of a call.
inline constexpr u32 kRelocateImmediate = 1, kRelocateData64 = 2, kRelocateData32 = 3;
inline constexpr u32 kRelocateBtf32 = 4, kRelocateCall = 10;

// Why an object is refused, naming a place in it.
std::unexpected<Error> bad_object(Errc code, std::string_view section, u64 offset,
                                  const std::string& why);
std::unexpected<Error> bad_object(const std::string& why);

class ElfFile {
 public:
  static constexpr u32 kNameMax = 1024;  // Bytes of the name of a section or symbol.
  // As many as a file holds whose sections do not overlap.
  static constexpr size_t kRelocationsMax = kObjectBytesMax / 16;

  struct Section {
    std::string_view name;
    u64 size = 0;
    std::span<const std::byte> bytes;  // `size` of them; none if `zeroed`.
    u32 kind = 0;                      // SHT_...
    u64 flags = 0;                     // SHF_...
    u32 link = 0, info = 0;
    u64 entry_bytes = 0;
    bool zeroed = false;

    bool is_code() const;  // Not empty, and its programs can run.
    bool is_data()
        const;  // Global data: .data, .rodata, .bss and those with such a name and a dot.
    bool is_constant() const { return name.starts_with(".rodata"); }
  };
  struct Symbol {
    std::string_view name;  // Empty: that of a section.
    u64 value = 0;          // An offset in its section.
    u64 size = 0;
    u32 section = 0;  // kUndefined: another file's.
    bool is_function = false;
    bool is_section = false;
    bool is_local = false;  // To the file.
    bool is_weak = false;
    bool is_hidden = false;  // Global to the file only.
  };
  struct Relocation {
    u64 offset = 0;
    u32 kind = 0;
    u32 symbol = 0;
  };
  static constexpr u32 kUndefined = 0;

  // The file's bytes must live as long as this.
  static Result<ElfFile> read(std::span<const std::byte> bytes);

  std::span<const Section> sections() const { return sections_; }  // The first is none.
  const Section& section(u32 number) const;
  const Section* find(std::string_view name) const;
  u32 number_of(const Section& section) const {
    return static_cast<u32>(&section - sections_.data());
  }
  std::span<const Symbol> symbols() const { return symbols_; }
  std::span<const std::byte> symbol_names() const { return symbol_names_; }  // They lie in it.
  // Those of a section, by offset.
  std::span<const Relocation> relocations(u32 section) const;
  // For messages: "'name'", or of what has none the section.
  std::string describe(const Symbol& symbol) const;

 private:
  ElfFile() = default;
  Result<> read_sections(std::span<const std::byte> bytes);
  Result<Section> read_section(std::span<const std::byte> bytes, u64 header_at);
  Result<> name_sections(std::span<const u32> name_offsets, u32 names);
  Result<> read_symbols();
  Result<Symbol> read_symbol(const Section& table, u64 offset, const Section& names) const;
  Result<> read_relocations();
  Result<> read_relocations_of(const Section& section);

  std::vector<Section> sections_;
  std::vector<Symbol> symbols_;
  std::span<const std::byte> symbol_names_;
  std::vector<std::vector<Relocation>> relocations_;  // By section.
  size_t relocation_count_ = 0;
};

}  // namespace coppice::bpf
