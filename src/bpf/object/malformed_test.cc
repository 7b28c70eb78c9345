// Objects that are wrong: each is a good one of clang's with one thing changed, and the error says
// where. Whatever bytes change, nothing but an error comes of it.
#include <elf.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "base/check.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/object/listing.h"
#include "bpf/testing/objects.h"

namespace coppice::bpf {
namespace {

using testing::HasSubstr;

// The bytes of an object, and where in them its parts are.
class Image {
 public:
  explicit Image(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  template <class T>
  T get(u64 offset) const {
    CHECK(offset + sizeof(T) <= bytes_.size());
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  template <class T>
  void put(u64 offset, T value) {
    CHECK(offset + sizeof(T) <= bytes_.size());
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }
  u64 header(std::string_view section) const {
    const auto elf = get<Elf64_Ehdr>(0);
    const u64 names = get<Elf64_Shdr>(elf.e_shoff + elf.e_shstrndx * sizeof(Elf64_Shdr)).sh_offset;
    for (u64 i = 0; i < elf.e_shnum; ++i) {
      const u64 at = elf.e_shoff + i * sizeof(Elf64_Shdr);
      const char* name =
          reinterpret_cast<const char*>(bytes_.data()) + names + get<Elf64_Shdr>(at).sh_name;
      if (section == name) return at;
    }
    CHECK(false);
  }
  u64 at(std::string_view section, u64 offset = 0) const {
    return get<Elf64_Shdr>(header(section)).sh_offset + offset;
  }
  u64 symbol(std::string_view wanted) const {
    const auto table = get<Elf64_Shdr>(header(".symtab"));
    const u64 names = at(".strtab");
    for (u64 i = 0; i < table.sh_size; i += sizeof(Elf64_Sym)) {
      const u64 entry = table.sh_offset + i;
      const char* name =
          reinterpret_cast<const char*>(bytes_.data()) + names + get<Elf64_Sym>(entry).st_name;
      if (wanted == name) return entry;
    }
    CHECK(false);
  }
  // Where in the code of `section` the n-th relocation of that kind points.
  u64 relocated(std::string_view section, u32 kind, std::string_view symbol_name) const {
    const auto table = get<Elf64_Shdr>(header(fmt::format(".rel{}", section)));
    const u64 wanted = (symbol(symbol_name) - at(".symtab")) / sizeof(Elf64_Sym);
    for (u64 i = 0; i < table.sh_size; i += sizeof(Elf64_Rel)) {
      const auto entry = get<Elf64_Rel>(table.sh_offset + i);
      if (ELF64_R_TYPE(entry.r_info) == kind && ELF64_R_SYM(entry.r_info) == wanted)
        return at(section, entry.r_offset);
    }
    CHECK(false);
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

#define PUT_ELF(field, value)                                                                      \
  [](Image& i) {                                                                                   \
    i.put(offsetof(Elf64_Ehdr, field), static_cast<decltype(Elf64_Ehdr::field)>(value));           \
  }
#define PUT_SECTION(name, field, value)                                                            \
  [](Image& i) {                                                                                   \
    i.put(i.header(name) + offsetof(Elf64_Shdr, field),                                            \
          static_cast<decltype(Elf64_Shdr::field)>(value));                                        \
  }
#define PUT_SYMBOL(name, field, value)                                                             \
  [](Image& i) {                                                                                   \
    i.put(i.symbol(name) + offsetof(Elf64_Sym, field),                                             \
          static_cast<decltype(Elf64_Sym::field)>(value));                                         \
  }
#define PUT(type, place, value) [](Image& i) { i.put<type>(place, value); }

struct Wrong {
  const char* words;
  std::function<void(Image&)> change;
};

void expect_refusals(const char* object, std::span<const Wrong> cases) {
  for (const Wrong& each : cases) {
    SCOPED_TRACE(each.words);
    Image image(object_bytes(object, {}));
    each.change(image);
    const auto read = Object::read(image.bytes(), {.own_types = true});
    ASSERT_FALSE(read.has_value());
    EXPECT_THAT(describe(read.error()), HasSubstr(each.words));
  }
}

TEST(Malformed, FilesAreRefused) {
  const Wrong cases[] = {
      {"offset 0x0 of the file: 10 bytes are no header", [](Image& i) { i.bytes().resize(10); }},
      {"offset 0x0 of the file: this is no ELF file", PUT(u8, 1, 'e')},
      {"offset 0x4 of the file: it is not of 64 bits", PUT(u8, EI_CLASS, ELFCLASS32)},
      {"offset 0x5 of the file: it is not little-endian", PUT(u8, EI_DATA, ELFDATA2MSB)},
      {"offset 0x10 of the file: its type is 2", PUT_ELF(e_type, ET_EXEC)},
      {"offset 0x12 of the file: it is for machine 62", PUT_ELF(e_machine, EM_X86_64)},
      {"section headers of 32 bytes", PUT_ELF(e_shentsize, 32)},
      {"it has no sections", PUT_ELF(e_shnum, 0)},
      {"section headers at 0xffffffffffffff00 reach behind", PUT_ELF(e_shoff, ~u64{0xff})},
      {"65535 section headers", PUT_ELF(e_shnum, 65535)},
      {"section 999 does not hold the names of sections", PUT_ELF(e_shstrndx, 999)},
      {"reaches behind the", PUT_SECTION(".BTF", sh_offset, ~u64{0})},
      {"reaches behind the", PUT_SECTION(".BTF", sh_size, ~u64{0})},
      {"its name at 0xffffff does not end", PUT_SECTION(".BTF", sh_name, 0xffffff)},
      {"it has no symbols", PUT_SECTION(".symtab", sh_type, SHT_PROGBITS)},
      {"section '.symtab', offset 0x0:", PUT_SECTION(".symtab", sh_entsize, 7)},
      {"does not hold the names of symbols", PUT_SECTION(".symtab", sh_link, 1 << 20)},
      {"section '.data.apart', offset 0x0: global data of 1048577 bytes",
       [](Image& i) {
         i.put<u32>(i.header(".data.apart") + offsetof(Elf64_Shdr, sh_type), SHT_NOBITS);
         i.put<u64>(i.header(".data.apart") + offsetof(Elf64_Shdr, sh_size), (1 << 20) + 1);
       }},
      {"section '.data', offset 0x0: a second section of this name",
       [](Image& i) { i.put(i.header(".data.apart"), i.get<u32>(i.header(".data"))); }},
      {"section 'version', offset 0x0: a version of 3 bytes",
       [](Image& i) {
         i.put<u64>(i.header("version") + offsetof(Elf64_Shdr, sh_size), 3);
         i.put<u64>(i.symbol("version_") + offsetof(Elf64_Sym, st_size), 3);
       }},
      {"section 'license', offset 0x0: a text of more than",
       [](Image& i) {
         i.put<u64>(i.header("license") + offsetof(Elf64_Shdr, sh_size), 300);
         std::memset(i.bytes().data() + i.at("license"), 'x', 300);
       }},
      {"section '.maps', offset 0x0: nothing says what these maps are: compile with -g",
       [](Image& i) { i.put(i.header(".BTF"), i.get<u32>(i.header(".BTF")) + 1); }},
  };
  expect_refusals("counters", cases);
}

TEST(Malformed, SymbolsAreRefused) {
  const Wrong cases[] = {
      {"section '.symtab', offset 0x", PUT_SYMBOL("calls", st_name, 0xffffff)},
      {"symbol 'calls' lies in section 9999", PUT_SYMBOL("calls", st_shndx, 9999)},
      {"symbol 'calls' lies in no section (number 0xfff2)",
       PUT_SYMBOL("calls", st_shndx, SHN_COMMON)},
      {"reaches behind the 8 bytes of section '.bss'", PUT_SYMBOL("calls", st_value, 9)},
      {"reaches behind the 8 bytes of section '.bss'", PUT_SYMBOL("calls", st_size, ~u64{0})},
      {"function 'scale': 0 bytes here are no instructions", PUT_SYMBOL("scale", st_size, 0)},
      {"function 'scale': 12 bytes here", PUT_SYMBOL("scale", st_size, 12)},
      {"overlaps with",
       [](Image& i) {
         const u64 size = i.symbol("scale") + offsetof(Elf64_Sym, st_size);
         i.put(size, i.get<u64>(size) + 8);
       }},
      {"it has no name", PUT_SYMBOL("scale", st_name, 0)},
      {"function 'calls': this section is no code",
       PUT_SYMBOL("calls", st_info, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC))},
      {"it calls 'scale', which is not in the object", PUT_SYMBOL("scale", st_shndx, 0)},
      {"it takes the address of 'calls', which is not in the object",
       PUT_SYMBOL("calls", st_shndx, 0)},
      {"it takes the address of 'calls', and section 'license' is neither maps nor data",
       [](Image& i) {
         const auto license = i.get<Elf64_Sym>(i.symbol("license_"));
         i.put(i.symbol("calls") + offsetof(Elf64_Sym, st_shndx), license.st_shndx);
       }},
      {"which is no program",
       PUT_SYMBOL("finish_late", st_info, ELF64_ST_INFO(STB_LOCAL, STT_FUNC))},
  };
  expect_refusals("counters", cases);
}

TEST(Malformed, RelocationsAreRefused) {
  const Wrong cases[] = {
      {"section '.relcount', offset 0x0: it relocates section 9999",
       PUT_SECTION(".relcount", sh_info, 9999)},
      {"section '.relcount', offset 0x0: relocations with addends",
       PUT_SECTION(".relcount", sh_type, SHT_RELA)},
      {"section '.relcount', offset 0x0:", PUT_SECTION(".relcount", sh_entsize, 24)},
      {"section '.relcount', offset 0x0: it names symbol 1048575",
       PUT(u32, i.at(".relcount", 12), (1 << 20) - 1)},
      {"section '.relcount', offset 0x10: it changes offset 0xffff",
       PUT(u64, i.at(".relcount", 16), 0xffff)},
      {"changes no instruction",
       [](Image& i) {
         const u64 at = i.at(".relcount");
         i.put(at, i.get<u64>(at) + 8);
       }},
      {"changes no instruction",
       [](Image& i) {
         const u64 at = i.at(".relcount");
         i.put(at, i.get<u64>(at) + 4);
       }},
      {"changes no instruction, or one that another has changed",
       [](Image& i) { i.put(i.at(".relcount", 16), i.get<u64>(i.at(".relcount"))); }},
      {"a relocation of kind 2 at an instruction of opcode 0x18",
       PUT(u32, i.at(".relcount", 8), kRelocateData64)},
      {"a relocation of kind 10 at an instruction of opcode 0x18",
       PUT(u32, i.at(".relcount", 8), kRelocateCall)},
      {"'.bss', offset 0x9: 'calls' and 9 bytes lies behind its 8 bytes",
       PUT(i32, i.relocated("count", kRelocateImmediate, "calls") + 4, 9)},
      {"lies behind its 8 bytes",
       PUT(i32, i.relocated("count", kRelocateImmediate, "calls") + 12, -1)},
      {"no map begins here", PUT(i32, i.relocated("count", kRelocateImmediate, "counts") + 4, 1)},
      {"function 'sum_by_calls', slot",
       PUT(i32, i.relocated("sums", kRelocateCall, "scale_twice") + 4, 5)},
      {"value 1 of map 'next': it is no address",
       PUT(u32, i.at(".rel.maps", 8), kRelocateImmediate)},
      {"value 1 of map 'next': it is no address",
       [](Image& i) {
         const u64 at = i.at(".rel.maps");
         i.put(at, i.get<u64>(at) + 1);
       }},
      {"section '.maps' has the address of 'finish', which is no program",
       [](Image& i) { i.put<u64>(i.at(".maps", i.get<u64>(i.at(".rel.maps"))), 8); }},
      {"section '.data', offset 0x0: global data has an address here",
       [](Image& i) {
         const auto elf = i.get<Elf64_Ehdr>(0);
         i.put<u32>(i.header(".relreport") + offsetof(Elf64_Shdr, sh_info),
                    static_cast<u32>((i.header(".data") - elf.e_shoff) / sizeof(Elf64_Shdr)));
         i.put<u64>(i.at(".relreport"), 0);
       }},
      {"section '.BTF', offset 0x", PUT(u32, i.at(".rel.BTF", 8), kRelocateCall)},
  };
  expect_refusals("counters", cases);
}

TEST(Malformed, CodeIsRefused) {
  const Wrong cases[] = {
      {"section 'tail', offset 0x0: function 'finish', slot 0: RFC 9669 defines no instruction",
       PUT(u8, i.at("tail"), 0xff)},
      {"program 'finish', with its subprograms behind it: slot 1: the subprogram ends here",
       PUT(u8, i.at("tail", 8), 0xb7)},
      {"program 'finish', with its subprograms behind it: slot 0: jumps to slot 6",
       PUT(u64, i.at("tail"), u64{5} << 16 | 0x05)},
      {"function 'finish', slot 1: the program ends before the second half",
       PUT(u64, i.at("tail", 8), 0x18)},
      {"function 'count_it', slot 6: source 1 of a 64-bit immediate",
       PUT(u8, i.relocated("count", kRelocateImmediate, "counts") + 1, 0x11)},
      {"function 'finish', slot 0: no function begins at",
       PUT(u64, i.at("tail"), u64{77} << 32 | 0x1085)},
      {"function 'finish', slot 0: no function begins at",
       PUT(u64, i.at("tail"), u64{0x80000000} << 32 | 0x1085)},
  };
  expect_refusals("counters", cases);
}

// .BTF.ext: the header, then its parts: record size, section's name, count, records.
u64 part_of_extension(const Image& i, u64 part) {
  const u64 at = i.at(".BTF.ext");
  return at + i.get<u32>(at + 4) + i.get<u32>(at + 8 + 8 * part);
}

TEST(Malformed, TypesAreRefused) {
  const Wrong cases[] = {
      {"section '.BTF', offset 0x0: offset 0: 0xee9f is not its magic number",
       PUT(u8, i.at(".BTF", 1), 0xee)},
      {"section '.BTF.ext', offset 0x0: magic number 0xee9f", PUT(u8, i.at(".BTF.ext", 1), 0xee)},
      {"section '.BTF.ext', offset 0x0: magic", PUT(u32, i.at(".BTF.ext", 4), 0xffffff)},
      {"bytes of records reach behind", PUT(u32, i.at(".BTF.ext", 8), 0xffffff)},
      {"records of 4 bytes; they have at least 8", PUT(u32, part_of_extension(i, 0), 4)},
      {"records of 1048576 bytes", PUT(u32, part_of_extension(i, 1), 1 << 20)},
      {"it names no section of code", PUT(u32, part_of_extension(i, 0) + 4, 0xffffff)},
      {"4294967295 records of 8 bytes for section 'core' reach behind the end",
       PUT(u32, part_of_extension(i, 0) + 8, 0xffffffff)},
      {"no instruction of section 'core' begins at 0x4", PUT(u32, part_of_extension(i, 0) + 12, 4)},
      {"type 1 is no function", PUT(u32, part_of_extension(i, 0) + 16, 1)},
      {"type 99999 is no function", PUT(u32, part_of_extension(i, 0) + 16, 99999)},
      {"the name of a file or a line lies behind the strings",
       PUT(u32, part_of_extension(i, 1) + 16, 0xffffff)},
      {"there is no type 99999", PUT(u32, part_of_extension(i, 2) + 16, 99999)},
      {"the way to the field lies behind the strings",
       PUT(u32, part_of_extension(i, 2) + 20, 0xffffff)},
      {"there is no kind 13 of CO-RE relocations", PUT(u32, part_of_extension(i, 2) + 24, 13)},
      {"function 'read_fields', slot 0: '0:0' of type 0: its type has no size",
       PUT(u32, part_of_extension(i, 2) + 16, 0)},
      {"of a type or enumerator there is one index", PUT(u32, part_of_extension(i, 2) + 24, 8)},
      {"the instruction has the offset 3, and by the object's own types it is 0",
       PUT(u16, i.at("core", 2), 3)},
      {"a CO-RE relocation changes no instruction, or one that another has changed",
       [](Image& i) {
         const u64 records = part_of_extension(i, 2) + 12;
         i.put(records + 16, i.get<u32>(records));
       }},
  };
  expect_refusals("relocated", cases);
}

// What each program of odd.c is refused for, or not.
TEST(Odd, ProgramsAreRefusedForWhatTheyUse) {
  const struct {
    const char* program;
    const char* words;
    Errc code = Errc::invalid;
  } cases[] = {
      {"use_unknown_kind", "map 'unknown_kind': its type is 14; there is no such map here",
       Errc::unsupported},
      {"use_unknown_property", "map 'unknown_property': 'colour' is no property of a map"},
      {"use_no_kind", "map 'no_kind': it has no type"},
      {"use_two_key_sizes", "map 'two_key_sizes': key has 4 bytes, and by its size 8"},
      {"use_flags", "map 'flags': flags 0x8 of map_flags are not offered here", Errc::unsupported},
      {"use_extra", "map 'extra': no map here has use for map_extra", Errc::unsupported},
      {"use_key_of_void", "map 'key_of_void': 'key' points to no type that has a size"},
      {"use_no_number", "map 'no_number': 'max_entries' is no number"},
      {"use_values_of_a_hash", "only a program array begins with values"},
      {"use_map_of_maps", "map 'map_of_maps': its type is 13; there is no such map",
       Errc::unsupported},
      {"use_programs_of_maps", "maps in maps are not offered here", Errc::unsupported},
      {"use_no_description", "its type is no structure that describes a map"},
      {"take_extern", "it takes the address of 'elsewhere', which is not in the object",
       Errc::unsupported},
      {"call_extern", "it calls 'far', which is not in the object", Errc::unsupported},
      {"use_addresses", "section '.rodata', offset 0x0: global data has an address here",
       Errc::unsupported},
      {"use_large", "section '.bss', offset 0x0: global data of 1048584 bytes", Errc::too_big},
      {"use_strange", "section '.strange' is neither maps nor data"},
  };
  for (const Variant& variant : all_variants()) {
    const auto bytes = object_bytes("odd", variant);
    for (const auto& each : cases) {
      SCOPED_TRACE(each.program);
      const auto object = Object::read(bytes, {.only = each.program});
      ASSERT_FALSE(object.has_value());
      EXPECT_THAT(describe(object.error()), HasSubstr(each.words));
      EXPECT_THAT(describe(object.error()), HasSubstr("section '"));
      EXPECT_EQ(object.error().code, each.code);
    }
  }
}

TEST(Odd, WhatIsWeakMayBeMissing) {
  HelperTable helpers;
  add_core_helpers(helpers);
  for (const Variant& variant : all_variants()) {
    for (const char* program : {"take_weak", "call_weak"}) {
      const auto object = Object::read(object_bytes("odd", variant), {.only = program});
      ASSERT_TRUE(object.has_value()) << describe(object.error());
      const auto code = Code::bind(object->programs()[0].program, {.helpers = helpers});
      ASSERT_TRUE(code.has_value());
      Machine machine({.budget = 1000});
      u64 context = 0;
      const Region region{reinterpret_cast<u64>(&context), sizeof context, false};
      const auto run = [&] { return machine.run_checked(*code, {&region, 1}, region.base); };
      EXPECT_EQ(result_of(run()), program[0] == 't' ? 5u : 7u);
      context = 1;
      EXPECT_EQ(run().stop, program[0] == 't' ? Stop::exited : Stop::unsatisfied);
    }
  }
}

TEST(Odd, WhatTheKernelKeepsInAValueIsNamed) {
  const auto object = Object::read(object_bytes("odd", {}), {.only = "use_with_lock"});
  ASSERT_TRUE(object.has_value()) << describe(object.error());
  EXPECT_EQ(object->maps()[0].kernel_field, "struct bpf_spin_lock");
}

// Reads, and looks at all that was read.
void look_at(std::span<const std::byte> bytes) {
  const auto object = Object::read(bytes, {.own_types = true});
  if (!object) {
    EXPECT_FALSE(object.error().detail.empty());
    return;
  }
  static const HelperTable kHelpers;
  for (const ObjectMap& each : object->maps()) EXPECT_FALSE(describe(*object, each).empty());
  for (const ObjectProgram& each : object->programs()) {
    EXPECT_EQ(each.functions[0].slot, 0u);
    EXPECT_FALSE(list(*object, each, kHelpers).empty());
  }
}

TEST(Malformed, AnyBytesMayChange) {
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (const char* name : {"counters", "relocated", "odd"}) {
    const auto good = object_bytes(name, {});
    const auto file = ElfFile::read(good);
    ASSERT_TRUE(file.has_value());
    std::vector<std::pair<u64, u64>> places = {{0, 64}};  // Offset and size; not debug information.
    const auto elf = Image(good).get<Elf64_Ehdr>(0);
    places.emplace_back(elf.e_shoff, elf.e_shnum * sizeof(Elf64_Shdr));
    for (const ElfFile::Section& each : file->sections()) {
      if (!each.bytes.empty() && each.name.find("debug") == std::string_view::npos)
        places.emplace_back(each.bytes.data() - good.data(), each.bytes.size());
    }
    for (int round = 0; round < 1500; ++round) {
      auto bytes = good;
      for (u64 changes = 1 + random() % 4; changes > 0; --changes) {
        const auto [offset, size] = places[random() % places.size()];
        bytes[offset + random() % size] =
            static_cast<std::byte>(random() % 2 ? random() : random() % 8);
      }
      look_at(bytes);
    }
  }
}

TEST(Malformed, AnyEndMayBeMissing) {
  const auto good = object_bytes("counters", {});
  for (size_t size = 0; size < good.size(); size += 61) look_at(std::span(good).first(size));
}

}  // namespace
}  // namespace coppice::bpf
