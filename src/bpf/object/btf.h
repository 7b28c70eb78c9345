// bpf/object/btf.h — BTF: the types of a program or of a host, as the compiler wrote them down.
//
// Theory. A section is a header, a run of type records and a table of strings. read() looks at all
// of it once: every name lies in the table, every reference names a type of a kind that makes sense
// there, no type contains itself but through a pointer, nesting and sizes are bounded. Whoever has
// a Btf therefore asks it without being refused, and without walking in circles: a walk down
// members, elements and modifiers is at most kNestingMax long; only pointers and prototypes lead
// back.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace coppice::bpf {

class Btf {
 public:
  static constexpr size_t kBytesMax = 64 << 20;        // Of a section.
  static constexpr u32 kTypesMax = 1 << 20;            // Of a section; the id of none is 0, void.
  static constexpr u32 kNameMax = 4096;                // Bytes of a name.
  static constexpr u32 kNestingMax = 64;               // Of members, elements and modifiers.
  static constexpr u64 kSizeMax = (u64{1} << 29) - 1;  // Bytes of a type: its bits fit in 32 bits.

  // The format's numbers.
  enum class Kind : u8 {
    none = 0,  // void.
    integer = 1,
    pointer = 2,
    array = 3,
    structure = 4,
    union_ = 5,
    enumeration = 6,
    forward = 7,  // A structure or union that is not defined here.
    typedef_ = 8,
    volatile_ = 9,
    const_ = 10,
    restrict_ = 11,
    function = 12,
    prototype = 13,
    variable = 14,
    section = 15,
    floating = 16,
    declaration_tag = 17,
    type_tag = 18,
    enumeration64 = 19,
  };
  enum class Linkage : u8 { local = 0, global = 1, external = 2 };  // `static` is local.

  struct Member {
    std::string_view name;  // Empty: anonymous.
    u32 type = 0;
    u32 bit_offset = 0;
    u32 bitfield_size = 0;  // Bits; 0: it is none.
  };
  struct Enumerator {
    std::string_view name;
    u64 value = 0;  // Extended by the enumeration's sign.
  };
  struct Parameter {
    std::string_view name;
    u32 type = 0;  // 0 in the last: "...".
  };
  struct Placed {  // A variable in a section.
    u32 variable = 0;
    u32 offset = 0;
    u32 size = 0;
  };
  struct Type {
    Kind kind = Kind::none;
    std::string_view name = {};
    u32 size = 0;  // Bytes: integers, structures, unions, enumerations, sections, floats.
    // What is pointed to, renamed, qualified, returned, tagged; an array's element; a function's
    // prototype; a variable's type.
    u32 type = 0;
    bool is_signed = false;  // Integers and enumerations.
    bool is_bool = false;    // Integers.
    bool is_union = false;   // Forwards.
    u8 bits = 0;             // Integers: of the value, which starts at bit 0 of its bytes.
    u32 index_type = 0;      // Arrays.
    u32 count = 0;           // Arrays: of elements.
    Linkage linkage = Linkage::local;  // Functions and variables.
    i32 component = -1;  // Declaration tags: the member or parameter; -1: the thing itself.
    std::span<const Member> members = {};          // Structures and unions.
    std::span<const Enumerator> enumerators = {};  // Both widths.
    std::span<const Parameter> parameters = {};    // Prototypes.
    std::span<const Placed> placed = {};           // Sections, by offset.

    bool is_composite() const { return kind == Kind::structure || kind == Kind::union_; }
    bool is_enumeration() const { return kind == Kind::enumeration || kind == Kind::enumeration64; }
    bool is_modifier() const {  // What skip_modifiers() skips.
      return kind == Kind::typedef_ || kind == Kind::volatile_ || kind == Kind::const_ ||
             kind == Kind::restrict_ || kind == Kind::type_tag;
    }
  };

  static Result<Btf> read(std::span<const std::byte> section);
  Btf(Btf&&) = default;
  Btf& operator=(Btf&&) = default;

  u32 count() const { return static_cast<u32>(types_.size()); }  // Void included.
  const Type& type(u32 id) const;                                // id < count().

  // Through typedefs, qualifiers and type tags.
  u32 skip_modifiers(u32 id) const;
  const Type& plain(u32 id) const { return type(skip_modifiers(id)); }
  // Bytes. Nothing: void, functions, prototypes and what is only declared have no size.
  std::optional<u32> size_of(u32 id) const;
  // The first of that name and kind.
  std::optional<u32> find(std::string_view name, Kind kind) const;
  // Those with that name, or with that name and "___..." behind it: ids, ascending.
  std::vector<u32> find_flavours(std::string_view name) const;
  // The string at that offset of the table, which other sections name too; its first kNameMax
  // bytes.
  std::optional<std::string_view> string_at(u32 offset) const;
  // As C spells it: "struct foo *", "const char[16]", "int (*)(void *)".
  std::string describe(u32 id) const;

 private:
  friend class BtfReader;
  Btf() = default;

  std::vector<char> strings_;
  std::vector<Type> types_;
  std::vector<Member> members_;
  std::vector<Enumerator> enumerators_;
  std::vector<Parameter> parameters_;
  std::vector<Placed> placed_;
  std::vector<u32> by_name_;               // Ids of those with names, by name, then by id.
  std::vector<std::optional<u32>> sizes_;  // By id.
};

const char* name_of(Btf::Kind kind);

}  // namespace coppice::bpf
