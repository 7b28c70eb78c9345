// bpf/map.h — what every map offers, to programs and from outside.
//
// Theory. A map's memory is allocated when it is made and lives as long as the map: nothing grows,
// nothing is freed. So a pointer that lookup() returned stays good for memory as long as the map
// does, which whoever runs a program keeps alive until the run has ended. What it points to is
// another matter, and as in the kernel's preallocated maps: an element that was deleted or evicted
// meanwhile may be reused for another key, and a program that still holds the pointer reads or
// writes the newcomer's value. Plain values are written word by word, so a reader beside a writer
// may see half of each; programs that mind use atomic instructions.
//
// The operations follow the kernel's, errno for errno: they return 0 or -errno. "Per-CPU" means per
// slot: a slot is a reactor's number, which the caller gives and which only one thread uses at a
// time.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace coppice::bpf {

class Code;

// The kernel's numbers.
enum class MapKind : u32 {
  hash = 1,
  array = 2,
  program_array = 3,
  percpu_hash = 5,
  percpu_array = 6,
  lru_hash = 9,
  lpm_trie = 11,
  queue = 22,
  stack = 23,
  ringbuf = 27,
};
const char* name_of(MapKind kind);

struct MapSpec {
  MapKind kind = MapKind::array;
  std::string name = {};
  u32 key_size = 0;     // Bytes.
  u32 value_size = 0;   // Bytes.
  u32 max_entries = 0;  // Of a ring buffer its bytes.
  u32 slots = 1;        // Of per-CPU maps: how many reactors there are.
};

inline constexpr u32 kKeySizeMax = 512;
inline constexpr u32 kValueSizeMax = 1 << 20;
inline constexpr u32 kEntriesMax = 1 << 26;
inline constexpr u32 kSlotsOfMapMax = 1024;
inline constexpr u64 kMapBytesMax = u64{1} << 34;

// Flags of an update.
inline constexpr u64 kAny = 0, kNoExist = 1, kExist = 2;

class Map {
 public:
  using Visit = std::function<bool(const std::byte* key, std::byte* value)>;  // False: enough.

  virtual ~Map() = default;
  virtual const MapSpec& spec() const = 0;

  // What programs do. Null: there is no such element.
  virtual std::byte* lookup(const std::byte* key, u32 slot);
  virtual int update(const std::byte* key, const std::byte* value, u64 flags, u32 slot);
  virtual int remove(const std::byte* key);
  virtual int push(const std::byte* value, u64 flags);
  virtual int pop(std::byte* value);
  virtual int peek(std::byte* value);
  // Each element that is there throughout is visited once, unless others come and go so fast that
  // max_entries visits are done before; the number of visits or -errno.
  virtual i64 for_each(u32 slot, const Visit& visit);

  // What is done from outside. The value of a per-CPU map is that of all slots, each rounded up to
  // 8 bytes; `out` and `value` have value_bytes().
  virtual int read(const std::byte* key, std::span<std::byte> out);
  virtual int write(const std::byte* key, std::span<const std::byte> value, u64 flags);
  // The key behind `key` in the map's order; the first if `key` is null or not there. -ENOENT:
  // there is none.
  virtual int next_key(const std::byte* key, std::byte* next);
  size_t value_bytes() const;

  // The base of the values if they are one array that programs may address directly, else null.
  virtual std::byte* direct_values() { return nullptr; }
  // Whether these bytes lie within one value, as a pointer from lookup() may reach: exactly, for
  // the interpreter that checks everything.
  virtual bool reaches(u64 address, u64 size) const;
};

// Preallocates it. Refused: sizes that make no sense for the kind, or beyond the limits above.
Result<std::unique_ptr<Map>> make_map(MapSpec spec);

constexpr u32 stride_of(u32 size) { return (size + 7) / 8 * 8; }

// Copies a value word by word, each as one access that other threads may race with. `to` and the
// end of its element are aligned to 8; `from` need not be.
inline void store_value(std::byte* to, const std::byte* from, size_t size) {
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    u64 word;
    std::memcpy(&word, from + at, 8);
    __atomic_store_n(reinterpret_cast<u64*>(to + at), word, __ATOMIC_RELAXED);
  }
  for (; at < size; ++at)
    __atomic_store_n(reinterpret_cast<u8*>(to + at), static_cast<u8>(from[at]), __ATOMIC_RELAXED);
}
inline void load_value(std::byte* to, const std::byte* from, size_t size) {
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    const u64 word = __atomic_load_n(reinterpret_cast<const u64*>(from + at), __ATOMIC_RELAXED);
    std::memcpy(to + at, &word, 8);
  }
  for (; at < size; ++at)
    to[at] = std::byte{__atomic_load_n(reinterpret_cast<const u8*>(from + at), __ATOMIC_RELAXED)};
}
inline bool equals_value(const std::byte* shared, const std::byte* key, size_t size) {
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    u64 word;
    std::memcpy(&word, key + at, 8);
    if (__atomic_load_n(reinterpret_cast<const u64*>(shared + at), __ATOMIC_RELAXED) != word)
      return false;
  }
  for (; at < size; ++at) {
    if (__atomic_load_n(reinterpret_cast<const u8*>(shared + at), __ATOMIC_RELAXED) !=
        static_cast<u8>(key[at]))
      return false;
  }
  return true;
}
inline void zero_value(std::byte* to, size_t size) {
  for (size_t at = 0; at < size; at += 8)
    __atomic_store_n(reinterpret_cast<u64*>(to + at), 0, __ATOMIC_RELAXED);
}

}  // namespace coppice::bpf
