// bpf/object/object.h — an object file of clang's: its programs, its maps, and what it says of
// them.
//
// Theory. An object is a relocatable ELF file. Functions of `.text` are subprograms; those of every
// other executable section are programs, or subprograms if static. What clang leaves open, read()
// settles: each program becomes whole, with a copy of every subprogram that it reaches behind it;
// calls, addresses of code, maps and global data are numbers that Code::bind understands; offsets,
// sizes and numbers of the host's types (CO-RE) are those of the host. Maps are numbered as in
// maps(), for all programs alike. Global data is maps too: one array of one value for each section,
// frozen if it is constant.
//
// Every byte is hostile: what is read was looked at first, what is named is bounded, and an error
// says which section, and where in it.
//
// ELF is read here rather than by libelf, because that reads lazily, converts in place and says of
// a bad file neither section nor offset; and of ELF an object needs four structures.
#pragma once

#include <memory>

#include "bpf/code.h"
#include "bpf/object/btf.h"
#include "bpf/object/elf.h"
#include "bpf/program.h"

namespace coppice::bpf {

inline constexpr size_t kProgramsMax = 1024;          // Of one object.
inline constexpr size_t kObjectMapsMax = 256;         // Of one object, global data included.
inline constexpr size_t kObjectSlotsMax = 4'000'000;  // Of all programs of an object together.

// Where slots come from. A line holds from its slot to the next line's.
struct Line {
  u32 slot = 0;
  std::string_view file = {};
  u32 line = 0;
  u32 column = 0;
  std::string_view text = {};  // The source line itself.
};

struct Function {
  u32 slot = 0;  // Where it begins.
  std::string_view name = {};
  u32 type = 0;         // The BTF id of its Kind::function; 0: unknown.
  bool global = false;  // Not static: to be verified by itself, from its prototype.
};

// Views are into the Object.
struct ObjectProgram {
  std::string name;
  std::string section;
  Program program;
  std::vector<Function> functions;  // By slot; the first is the program itself.
  std::vector<Line> lines;          // By slot.
  bool relocated = false;           // Something of it depends on the host's types (CO-RE).
};

struct ObjectMap {
  struct Entry {
    u32 index = 0;
    u32 program = 0;  // In Object::programs().
  };

  MapSpec spec;                          // `slots` is make_maps()'s to say.
  std::vector<std::byte> contents = {};  // Of global data: its one value.
  bool is_data = false;                  // Global data.
  bool read_only = false;                // Programs may not write it.
  bool frozen = false;                   // Nobody will: `contents` may be taken for granted.
  u32 key_type = 0, value_type = 0;      // BTF ids; 0: unknown. Of global data the Kind::section.
  bool by_name = false;  // Asked to be one with the map of that name in other objects (pinning).
  std::string kernel_field = {};  // Which part of a value is the kernel's own (bpf_spin_lock, ...).
  std::vector<Entry> entries = {};  // Of a program array.
};

struct ReadOptions {
  // What CO-RE relocations are resolved against; without it programs that have any are refused.
  const Btf* host = nullptr;
  // They are resolved against the object's own types: to look at it where there is no host.
  bool own_types = false;
  // Not empty: only that program is read, and the maps it uses. What else is in the object need not
  // make sense here; entries of program arrays are those that lead to it.
  std::string only = {};
};

class Object {
 public:
  static Result<Object> read(std::span<const std::byte> bytes, const ReadOptions& options);

  std::span<const ObjectProgram> programs() const { return programs_; }
  std::span<const ObjectMap> maps() const { return maps_; }
  // Gives a global variable, constants included, the value that the text says: a number (decimal,
  // 0x..., with K, M, G or T of 1024), true or false, an enumerator's name, numbers with commas
  // between them for an array, any text for an array of char. Before make_maps() and views_of(), so
  // that the verifier knows what is constant.
  Result<> set(std::string_view variable, std::string_view text);

  const Btf* btf() const { return btf_ ? &*btf_ : nullptr; }  // Null: compiled without -g.
  std::string_view license() const { return license_; }
  u32 version() const { return version_; }
  // Of the host it was made for, if it says so: the text of its section "build_id".
  std::string_view build_id() const { return build_id_; }

 private:
  friend class ObjectReader;
  Object() = default;

  std::vector<char> names_;  // Of functions.
  std::optional<Btf> btf_;
  std::vector<ObjectProgram> programs_;
  std::vector<ObjectMap> maps_;
  std::string license_, build_id_;
  u32 version_ = 0;
};

// One map for each of maps(), filled. Program arrays are the host's to fill, from `entries`.
Result<std::vector<std::unique_ptr<Map>>> make_maps(const Object& object, u32 slots);

}  // namespace coppice::bpf
