#include "hook/host_btf.h"

#include <fmt/format.h>

#include <map>

#include "base/check.h"
#include "bpf/object/btf_writer.h"
#include "hook/host_types.h"
#include "trace/point.h"

namespace coppice::hook {
namespace {

// Lays the types of a daemon behind those of the headers.
class HostTypes {
 public:
  explicit HostTypes(bpf::BtfWriter writer) : writer_(std::move(writer)) {}

  void add_numbers() {
    for (const u32 bytes : {1, 2, 4, 8}) {
      for (const bool is_signed : {false, true}) {
        const std::string name = fmt::format("{}{}", is_signed ? 'i' : 'u', bytes * 8);
        types_[name] = {writer_.number(name, bytes, is_signed), bytes};
      }
    }
    types_["bool"] = {writer_.number("bool", 1, false, true), 1};
  }
  // All are declared before any is defined: they point to each other.
  Result<> declare(const trace::Structure& structure) {
    const Type type{writer_.declare_structure(structure.name, structure.bytes), structure.bytes};
    if (types_.emplace(structure.name, type).second) return {};
    return fail(Errc::invalid, kWhat, fmt::format("there are two of {}", structure.name));
  }
  Result<> define(const trace::Structure& structure) {
    std::vector<bpf::BtfWriter::Member> members;
    u32 end = 0;
    for (const trace::Field& field : structure.fields) {
      const std::string where = fmt::format("{}.{}", structure.name, field.name);
      TRY(const Type type, find(field.type, where));
      if (type.bytes != field.bytes)
        return fail(Errc::invalid, kWhat,
                    fmt::format("{} has {} bytes, and {} has {}", where, field.bytes, field.type,
                                type.bytes));
      if (field.offset < end || field.offset + field.bytes > structure.bytes)
        return fail(Errc::invalid, kWhat, fmt::format("{} lies over something else", where));
      end = field.offset + field.bytes;
      members.push_back({field.name, type.id, field.offset});
    }
    writer_.define_structure(types_.at(structure.name).id, members);
    return {};
  }
  std::vector<std::byte> bytes() const { return writer_.bytes(); }

 private:
  static constexpr const char* kWhat = "describe the daemon's types";
  static constexpr u32 kPointerBytes = 8;
  struct Type {
    u32 id = 0;
    u32 bytes = 0;
  };

  Result<Type> find(std::string_view name, const std::string& where) {
    const bool is_pointer = name.ends_with(" *");
    if (is_pointer) name.remove_suffix(2);
    const auto found = types_.find(name);
    if (found == types_.end())
      return fail(Errc::invalid, kWhat, fmt::format("{}: there is no type {}", where, name));
    if (!is_pointer) return found->second;
    u32& pointer = pointers_[found->second.id];
    if (pointer == 0) pointer = writer_.pointer(found->second.id);
    return Type{pointer, kPointerBytes};
  }

  bpf::BtfWriter writer_;
  std::map<std::string, Type, std::less<>> types_;
  std::map<u32, u32> pointers_;  // To which type -> the pointer's id.
};

// "pool_NodeStore *store, u64 address": each argument takes 8 bytes.
trace::Structure arguments_of(const trace::PointInfo& point) {
  trace::Structure structure{.name = fmt::format("coppice_{}", point.name), .bytes = point.bytes};
  std::string_view rest = point.arguments;
  while (!rest.empty()) {
    const size_t comma = rest.find(", ");
    const std::string_view each = rest.substr(0, comma);
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 2);
    const size_t star = each.find('*');
    const size_t name = star == each.npos ? each.find(' ') + 1 : star + 1;
    std::string type(each.substr(0, star == each.npos ? name - 1 : name));
    const u32 offset = static_cast<u32>(structure.fields.size() * sizeof(u64));
    structure.fields.push_back({std::string(each.substr(name)), std::move(type), offset, 8});
  }
  return structure;
}

}  // namespace

Result<std::vector<std::byte>> host_btf(std::span<const trace::Structure> structures) {
  auto writer = bpf::BtfWriter::behind(header_types());
  CHECK(writer.has_value());
  std::vector<trace::Structure> all(structures.begin(), structures.end());
  for (const trace::PointInfo& point : trace::points())
    if (point.tier == trace::Tier::internal) all.push_back(arguments_of(point));
  HostTypes types(*std::move(writer));
  types.add_numbers();
  for (const trace::Structure& each : all) TRY_VOID(types.declare(each));
  for (const trace::Structure& each : all) TRY_VOID(types.define(each));
  return types.bytes();
}

}  // namespace coppice::hook
