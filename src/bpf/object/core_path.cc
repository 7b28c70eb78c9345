#include "bpf/object/core_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;

std::unexpected<Error> bad_path(const CoreRecord& record, const std::string& why) {
  return fail(Errc::invalid, "cannot relocate",
              fmt::format("'{}' of type {}: {}", record.access, record.type, why));
}

Result<std::vector<u32>> indices_of(const CoreRecord& record) {
  std::vector<u32> indices;
  const char* at = record.access.data();
  const char* const end = at + record.access.size();
  while (true) {
    u32 index = 0;
    const auto [behind, wrong] = std::from_chars(at, end, index);
    if (wrong != std::errc{} || (behind != end && *behind != ':'))
      return bad_path(record, "these are not numbers with colons between");
    indices.push_back(index);
    if (indices.size() > Btf::kNestingMax)
      return bad_path(record, fmt::format("more than {} indices", Btf::kNestingMax));
    if (behind == end) return indices;
    at = behind + 1;
  }
}

// An array of no elements at the end of a structure has as many as there is memory for.
bool has_element(const Btf& btf, u32 array, u32 index, bool is_last_member) {
  const u32 count = btf.type(array).count;
  return index < count || (count == 0 && is_last_member);
}

// Moves the path to element `index` of its end; false: that is out of all bounds.
bool go_to_element(const Btf& btf, CorePath& path, u32 element, u32 index) {
  const auto size = btf.size_of(element);
  if (!size || u64{*size} * index > Btf::kSizeMax) return false;
  path.bit_offset += u64{*size} * index * 8;
  path.bitfield_size = 0;
  path.steps.push_back({.name = {}, .index = index, .type = element});
  return true;
}

Result<CorePath> field_path(const Btf& own, const CoreRecord& record,
                            std::span<const u32> indices) {
  CorePath path{.root = record.type};
  u32 type = own.skip_modifiers(record.type);
  if (!go_to_element(own, path, type, indices[0]))
    return bad_path(record, "its type has no size, or the element is too far away");
  bool is_last_member = false;
  for (const u32 index : indices.subspan(1)) {
    const Btf::Type& in = own.type(type);
    if (in.is_composite()) {
      if (index >= in.members.size())
        return bad_path(record,
                        fmt::format("{} has {} members", own.describe(type), in.members.size()));
      const Btf::Member& member = in.members[index];
      path.bit_offset += member.bit_offset;
      path.bitfield_size = member.bitfield_size;
      is_last_member = index + 1 == in.members.size();
      if (!member.name.empty())
        path.steps.push_back({.name = member.name, .type = member.type});
      else if (&index == &indices.back())
        return bad_path(record, "it ends in a member without a name");
      type = own.skip_modifiers(member.type);
    } else if (in.kind == Kind::array) {
      const u32 element = own.skip_modifiers(in.type);
      if (!has_element(own, type, index, is_last_member) ||
          !go_to_element(own, path, element, index))
        return bad_path(record, fmt::format("{} has no element {}", own.describe(type), index));
      is_last_member = false;
      type = element;
    } else {
      return bad_path(record, fmt::format("{} has no parts", own.describe(type)));
    }
  }
  return path;
}

struct FoundMember {
  const Btf::Member* member = nullptr;
  u64 bit_offset = 0;
  bool is_last = false;
};

// The member of that name, in `composite` or the anonymous ones within it.
std::optional<FoundMember> find_member(const Btf& host, u32 composite, std::string_view name,
                                       CoreEffort& effort) {
  const auto members = host.type(composite).members;
  for (const Btf::Member& each : members) {
    if (!effort.spend()) return std::nullopt;
    if (each.name == name) return FoundMember{&each, each.bit_offset, &each == &members.back()};
    const u32 inner = host.skip_modifiers(each.type);
    if (!each.name.empty() || !host.type(inner).is_composite()) continue;
    if (auto found = find_member(host, inner, name, effort)) {
      found->bit_offset += each.bit_offset;
      return found;
    }
  }
  return std::nullopt;
}

// Whether a use of the one field makes sense of the other.
bool are_fields_alike(const Btf& own, u32 own_type, const Btf& host, u32 host_type,
                      CoreEffort& effort) {
  while (effort.spend()) {
    const Btf::Type& ours = own.plain(own_type);
    const Btf::Type& theirs = host.plain(host_type);
    if (ours.is_composite() && theirs.is_composite()) return true;
    if (ours.is_enumeration() && theirs.is_enumeration())
      return ours.name.empty() || theirs.name.empty() ||
             core_name(ours.name) == core_name(theirs.name);
    if (ours.kind != theirs.kind) return false;
    switch (ours.kind) {
      case Kind::integer:
      case Kind::pointer:
      case Kind::floating: return true;
      case Kind::array:
        own_type = ours.type;
        host_type = theirs.type;
        break;
      default: return false;
    }
  }
  return false;
}

}  // namespace

std::string_view core_name(std::string_view name) {
  // A flavour is told apart by exactly three underlines between other characters; the last counts.
  for (size_t at = name.size(); at-- > 0;) {
    if (at + 4 < name.size() && name[at] != '_' && name.substr(at + 1, 3) == "___" &&
        name[at + 4] != '_')
      return name.substr(0, at + 1);
  }
  return name;
}

bool is_field_kind(CoreKind kind) { return kind <= CoreKind::field_right_shift; }

bool is_enumerator_kind(CoreKind kind) {
  return kind == CoreKind::enumerator_exists || kind == CoreKind::enumerator_value;
}

Result<CorePath> core_path(const Btf& own, const CoreRecord& record) {
  TRY(const auto indices, indices_of(record));
  CHECK(!indices.empty());
  if (is_field_kind(record.kind)) return field_path(own, record, indices);
  if (indices.size() != 1) return bad_path(record, "of a type or enumerator there is one index");
  CorePath path{.root = record.type};
  if (!is_enumerator_kind(record.kind)) {
    if (indices[0] != 0) return bad_path(record, "of a type the index is 0");
    return path;
  }
  const Btf::Type& type = own.plain(record.type);
  if (!type.is_enumeration() || indices[0] >= type.enumerators.size())
    return bad_path(record, fmt::format("{} has no such enumerator", own.describe(record.type)));
  path.enumerator = indices[0];
  return path;
}

std::string describe(const Btf& own, const CoreRecord& record, const CorePath& path) {
  std::string text = own.describe(record.type);
  if (is_enumerator_kind(record.kind))
    return fmt::format("{}: {}", text, own.plain(record.type).enumerators[path.enumerator].name);
  const char* between = ": ";
  for (size_t i = 0; i < path.steps.size(); ++i) {
    const CorePath::Step& step = path.steps[i];
    if (step.name.empty() && (i > 0 || step.index > 0)) text += fmt::format("[{}]", step.index);
    if (step.name.empty()) continue;
    text += fmt::format("{}{}", between, step.name);
    between = ".";
  }
  return text;
}

std::optional<CorePath> find_field(const Btf& own, const CorePath& path, const Btf& host, u32 root,
                                   CoreEffort& effort) {
  CHECK(!path.steps.empty());
  CorePath found{.root = root};
  u32 type = host.skip_modifiers(root);
  if (!go_to_element(host, found, type, path.steps[0].index)) return std::nullopt;
  bool is_last_member = false;
  for (const CorePath::Step& step : std::span(path.steps).subspan(1)) {
    const Btf::Type& in = host.type(type);
    if (step.name.empty()) {
      if (in.kind != Kind::array || !has_element(host, type, step.index, is_last_member))
        return std::nullopt;
      type = host.skip_modifiers(in.type);
      if (!go_to_element(host, found, type, step.index)) return std::nullopt;
      is_last_member = false;
      continue;
    }
    if (!in.is_composite()) return std::nullopt;
    const auto member = find_member(host, type, step.name, effort);
    if (!member || !are_fields_alike(own, step.type, host, member->member->type, effort))
      return std::nullopt;
    found.bit_offset += member->bit_offset;
    found.bitfield_size = member->member->bitfield_size;
    found.steps.push_back({.name = step.name, .type = member->member->type});
    is_last_member = member->is_last;
    type = host.skip_modifiers(member->member->type);
  }
  return found;
}

std::optional<CorePath> find_enumerator(const Btf& own, const CorePath& path, const Btf& host,
                                        u32 root, CoreEffort& effort) {
  const std::string_view name = core_name(own.plain(path.root).enumerators[path.enumerator].name);
  const Btf::Type& type = host.plain(root);
  for (u32 i = 0; i < type.enumerators.size(); ++i) {
    if (!effort.spend()) return std::nullopt;
    if (core_name(type.enumerators[i].name) == name) return CorePath{.root = root, .enumerator = i};
  }
  return std::nullopt;
}

}  // namespace coppice::bpf
