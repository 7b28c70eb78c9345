// hook/testing/workshop.h — the objects of testing/programs, loaded; what is in their maps.
#pragma once

#include "hook/link.h"

namespace coppice::hook::testing {

enum class Engine : u8 { interpreter, machine_code };
void PrintTo(Engine engine, std::ostream* out);

inline constexpr u32 kSlots = 8;  // Of per-CPU maps.
inline constexpr const char* kBuildId = "made-for-the-test";

// The object file NAME.o.
std::shared_ptr<const std::vector<std::byte>> object_of(const std::string& name);

class Workshop {
 public:
  // One for each engine: what was compiled once is at hand for every test.
  static Workshop& of(Engine engine);
  explicit Workshop(Engine engine);

  const Types& types() const { return *types_; }
  const PointType& type(std::string_view section) const;
  Loaded<std::shared_ptr<const Instance>> load(const std::string& name,
                                               const Settings& settings = {});
  std::shared_ptr<const Instance> get(const std::string& name);  // It is known to load.
  Loader& loader() { return loader_; }

 private:
  const Engine engine_;
  std::unique_ptr<Types> types_;
  bpf::Compiler compiler_;
  Loader loader_;
};

bpf::Map& map_of(const Instance& instance, std::string_view name);
// The value at an index of an array; of a per-CPU one that of the first slot.
template <class T>
T value_of(const Instance& instance, std::string_view name, u32 index = 0) {
  bpf::Map& map = map_of(instance, name);
  std::vector<std::byte> bytes(map.value_bytes());
  CHECK(map.read(reinterpret_cast<const std::byte*>(&index), bytes) == 0);
  CHECK(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}
template <class T>
void set_value(const Instance& instance, std::string_view name, const T& value, u32 index = 0) {
  bpf::Map& map = map_of(instance, name);
  CHECK(map.value_bytes() == sizeof value);
  const auto bytes = std::as_bytes(std::span(&value, 1));
  CHECK(map.write(reinterpret_cast<const std::byte*>(&index), bytes, bpf::kAny) == 0);
}
// Of a per-CPU array of numbers, all slots together.
u64 sum_of(const Instance& instance, std::string_view name, u32 index = 0);

// What testing/programs/scripted.c is told.
struct Script {
  u32 id = 0, verdict = 0, error = 0, target = 0, set_flags = 0, flags = 0, replies = 0,
      reply_at = 0;
  u64 delay_ns = 0;
  u8 answer[8] = {};
};

// An instance whose programs fail whenever they run: of a kind that no verifier would let pass.
std::shared_ptr<const Instance> failing(const PointType& type);

}  // namespace coppice::hook::testing
