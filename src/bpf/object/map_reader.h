// bpf/object/map_reader.h — the maps of an object: those of section .maps, and its global data.
//
// A map is defined by a variable whose type is its description: a structure with a member for each
// property. `int (*type)[27]` says that the type is 27, `struct key *key` what a key is; an array
// `values` has the programs of a program array, by relocations. So nothing but BTF is read of it.
#pragma once

#include <functional>
#include <map>

#include "bpf/object/elf.h"
#include "bpf/object/object.h"

namespace coppice::bpf {

class MapReader {
 public:
  // Null: the object has no BTF. Both live as long as this.
  MapReader(const ElfFile& file, const Btf* btf) : file_(file), btf_(btf) {}

  Result<> read_all();

  // Where `symbol` and so many bytes behind it is; the map is read if nobody asked for it before.
  struct Place {
    u32 map = 0;
    bool is_value = false;
    u32 offset = 0;  // In the value.
  };
  Result<Place> place_of(const ElfFile::Symbol& symbol, u64 addend);
  bool has(u32 section) const;  // Whether what lies there is maps.

  // Gives program arrays their entries. Nothing: the program is none of those that are read.
  using FindProgram =
      std::function<Result<std::optional<u32>>(const ElfFile::Symbol& symbol, u64 addend)>;
  Result<> read_entries(const FindProgram& find_program);

  std::vector<ObjectMap> take() { return std::move(maps_); }

 private:
  struct Definition;

  Result<u32> map_at(u64 offset);  // Of section .maps.
  Result<u32> data_map(u32 section);
  Result<u32> add(ObjectMap map);
  Result<> read_definition(Definition& definition);
  Result<> read_property(Definition& definition, const Btf::Member& member);
  Result<> read_part(Definition& definition, const Btf::Member& member, bool is_key);
  Result<> read_values(Definition& definition, const Btf::Member& member);
  Result<u32> number_of(const Definition& definition, const Btf::Member& member) const;
  Result<> check_flags(Definition& definition, u32 flags);
  std::string kernel_field_of(u32 type) const;

  const ElfFile& file_;
  const Btf* btf_;
  std::vector<ObjectMap> maps_;
  std::map<std::pair<u32, u64>, u32> numbers_;  // By section and offset in it; of data offset 0.
  struct Values {
    u32 map = 0;
    u64 begin = 0, end = 0;  // In section .maps.
  };
  std::vector<Values> values_;
};

}  // namespace coppice::bpf
