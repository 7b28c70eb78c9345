#include "bpf/object/map_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/check.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;

constexpr std::string_view kMaps = ".maps";

// Flags of a map in the kernel's numbers.
constexpr u32 kNoPreallocation = 1 << 0, kNoCommonLru = 1 << 1, kNumaNode = 1 << 2;
constexpr u32 kProgramsReadOnly = 1 << 7, kMappable = 1 << 10;
// These ask for what holds here anyway, or may be passed over.
constexpr u32 kFlagsWithoutEffect = kNoPreallocation | kNoCommonLru | kNumaNode | kMappable;

bool is_known(u32 kind) {
  switch (static_cast<MapKind>(kind)) {
    case MapKind::hash:
    case MapKind::array:
    case MapKind::program_array:
    case MapKind::percpu_hash:
    case MapKind::percpu_array:
    case MapKind::lru_hash:
    case MapKind::lpm_trie:
    case MapKind::queue:
    case MapKind::stack:
    case MapKind::ringbuf: return true;
  }
  return false;
}

bool is_kernel_type(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer",   "bpf_wq",       "bpf_list_head",
      "bpf_list_node", "bpf_rb_root",       "bpf_rb_node", "bpf_refcount", "bpf_task_work"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

bool is_kernel_tag(std::string_view name) {
  return name == "kptr" || name == "kptr_untrusted" || name == "percpu_kptr" || name == "uptr";
}

}  // namespace

struct MapReader::Definition {
  std::string name;
  const Btf::Type* type = nullptr;
  u64 offset = 0, end = 0;  // In section .maps; where the next begins.
  ObjectMap map = {};
  bool has_kind = false;
  std::optional<Values> values = {};

  std::unexpected<Error> bad(const std::string& why, Errc code = Errc::invalid) const {
    return bad_object(code, kMaps, offset, fmt::format("map '{}': {}", name, why));
  }
};

bool MapReader::has(u32 section) const {
  const ElfFile::Section& of = file_.section(section);
  return of.name == kMaps || of.is_data();
}

Result<> MapReader::read_all() {
  if (const ElfFile::Section* section = file_.find(kMaps);
      section != nullptr && section->size > 0) {
    const auto id = btf_ == nullptr ? std::nullopt : btf_->find(kMaps, Kind::section);
    if (!id)
      return bad_object(Errc::invalid, kMaps, 0,
                        "nothing says what these maps are: compile with -g, which adds BTF");
    for (const Btf::Placed& each : btf_->type(*id).placed) TRY_VOID(map_at(each.offset));
  }
  for (const ElfFile::Section& each : file_.sections()) {
    if (each.is_data() && each.size > 0) TRY_VOID(data_map(file_.number_of(each)));
    if (each.name == "maps" && each.size > 0)
      return bad_object(Errc::unsupported, each.name, 0,
                        "maps are defined in section .maps, by their types");
  }
  return {};
}

Result<MapReader::Place> MapReader::place_of(const ElfFile::Symbol& symbol, u64 addend) {
  CHECK(has(symbol.section));
  const ElfFile::Section& section = file_.section(symbol.section);
  const u64 offset = symbol.value + addend;
  if (section.name == kMaps) {
    TRY(const u32 map, map_at(offset));
    return Place{.map = map};
  }
  if (offset >= section.size)
    return bad_object(Errc::invalid, section.name, offset,
                      fmt::format("{} and {} bytes lies behind its {} bytes",
                                  file_.describe(symbol), static_cast<i64>(addend), section.size));
  TRY(const u32 map, data_map(symbol.section));
  return Place{.map = map, .is_value = true, .offset = static_cast<u32>(offset)};
}

Result<u32> MapReader::add(ObjectMap map) {
  if (maps_.size() == kObjectMapsMax)
    return fail(Errc::too_big, "cannot read the object",
                fmt::format("it has more than {} maps, with its global data", kObjectMapsMax));
  maps_.push_back(std::move(map));
  return static_cast<u32>(maps_.size() - 1);
}

Result<u32> MapReader::data_map(u32 number) {
  const ElfFile::Section& section = file_.section(number);
  const auto known = numbers_.find({number, 0});
  if (known != numbers_.end()) return known->second;
  if (section.size == 0 || section.size > kValueSizeMax)
    return bad_object(
        Errc::too_big, section.name, 0,
        fmt::format("global data of {} bytes; 1 to {} are possible", section.size, kValueSizeMax));
  const auto relocations = file_.relocations(number);
  if (!relocations.empty())
    return bad_object(Errc::unsupported, section.name, relocations[0].offset,
                      "global data has an address here, and addresses are known to code only");
  ObjectMap map{.spec = {.kind = MapKind::array,
                         .name = std::string(section.name),
                         .key_size = 4,
                         .value_size = static_cast<u32>(section.size),
                         .max_entries = 1},
                .contents = std::vector<std::byte>(section.size),
                .is_data = true,
                .read_only = section.is_constant(),
                .frozen = section.is_constant()};
  if (!section.zeroed) std::ranges::copy(section.bytes, map.contents.begin());
  const auto type = btf_ == nullptr ? std::nullopt : btf_->find(section.name, Kind::section);
  if (type) {
    map.value_type = *type;
    for (const Btf::Placed& each : btf_->type(*type).placed) {
      if (u64{each.offset} + each.size > section.size)
        return bad_object(Errc::invalid, section.name, each.offset,
                          fmt::format("'{}' of {} bytes reaches behind its {} bytes",
                                      btf_->type(each.variable).name, each.size, section.size));
    }
    map.kernel_field = kernel_field_of(*type);
  }
  TRY(const u32 index, add(std::move(map)));
  numbers_[{number, 0}] = index;
  return index;
}

Result<u32> MapReader::map_at(u64 offset) {
  const ElfFile::Section* section = file_.find(kMaps);
  CHECK(section != nullptr);
  const std::pair<u32, u64> place{file_.number_of(*section), offset};
  if (const auto known = numbers_.find(place); known != numbers_.end()) return known->second;
  const auto id = btf_ == nullptr ? std::nullopt : btf_->find(kMaps, Kind::section);
  if (!id)
    return bad_object(Errc::invalid, kMaps, offset,
                      "nothing says what this map is: compile with -g, which adds BTF");
  const auto placed = btf_->type(*id).placed;
  const auto at = std::ranges::lower_bound(placed, offset, {}, &Btf::Placed::offset);
  if (at == placed.end() || at->offset != offset)
    return bad_object(Errc::invalid, kMaps, offset, "no map begins here");
  const Btf::Type& variable = btf_->type(at->variable);
  Definition definition{
      .name = std::string(variable.name),
      .type = &btf_->plain(variable.type),
      .offset = offset,
      .end = std::next(at) == placed.end() ? section->size : std::next(at)->offset};
  if (u64{at->offset} + at->size > section->size)
    return definition.bad(
        fmt::format("its {} bytes reach behind the {} of the section", at->size, section->size));
  if (definition.name.empty() || definition.name.size() > ElfFile::kNameMax)
    return definition.bad(fmt::format("a name of {} bytes", definition.name.size()));
  if (variable.kind != Kind::variable || definition.type->kind != Kind::structure)
    return definition.bad("its type is no structure that describes a map");
  TRY_VOID(read_definition(definition));
  TRY(const u32 number, add(std::move(definition.map)));
  if (definition.values) {
    definition.values->map = number;
    values_.push_back(*definition.values);
  }
  numbers_[place] = number;
  return number;
}

Result<> MapReader::read_definition(Definition& definition) {
  MapSpec& spec = definition.map.spec;
  spec.name = definition.name;
  for (const Btf::Member& each : definition.type->members)
    TRY_VOID(read_property(definition, each));
  if (!definition.has_kind) return definition.bad("it has no type");
  if (definition.values && spec.kind != MapKind::program_array)
    return definition.bad("only a program array begins with values");
  if (spec.kind == MapKind::program_array) {
    if (spec.key_size == 0) spec.key_size = 4;
    if (spec.value_size == 0) spec.value_size = 4;
  }
  if (definition.map.value_type != 0)
    definition.map.kernel_field = kernel_field_of(definition.map.value_type);
  return {};
}

Result<> MapReader::read_property(Definition& definition, const Btf::Member& member) {
  MapSpec& spec = definition.map.spec;
  const std::string_view name = member.name;
  if (name == "key") return read_part(definition, member, true);
  if (name == "value") return read_part(definition, member, false);
  if (name == "values") return read_values(definition, member);
  TRY(const u32 number, number_of(definition, member));
  if (name == "type") {
    if (!is_known(number))
      return definition.bad(fmt::format("its type is {}; there is no such map here", number),
                            Errc::unsupported);
    spec.kind = static_cast<MapKind>(number);
    definition.has_kind = true;
  } else if (name == "max_entries") {
    spec.max_entries = number;
  } else if (name == "key_size" || name == "value_size") {
    u32& size = name == "key_size" ? spec.key_size : spec.value_size;
    if (size != 0 && size != number)
      return definition.bad(fmt::format("{} is {}, and by its type {}", name, number, size));
    size = number;
  } else if (name == "map_flags") {
    return check_flags(definition, number);
  } else if (name == "pinning") {
    if (number > 1) return definition.bad(fmt::format("there is no pinning {}", number));
    definition.map.by_name = number == 1;
  } else if (name == "map_extra") {
    if (number != 0) return definition.bad("no map here has use for map_extra", Errc::unsupported);
  } else if (name != "numa_node") {
    return definition.bad(fmt::format("'{}' is no property of a map", name));
  }
  return {};
}

// A number is the count of the array that the member points to, or an enumerator.
Result<u32> MapReader::number_of(const Definition& definition, const Btf::Member& member) const {
  const Btf::Type& type = btf_->plain(member.type);
  if (type.is_enumeration() && type.enumerators.size() == 1) {
    const u64 value = type.enumerators[0].value;
    if (value > 0xffffffff)
      return definition.bad(fmt::format("'{}' is {:#x}, more than 32 bits", member.name, value),
                            Errc::unsupported);
    return static_cast<u32>(value);
  }
  if (type.kind == Kind::pointer) {
    const Btf::Type& array = btf_->plain(type.type);
    if (array.kind == Kind::array) return array.count;
  }
  return definition.bad(fmt::format("'{}' is no number, `int (*{})[N]`", member.name, member.name));
}

Result<> MapReader::read_part(Definition& definition, const Btf::Member& member, bool is_key) {
  const Btf::Type& pointer = btf_->plain(member.type);
  const auto size = pointer.kind == Kind::pointer ? btf_->size_of(pointer.type) : std::nullopt;
  if (!size)
    return definition.bad(fmt::format("'{}' points to no type that has a size", member.name));
  MapSpec& spec = definition.map.spec;
  u32& known = is_key ? spec.key_size : spec.value_size;
  if (known != 0 && known != *size)
    return definition.bad(
        fmt::format("{} has {} bytes, and by its size {}", member.name, *size, known));
  known = *size;
  (is_key ? definition.map.key_type : definition.map.value_type) = pointer.type;
  return {};
}

Result<> MapReader::read_values(Definition& definition, const Btf::Member& member) {
  const Btf::Type& array = btf_->plain(member.type);
  const Btf::Type* of = array.kind == Kind::array ? &btf_->plain(array.type) : nullptr;
  if (of == nullptr || of->kind != Kind::pointer)
    return definition.bad("'values' is no array of pointers");
  if (btf_->plain(of->type).kind != Kind::prototype)
    return definition.bad("maps in maps are not offered here", Errc::unsupported);
  definition.values =
      Values{.begin = definition.offset + member.bit_offset / 8, .end = definition.end};
  return {};
}

Result<> MapReader::check_flags(Definition& definition, u32 flags) {
  definition.map.read_only = (flags & kProgramsReadOnly) != 0;
  const u32 unknown = flags & ~(kFlagsWithoutEffect | kProgramsReadOnly);
  if (unknown != 0)
    return definition.bad(fmt::format("flags {:#x} of map_flags are not offered here", unknown),
                          Errc::unsupported);
  return {};
}

// The first part that the kernel keeps for itself, in `type` or what it is made of.
std::string MapReader::kernel_field_of(u32 type) const {
  std::unordered_set<u32> seen;
  std::vector<u32> waiting = {type};
  while (!waiting.empty()) {
    const u32 id = waiting.back();
    waiting.pop_back();
    if (!seen.insert(id).second) continue;
    const Btf::Type& at = btf_->type(id);
    if (at.kind == Kind::structure && is_kernel_type(at.name)) return btf_->describe(id);
    if (at.kind == Kind::pointer) {
      const Btf::Type& tag = btf_->type(at.type);
      if (tag.kind == Kind::type_tag && is_kernel_tag(tag.name)) return std::string(tag.name);
      continue;
    }
    if (at.is_modifier() || at.kind == Kind::array || at.kind == Kind::variable)
      waiting.push_back(at.type);
    for (const Btf::Member& each : at.members) waiting.push_back(each.type);
    for (const Btf::Placed& each : at.placed) waiting.push_back(each.variable);
  }
  return {};
}

Result<> MapReader::read_entries(const FindProgram& find_program) {
  const ElfFile::Section* section = file_.find(kMaps);
  if (section == nullptr) return {};
  const auto relocations = file_.relocations(file_.number_of(*section));
  for (const Values& values : values_) {
    ObjectMap& map = maps_[values.map];
    auto at = std::ranges::lower_bound(relocations, values.begin, {}, &ElfFile::Relocation::offset);
    for (; at != relocations.end() && at->offset < values.end; ++at) {
      const u64 index = (at->offset - values.begin) / 8;
      const auto bad = [&](const std::string& why) {
        return bad_object(Errc::invalid, kMaps, at->offset,
                          fmt::format("value {} of map '{}': {}", index, map.spec.name, why));
      };
      if (at->kind != kRelocateData64 || (at->offset - values.begin) % 8 != 0 || section->zeroed ||
          at->offset + 8 > section->size)
        return bad("it is no address");
      if (index >= map.spec.max_entries)
        return bad(fmt::format("the map has room for {}", map.spec.max_entries));
      u64 addend;
      std::memcpy(&addend, section->bytes.data() + at->offset, sizeof addend);
      TRY(const auto program, find_program(file_.symbols()[at->symbol], addend));
      if (program) map.entries.push_back({.index = static_cast<u32>(index), .program = *program});
    }
  }
  return {};
}

}  // namespace coppice::bpf
