// Types of the object against types of the host. Both walks end: structures are entered only where
// they are members, which nest, and everything costs effort.
#include <algorithm>

#include "bpf/object/core_path.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;

constexpr u32 kDepthMax = 32;  // Of pointers, arrays and prototypes in one another.

class Comparison {
 public:
  Comparison(const Btf& own, const Btf& host, CoreEffort& effort)
      : own_(own), host_(host), effort_(effort) {}

  bool alike(u32 own_type, u32 host_type, u32 depth) {
    if (!effort_.spend() || depth > kDepthMax) return false;
    const Btf::Type& ours = own_.plain(own_type);
    const Btf::Type& theirs = host_.plain(host_type);
    if (ours.is_enumeration()) return theirs.is_enumeration();
    if (ours.kind != theirs.kind) return false;
    switch (ours.kind) {
      case Kind::pointer:
      case Kind::array: return alike(ours.type, theirs.type, depth + 1);
      case Kind::prototype:
        return std::ranges::equal(ours.parameters, theirs.parameters,
                                  [&](const Btf::Parameter& one, const Btf::Parameter& other) {
                                    return alike(one.type, other.type, depth + 1);
                                  }) &&
               alike(ours.type, theirs.type, depth + 1);
      default: return true;
    }
  }

  bool match(u32 own_type, u32 host_type, bool behind_pointer, u32 depth) {
    if (!effort_.spend() || depth > kDepthMax + Btf::kNestingMax) return false;
    const Btf::Type& ours = own_.plain(own_type);
    const Btf::Type& theirs = host_.plain(host_type);
    if (core_name(ours.name) != core_name(theirs.name)) return false;
    if (ours.is_enumeration()) return theirs.is_enumeration() && has_enumerators(ours, theirs);
    const bool is_record = ours.is_composite() || ours.kind == Kind::forward;
    if (is_record && behind_pointer) return same_record(ours, theirs);
    if (ours.kind != theirs.kind) return false;
    switch (ours.kind) {
      case Kind::structure:
      case Kind::union_: return has_members(ours, theirs, depth);
      case Kind::forward: return ours.is_union == theirs.is_union;
      case Kind::integer: return ours.size == theirs.size && ours.is_signed == theirs.is_signed;
      case Kind::floating: return ours.size == theirs.size;
      case Kind::pointer: return match(ours.type, theirs.type, true, depth + 1);
      case Kind::array:
        return ours.count == theirs.count && match(ours.type, theirs.type, false, depth + 1);
      case Kind::prototype:
        return std::ranges::equal(ours.parameters, theirs.parameters,
                                  [&](const Btf::Parameter& one, const Btf::Parameter& other) {
                                    return match(one.type, other.type, false, depth + 1);
                                  }) &&
               match(ours.type, theirs.type, false, depth + 1);
      default: return ours.kind == Kind::none;
    }
  }

 private:
  // What a pointer leads to may be defined on one side only.
  static bool same_record(const Btf::Type& ours, const Btf::Type& theirs) {
    if (!theirs.is_composite() && theirs.kind != Kind::forward) return false;
    const auto is_union = [](const Btf::Type& type) {
      return type.kind == Kind::forward ? type.is_union : type.kind == Kind::union_;
    };
    return is_union(ours) == is_union(theirs);
  }

  bool has_enumerators(const Btf::Type& ours, const Btf::Type& theirs) {
    return std::ranges::all_of(ours.enumerators, [&](const Btf::Enumerator& each) {
      return std::ranges::any_of(theirs.enumerators, [&](const Btf::Enumerator& other) {
        return effort_.spend() && core_name(each.name) == core_name(other.name);
      });
    });
  }

  bool has_members(const Btf::Type& ours, const Btf::Type& theirs, u32 depth) {
    return std::ranges::all_of(ours.members, [&](const Btf::Member& each) {
      return std::ranges::any_of(theirs.members, [&](const Btf::Member& other) {
        return effort_.spend() && core_name(each.name) == core_name(other.name) &&
               match(each.type, other.type, false, depth + 1);
      });
    });
  }

  const Btf& own_;
  const Btf& host_;
  CoreEffort& effort_;
};

}  // namespace

bool is_alike(const Btf& own, u32 own_type, const Btf& host, u32 host_type, CoreEffort& effort) {
  return Comparison(own, host, effort).alike(own_type, host_type, 0);
}

bool is_match(const Btf& own, u32 own_type, const Btf& host, u32 host_type, CoreEffort& effort) {
  return Comparison(own, host, effort).match(own_type, host_type, false, 0);
}

}  // namespace coppice::bpf
