#include "bpf/object/btf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace coppice::bpf {
namespace {

constexpr u32 kPartsMax = 64;  // Of a type that are spelt out: types may go round.

std::string named(const char* keyword, std::string_view name) {
  return fmt::format("{}{}", keyword, name.empty() ? "(anonymous)" : name);
}

// Where the declared name would stand, if `inner` already has a star in it, needs brackets.
std::string bracketed(const std::string& inner) {
  return inner.starts_with('*') ? "(" + inner + ")" : inner;
}

std::string joined(const std::string& left, const std::string& right) {
  if (right.empty() || right.starts_with('[')) return left + right;
  return left + " " + right;
}

// The type with `inner` where C has the declared name: "int" around "(*)[4]", ...
std::string spell(const Btf& btf, u32 id, const std::string& inner, u32& parts_left) {
  if (parts_left == 0) return joined("...", inner);
  --parts_left;
  const Btf::Type& type = btf.type(id);
  const auto around = [&](u32 next, const std::string& more) {
    return spell(btf, next, more, parts_left);
  };
  switch (type.kind) {
    case Btf::Kind::none: return joined("void", inner);
    case Btf::Kind::structure: return joined(named("struct ", type.name), inner);
    case Btf::Kind::union_: return joined(named("union ", type.name), inner);
    case Btf::Kind::enumeration:
    case Btf::Kind::enumeration64: return joined(named("enum ", type.name), inner);
    case Btf::Kind::forward:
      return joined(named(type.is_union ? "union " : "struct ", type.name), inner);
    case Btf::Kind::pointer: return around(type.type, "*" + inner);
    case Btf::Kind::array:
      return around(type.type, fmt::format("{}[{}]", bracketed(inner), type.count));
    case Btf::Kind::const_:
    case Btf::Kind::volatile_:
    case Btf::Kind::restrict_: {
      const char* word = name_of(type.kind);
      // A qualified pointer says so behind its star, everything else in front.
      if (btf.type(type.type).kind == Btf::Kind::pointer)
        return around(type.type, joined(word, inner));
      return fmt::format("{} {}", word, around(type.type, inner));
    }
    case Btf::Kind::type_tag: return around(type.type, inner);
    case Btf::Kind::function: return around(type.type, std::string(type.name));
    case Btf::Kind::prototype: {
      std::string list;
      for (const Btf::Parameter& each : type.parameters) {
        if (!list.empty()) list += ", ";
        list += each.type == 0 ? "..." : around(each.type, "");
        if (parts_left == 0) break;
      }
      return around(type.type, bracketed(inner) + "(" + (list.empty() ? "void" : list) + ")");
    }
    case Btf::Kind::variable: return around(type.type, std::string(type.name));
    default: return joined(std::string(type.name), inner);
  }
}

}  // namespace

const char* name_of(Btf::Kind kind) {
  static constexpr const char* kNames[] = {
      "void",     "integer", "pointer",  "array",           "struct",   "union",    "enum",
      "forward",  "typedef", "volatile", "const",           "restrict", "function", "prototype",
      "variable", "section", "float",    "declaration tag", "type tag", "enum64"};
  const auto number = static_cast<size_t>(kind);
  CHECK(number < std::size(kNames));
  return kNames[number];
}

const Btf::Type& Btf::type(u32 id) const {
  CHECK(id < types_.size());
  return types_[id];
}

u32 Btf::skip_modifiers(u32 id) const {
  while (type(id).is_modifier()) id = type(id).type;
  return id;
}

std::optional<u32> Btf::size_of(u32 id) const {
  CHECK(id < sizes_.size());
  return sizes_[id];
}

std::optional<u32> Btf::find(std::string_view name, Kind kind) const {
  auto at = std::ranges::lower_bound(by_name_, name, {}, [&](u32 id) { return types_[id].name; });
  for (; at != by_name_.end() && types_[*at].name == name; ++at) {
    if (types_[*at].kind == kind) return *at;
  }
  return std::nullopt;
}

std::vector<u32> Btf::find_flavours(std::string_view name) const {
  const auto name_at = [&](u32 id) { return types_[id].name; };
  std::vector<u32> found;
  auto at = std::ranges::lower_bound(by_name_, name, {}, name_at);
  for (; at != by_name_.end() && types_[*at].name == name; ++at) found.push_back(*at);
  const std::string flavour = fmt::format("{}___", name);
  at = std::ranges::lower_bound(by_name_, flavour, {}, name_at);
  for (; at != by_name_.end() && types_[*at].name.starts_with(flavour); ++at) found.push_back(*at);
  std::ranges::sort(found);
  return found;
}

std::optional<std::string_view> Btf::string_at(u32 offset) const {
  if (offset >= strings_.size()) return std::nullopt;
  const char* text = &strings_[offset];  // The table ends with a zero.
  return std::string_view(text, ::strnlen(text, kNameMax));
}

std::string Btf::describe(u32 id) const {
  u32 parts_left = kPartsMax;
  return spell(*this, id, "", parts_left);
}

}  // namespace coppice::bpf
