// bpf/object/core_path.h — a use of a field, a type or an enumerator, in the object's types and in
// the host's.
//
// Theory. clang writes a use down as a type and indices, "0:1:2". In the object's own types that is
// a path: an element of what a pointer points to, members by name (anonymous ones are passed
// through), elements of arrays. The same path is then looked for in the host: there the names are
// the same, and the places may not be. A name ends at "___": what follows tells flavours apart, so
// that a program can describe several versions of one type.
#pragma once

#include "bpf/object/btf.h"
#include "bpf/object/btf_extension.h"

namespace coppice::bpf {

// So many members and types are looked at for all relocations of an object, and no more: types of
// hostile objects may take for ever to compare.
inline constexpr u64 kCoreStepsMax = 20'000'000;

class CoreEffort {
 public:
  bool spend() {  // False: no more.
    if (left_ > 0) --left_;
    return left_ > 0;
  }
  bool exhausted() const { return left_ == 0; }

 private:
  u64 left_ = kCoreStepsMax;
};

struct CorePath {
  struct Step {
    std::string_view name;  // Of a member; empty: an element.
    u32 index = 0;          // Of the element.
    u32 type = 0;           // What one stands at behind it.
  };
  u32 root = 0;                  // A type's id.
  std::vector<Step> steps = {};  // Of a field; the first is the element of the root.
  u64 bit_offset = 0;            // Of a field.
  u32 bitfield_size = 0;         // Of a field; 0: it is no bit field.
  u32 enumerator = 0;            // Its index.
};

std::string_view core_name(std::string_view name);  // Without its flavour.
bool is_field_kind(CoreKind kind);
bool is_enumerator_kind(CoreKind kind);

// The path in the object's own types; an error's detail says what is wrong with it.
Result<CorePath> core_path(const Btf& own, const CoreRecord& record);
// As a person writes it: "struct task: stats.count[2]".
std::string describe(const Btf& own, const CoreRecord& record, const CorePath& path);

// The field of `path` in the type `root` of the host's, if it has it.
std::optional<CorePath> find_field(const Btf& own, const CorePath& path, const Btf& host, u32 root,
                                   CoreEffort& effort);
std::optional<CorePath> find_enumerator(const Btf& own, const CorePath& path, const Btf& host,
                                        u32 root, CoreEffort& effort);

// Whether values of the two can stand for each other, as pointers, arrays and prototypes of alike
// things do.
bool is_alike(const Btf& own, u32 own_type, const Btf& host, u32 host_type, CoreEffort& effort);
// Whether the host's type has all that the object's has: members, enumerators, sizes, signs.
bool is_match(const Btf& own, u32 own_type, const Btf& host, u32 host_type, CoreEffort& effort);

}  // namespace coppice::bpf
