#include "bpf/object/prototype.h"

#include <fmt/format.h>

#include "base/check.h"

namespace coppice::bpf {
namespace {

struct Typed {
  const Btf& types;
  u32 id = 0;
  std::string described() const { return id == 0 ? "void" : types.describe(id); }
};

// `depth`: pointers may lead in circles.
bool same_type(Typed a, Typed b, u32 depth = 0) {
  const Btf::Type& left = a.types.plain(a.id);
  const Btf::Type& right = b.types.plain(b.id);
  if (left.kind != right.kind || left.size != right.size) return false;
  if (depth == Btf::kNestingMax) return true;
  switch (left.kind) {
    case Btf::Kind::none: return true;
    case Btf::Kind::pointer:
      return same_type({a.types, left.type}, {b.types, right.type}, depth + 1);
    case Btf::Kind::array:
      return left.count == right.count &&
             same_type({a.types, left.type}, {b.types, right.type}, depth + 1);
    case Btf::Kind::integer:
      // `long` and `long long` are the same to a program.
      return left.is_signed == right.is_signed && left.is_bool == right.is_bool &&
             left.bits == right.bits;
    case Btf::Kind::forward: return left.name == right.name && left.is_union == right.is_union;
    case Btf::Kind::prototype: {
      if (left.parameters.size() != right.parameters.size()) return false;
      for (size_t i = 0; i < left.parameters.size(); ++i) {
        if (!same_type({a.types, left.parameters[i].type}, {b.types, right.parameters[i].type},
                       depth + 1))
          return false;
      }
      return same_type({a.types, left.type}, {b.types, right.type}, depth + 1);
    }
    default: return left.name == right.name && left.is_signed == right.is_signed;
  }
}

}  // namespace

std::string prototype_difference(const Btf& wanted_types, u32 wanted, const Btf& given_types,
                                 u32 given) {
  CHECK(wanted_types.type(wanted).kind == Btf::Kind::function);
  CHECK(given_types.type(given).kind == Btf::Kind::function);
  const Btf::Type& left = wanted_types.type(wanted_types.type(wanted).type);
  const Btf::Type& right = given_types.type(given_types.type(given).type);
  if (left.parameters.size() != right.parameters.size()) {
    return fmt::format("it has {} parameters, not {}", right.parameters.size(),
                       left.parameters.size());
  }
  for (size_t i = 0; i < left.parameters.size(); ++i) {
    const Typed needed{wanted_types, left.parameters[i].type};
    const Typed there{given_types, right.parameters[i].type};
    if (same_type(needed, there)) continue;
    return fmt::format("parameter {} is '{}', not '{}'", i + 1, there.described(),
                       needed.described());
  }
  const Typed needed{wanted_types, left.type};
  const Typed there{given_types, right.type};
  if (same_type(needed, there)) return {};
  return fmt::format("it returns '{}', not '{}'", there.described(), needed.described());
}

}  // namespace coppice::bpf
