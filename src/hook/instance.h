// hook/instance.h — an object file loaded: its maps and its programs, proved safe and compiled.
//
// Theory. An Instance never changes once it is loaded, but for what is in its maps. Links, handles
// of maps and whoever has it at hand share it; with the last of them go the maps. What it is an
// instance of is known by a hash over the object's bytes and the settings of its variables: two
// loads of the same are interchangeable, save for what is in their maps. Maps that ask for it
// (pinning by name) are one with the map of that name and shape in other instances.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bpf/native/compiler.h"
#include "bpf/object/object.h"
#include "bpf/verify/verifier.h"
#include "hook/types.h"

namespace coppice::hook {

inline constexpr size_t kObjectBytesMax = 1_MiB;

using Settings = std::map<std::string, std::string>;

// A map, with what a person needs to make sense of it.
struct SharedMap {
  u64 id = 0;
  std::string name;
  std::unique_ptr<bpf::Map> map;
  bool read_only = false, frozen = false;
  u32 key_type = 0, value_type = 0;                      // In `btf`; 0: unknown.
  std::shared_ptr<const std::vector<std::byte>> object;  // The file that has the types.
};

struct LoadedProgram {
  std::string name;
  const PointType* point = nullptr;
  std::string function;  // Not empty: it replaces a function of that name; `point` is its target's.
  Tier tier = Tier::stable;
  u64 instructions_max = 0;  // Of one run; ~0: unknown.
  std::unique_ptr<bpf::Code> code;
  std::unique_ptr<bpf::Native> native;  // Null: it is interpreted.
};

struct Instance {
  std::string hash;  // Of object and settings, 64 hex digits.
  std::shared_ptr<const std::vector<std::byte>> object;
  Settings settings;
  std::vector<std::shared_ptr<SharedMap>> maps;
  std::vector<LoadedProgram> programs;

  const LoadedProgram* find(std::string_view program) const;
};

// Why an object is not loaded; `details` are the verifier's words.
struct LoadRefusal {
  int error = 0;
  std::string message;
  std::vector<std::string> details;
};
template <class T>
using Loaded = std::expected<T, LoadRefusal>;

std::string hash_of(std::span<const std::byte> object, const Settings& settings);

// A program whose function another one replaces.
struct Replacement {
  const Instance& target;
  std::string program;   // Of the target.
  std::string function;  // Global, and not the program itself.
};

// What a program on that point may rely on.
Tier tier_of(const PointType& point, const bpf::Program& program);

// Takes as long as verifying and compiling take. One thread at a time, none that serves requests.
class Loader {
 public:
  struct Order {
    std::shared_ptr<const std::vector<std::byte>> object;
    Settings settings = {};
    std::vector<std::string> programs = {};  // By name; empty: all of the object.
  };

  // `slots`: of per-CPU maps. `build_id`: of this daemon, for programs that look at its insides.
  Loader(const Types& types, bpf::Compiler& compiler, u32 slots, std::string build_id)
      : types_(types), compiler_(compiler), slots_(slots), build_id_(std::move(build_id)) {}

  Loaded<std::shared_ptr<const Instance>> load(const Order& order);
  // Of the order's programs the one in section "freplace/FUNCTION". The instance has the target's
  // program as it is with the function replaced, under its own name, and the replacement, which has
  // no code of its own; its maps are the target's and the object's.
  Loaded<std::shared_ptr<const Instance>> load_replacement(const Order& order,
                                                           const Replacement& replacement);

 private:
  struct Source;
  Loaded<std::vector<std::shared_ptr<SharedMap>>> make_maps(const Order& order,
                                                            const bpf::Object& object);
  Loaded<bpf::Object> read(const Order& order) const;
  Loaded<LoadedProgram> load_program(const Source& source, const bpf::ObjectProgram& program);
  Loaded<std::shared_ptr<SharedMap>> share(std::shared_ptr<SharedMap> made);

  const Types& types_;
  bpf::Compiler& compiler_;
  const u32 slots_;
  const std::string build_id_;
  u64 next_map_ = 1;
  std::map<std::string, std::weak_ptr<SharedMap>> by_name_;
};

}  // namespace coppice::hook
