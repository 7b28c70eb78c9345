#include "bpf/object/elf.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace coppice::bpf {
namespace {

// `offset` was held against the size of `bytes`.
template <class T>
T copy_at(std::span<const std::byte> bytes, u64 offset) {
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::unexpected<Error> bad_file(u64 offset, const std::string& why) {
  return bad_object(fmt::format("offset {:#x} of the file: {}", offset, why));
}

// The string at `offset` of a table; nothing if it does not end in it, or is too long.
std::optional<std::string_view> string_in(std::span<const std::byte> table, u64 offset) {
  if (offset >= table.size()) return std::nullopt;
  const char* text = reinterpret_cast<const char*>(table.data()) + offset;
  const size_t room = std::min<u64>(table.size() - offset, ElfFile::kNameMax + 1);
  const size_t length = ::strnlen(text, room);
  if (length == room) return std::nullopt;
  return std::string_view(text, length);
}

Result<Elf64_Ehdr> read_header(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(Elf64_Ehdr))
    return bad_file(0, fmt::format("{} bytes are no header of an ELF file", bytes.size()));
  const auto header = copy_at<Elf64_Ehdr>(bytes, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return bad_file(0, "this is no ELF file; objects are what `clang -target bpf -c` writes");
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return bad_file(EI_CLASS, "it is not of 64 bits");
  if (header.e_ident[EI_DATA] != ELFDATA2LSB)
    return bad_file(EI_DATA, "it is not little-endian: compile with -target bpfel");
  if (header.e_type != ET_REL)
    return bad_file(
        offsetof(Elf64_Ehdr, e_type),
        fmt::format("its type is {}; an object that can be linked has {}", header.e_type, ET_REL));
  if (header.e_machine != EM_BPF)
    return bad_file(offsetof(Elf64_Ehdr, e_machine),
                    fmt::format("it is for machine {}; eBPF is {}: compile with -target bpf",
                                header.e_machine, EM_BPF));
  if (header.e_shentsize != sizeof(Elf64_Shdr))
    return bad_file(offsetof(Elf64_Ehdr, e_shentsize),
                    fmt::format("section headers of {} bytes; they have {}", header.e_shentsize,
                                sizeof(Elf64_Shdr)));
  return header;
}

}  // namespace

std::unexpected<Error> bad_object(Errc code, std::string_view section, u64 offset,
                                  const std::string& why) {
  std::string text = fmt::format("section '{}', offset {:#x}: {}", section, offset, why);
  // Names are the object's, and a message is one line.
  for (char& each : text) {
    if (static_cast<unsigned char>(each) < ' ' || each == 0x7f) each = '?';
  }
  return fail(code, "cannot read the object", std::move(text));
}

std::unexpected<Error> bad_object(const std::string& why) {
  return fail(Errc::invalid, "cannot read the object", why);
}

bool ElfFile::Section::is_code() const {
  return kind == SHT_PROGBITS && (flags & SHF_EXECINSTR) != 0 && size > 0;
}

bool ElfFile::Section::is_data() const {
  if (kind != SHT_PROGBITS && kind != SHT_NOBITS) return false;
  if ((flags & SHF_ALLOC) == 0 || (flags & SHF_EXECINSTR) != 0) return false;
  for (const std::string_view each : {".data", ".rodata", ".bss"}) {
    if (name.starts_with(each) && (name.size() == each.size() || name[each.size()] == '.'))
      return true;
  }
  return false;
}

Result<ElfFile> ElfFile::read(std::span<const std::byte> bytes) {
  ElfFile file;
  TRY_VOID(file.read_sections(bytes));
  TRY_VOID(file.read_symbols());
  TRY_VOID(file.read_relocations());
  return file;
}

const ElfFile::Section& ElfFile::section(u32 number) const {
  CHECK(number < sections_.size());
  return sections_[number];
}

const ElfFile::Section* ElfFile::find(std::string_view name) const {
  const auto at = std::ranges::find(sections_, name, &Section::name);
  return at == sections_.end() ? nullptr : &*at;
}

std::span<const ElfFile::Relocation> ElfFile::relocations(u32 section) const {
  CHECK(section < relocations_.size());
  return relocations_[section];
}

std::string ElfFile::describe(const Symbol& symbol) const {
  if (!symbol.name.empty()) return fmt::format("'{}'", symbol.name);
  return fmt::format("section '{}'", section(symbol.section).name);
}

Result<> ElfFile::read_sections(std::span<const std::byte> bytes) {
  TRY(const auto header, read_header(bytes));
  const u64 count = header.e_shnum;
  if (count == 0) return bad_file(offsetof(Elf64_Ehdr, e_shnum), "it has no sections");
  if (header.e_shoff > bytes.size() || count * sizeof(Elf64_Shdr) > bytes.size() - header.e_shoff)
    return bad_file(offsetof(Elf64_Ehdr, e_shoff),
                    fmt::format("{} section headers at {:#x} reach behind the {} bytes of the file",
                                count, header.e_shoff, bytes.size()));
  std::vector<u32> name_offsets;
  for (u64 i = 0; i < count; ++i) {
    const u64 at = header.e_shoff + i * sizeof(Elf64_Shdr);
    name_offsets.push_back(copy_at<Elf64_Shdr>(bytes, at).sh_name);
    TRY(Section section, read_section(bytes, at));
    sections_.push_back(section);
  }
  return name_sections(name_offsets, header.e_shstrndx);
}

Result<ElfFile::Section> ElfFile::read_section(std::span<const std::byte> bytes, u64 header_at) {
  const auto header = copy_at<Elf64_Shdr>(bytes, header_at);
  Section section{.name = {},
                  .size = header.sh_size,
                  .bytes = {},
                  .kind = header.sh_type,
                  .flags = header.sh_flags,
                  .link = header.sh_link,
                  .info = header.sh_info,
                  .entry_bytes = header.sh_entsize,
                  .zeroed = header.sh_type == SHT_NOBITS};
  if (section.kind == SHT_NULL) return Section{};
  if (section.zeroed) return section;
  if (header.sh_offset > bytes.size() || header.sh_size > bytes.size() - header.sh_offset)
    return bad_file(header_at,
                    fmt::format("section {} of {} bytes at {:#x} reaches behind the {} bytes of "
                                "the file",
                                sections_.size(), header.sh_size, header.sh_offset, bytes.size()));
  section.bytes = bytes.subspan(header.sh_offset, header.sh_size);
  return section;
}

Result<> ElfFile::name_sections(std::span<const u32> name_offsets, u32 names) {
  if (names >= sections_.size() || sections_[names].kind != SHT_STRTAB)
    return bad_file(offsetof(Elf64_Ehdr, e_shstrndx),
                    fmt::format("section {} does not hold the names of sections", names));
  for (size_t i = 1; i < sections_.size(); ++i) {
    const auto name = string_in(sections_[names].bytes, name_offsets[i]);
    if (!name)
      return bad_object(
          fmt::format("section {}: its name at {:#x} does not end in the table of "
                      "names, or not within {} bytes",
                      i, name_offsets[i], kNameMax));
    sections_[i].name = *name;
  }
  return {};
}

Result<> ElfFile::read_symbols() {
  const auto table = std::ranges::find(sections_, u32{SHT_SYMTAB}, &Section::kind);
  if (table == sections_.end()) return bad_object("it has no symbols: was it stripped?");
  if (table->entry_bytes != sizeof(Elf64_Sym) || table->size % sizeof(Elf64_Sym) != 0)
    return bad_object(Errc::invalid, table->name, 0,
                      fmt::format("{} bytes are no symbols of {}, as entries of {} bytes",
                                  table->size, sizeof(Elf64_Sym), table->entry_bytes));
  if (table->link >= sections_.size() || sections_[table->link].kind != SHT_STRTAB)
    return bad_object(Errc::invalid, table->name, 0,
                      fmt::format("section {} does not hold the names of symbols", table->link));
  symbol_names_ = sections_[table->link].bytes;
  for (u64 at = 0; at < table->size; at += sizeof(Elf64_Sym)) {
    TRY(Symbol symbol, read_symbol(*table, at, sections_[table->link]));
    symbols_.push_back(symbol);
  }
  return {};
}

Result<ElfFile::Symbol> ElfFile::read_symbol(const Section& table, u64 offset,
                                             const Section& names) const {
  const auto entry = copy_at<Elf64_Sym>(table.bytes, offset);
  const auto bad = [&](const std::string& why) {
    return bad_object(Errc::invalid, table.name, offset, why);
  };
  const u32 type = ELF64_ST_TYPE(entry.st_info), binding = ELF64_ST_BIND(entry.st_info);
  const u32 visibility = ELF64_ST_VISIBILITY(entry.st_other);
  Symbol symbol{.name = {},
                .value = entry.st_value,
                .size = entry.st_size,
                .section = entry.st_shndx,
                .is_function = type == STT_FUNC,
                .is_section = type == STT_SECTION,
                .is_local = binding == STB_LOCAL,
                .is_weak = binding == STB_WEAK,
                .is_hidden = visibility == STV_HIDDEN || visibility == STV_INTERNAL};
  const auto name = string_in(names.bytes, entry.st_name);
  if (!name && entry.st_name != 0)
    return bad(fmt::format("its name at {:#x} does not end in section '{}', or not within {} bytes",
                           entry.st_name, names.name, kNameMax));
  symbol.name = name.value_or(std::string_view{});
  // A name for the file itself has such a number, and nothing refers to it.
  if (symbol.section >= SHN_LORESERVE) {
    if (symbol.section != SHN_ABS)
      return bad(fmt::format("symbol '{}' lies in no section (number {:#x})", symbol.name,
                             symbol.section));
    symbol.section = kUndefined;
    return symbol;
  }
  if (symbol.section >= sections_.size())
    return bad(fmt::format("symbol '{}' lies in section {}, of {}", symbol.name, symbol.section,
                           sections_.size()));
  const Section& in = sections_[symbol.section];
  if (symbol.section != kUndefined &&
      (symbol.value > in.size || symbol.size > in.size - symbol.value))
    return bad(
        fmt::format("symbol '{}', {} bytes at {:#x}, reaches behind the {} bytes of section "
                    "'{}'",
                    symbol.name, symbol.size, symbol.value, in.size, in.name));
  return symbol;
}

Result<> ElfFile::read_relocations() {
  relocations_.resize(sections_.size());
  for (const Section& section : sections_) {
    if (section.kind == SHT_REL || section.kind == SHT_RELA) TRY_VOID(read_relocations_of(section));
  }
  for (auto& each : relocations_) std::ranges::sort(each, {}, &Relocation::offset);
  return {};
}

Result<> ElfFile::read_relocations_of(const Section& section) {
  const auto bad = [&](u64 offset, const std::string& why) {
    return bad_object(Errc::invalid, section.name, offset, why);
  };
  if (section.info >= sections_.size())
    return bad(0, fmt::format("it relocates section {}, of {}", section.info, sections_.size()));
  // Nobody reads debug information here.
  const Section& target = sections_[section.info];
  if ((target.flags & SHF_ALLOC) == 0 && target.name != ".BTF") return {};
  if (section.kind == SHT_RELA)
    return bad_object(Errc::unsupported, section.name, 0,
                      "relocations with addends, which no compiler for eBPF writes");
  if (section.entry_bytes != sizeof(Elf64_Rel) || section.size % sizeof(Elf64_Rel) != 0)
    return bad(0, fmt::format("{} bytes are no relocations of {}, as entries of {} bytes",
                              section.size, sizeof(Elf64_Rel), section.entry_bytes));
  relocation_count_ += section.size / sizeof(Elf64_Rel);
  if (relocation_count_ > kRelocationsMax)
    return bad_object(Errc::too_big, section.name, 0,
                      fmt::format("more than {} relocations", kRelocationsMax));
  for (u64 at = 0; at < section.size; at += sizeof(Elf64_Rel)) {
    const auto entry = copy_at<Elf64_Rel>(section.bytes, at);
    const u64 symbol = ELF64_R_SYM(entry.r_info);
    if (symbol >= symbols_.size())
      return bad(at, fmt::format("it names symbol {}, of {}", symbol, symbols_.size()));
    if (entry.r_offset >= target.size)
      return bad(at, fmt::format("it changes offset {:#x}, behind the {} bytes of section '{}'",
                                 entry.r_offset, target.size, target.name));
    relocations_[section.info].push_back({.offset = entry.r_offset,
                                          .kind = static_cast<u32>(ELF64_R_TYPE(entry.r_info)),
                                          .symbol = static_cast<u32>(symbol)});
  }
  return {};
}

}  // namespace coppice::bpf
