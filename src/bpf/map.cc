#include "bpf/map.h"

#include <fmt/format.h>

#include <cerrno>

#include "bpf/array_map.h"
#include "bpf/hash_map.h"
#include "bpf/lpm_trie.h"
#include "bpf/program_array.h"
#include "bpf/queue_map.h"
#include "bpf/ring_buffer.h"

namespace coppice::bpf {
namespace {

bool is_percpu(MapKind kind) {
  return kind == MapKind::percpu_array || kind == MapKind::percpu_hash;
}

std::unexpected<Error> bad(const MapSpec& spec, const std::string& why) {
  return fail(Errc::invalid, "cannot make a map",
              fmt::format("{} '{}': {}", name_of(spec.kind), spec.name, why));
}

Result<> check_sizes(const MapSpec& spec) {
  const bool array = spec.kind == MapKind::array || spec.kind == MapKind::percpu_array ||
                     spec.kind == MapKind::program_array;
  const bool keyless =
      spec.kind == MapKind::queue || spec.kind == MapKind::stack || spec.kind == MapKind::ringbuf;
  if (array && spec.key_size != 4)
    return bad(spec, fmt::format("its key must have 4 bytes, not {}", spec.key_size));
  if (spec.kind == MapKind::program_array && spec.value_size != 4)
    return bad(spec, fmt::format("its value must have 4 bytes, not {}", spec.value_size));
  if (keyless && spec.key_size != 0)
    return bad(spec, fmt::format("it has no keys, and yet a key of {} bytes", spec.key_size));
  if (!keyless && (spec.key_size == 0 || spec.key_size > kKeySizeMax))
    return bad(spec,
               fmt::format("a key of {} bytes; 1 to {} are possible", spec.key_size, kKeySizeMax));
  if (spec.kind == MapKind::lpm_trie && (spec.key_size < 5 || spec.key_size > 260))
    return bad(spec, fmt::format("a key of {} bytes; 4 for the length of the prefix and 1 to 256 "
                                 "for the prefix are possible",
                                 spec.key_size));
  if (spec.kind == MapKind::ringbuf) {
    if (spec.value_size != 0) return bad(spec, "it has no values, and yet a value size");
    return {};
  }
  if (spec.value_size == 0 || spec.value_size > kValueSizeMax)
    return bad(spec, fmt::format("a value of {} bytes; 1 to {} are possible", spec.value_size,
                                 kValueSizeMax));
  return {};
}

Result<> check_spec(const MapSpec& spec) {
  TRY_VOID(check_sizes(spec));
  if (spec.max_entries == 0) return bad(spec, "it has room for no entries");
  if (spec.kind != MapKind::ringbuf && spec.max_entries > kEntriesMax)
    return bad(spec, fmt::format("{} entries; {} are the most", spec.max_entries, kEntriesMax));
  if (spec.slots == 0 || spec.slots > kSlotsOfMapMax)
    return bad(spec, fmt::format("{} slots; 1 to {} are possible", spec.slots, kSlotsOfMapMax));
  const u64 copies = is_percpu(spec.kind) ? spec.slots : 1;
  const u64 entry = 64 + stride_of(spec.key_size) + copies * stride_of(spec.value_size);
  if (entry > kMapBytesMax / spec.max_entries)
    return bad(spec, fmt::format("it would take more than {} GiB", kMapBytesMax >> 30));
  return {};
}

}  // namespace

const char* name_of(MapKind kind) {
  switch (kind) {
    case MapKind::hash: return "hash";
    case MapKind::array: return "array";
    case MapKind::program_array: return "program array";
    case MapKind::percpu_hash: return "per-CPU hash";
    case MapKind::percpu_array: return "per-CPU array";
    case MapKind::lru_hash: return "LRU hash";
    case MapKind::lpm_trie: return "LPM trie";
    case MapKind::queue: return "queue";
    case MapKind::stack: return "stack";
    case MapKind::ringbuf: return "ring buffer";
  }
  return "map of an unknown kind";
}

Result<std::unique_ptr<Map>> make_map(MapSpec spec) {
  TRY_VOID(check_spec(spec));
  switch (spec.kind) {
    case MapKind::hash:
    case MapKind::percpu_hash:
    case MapKind::lru_hash: return HashMap::make(std::move(spec));
    case MapKind::array:
    case MapKind::percpu_array: return ArrayMap::make(std::move(spec));
    case MapKind::program_array: return ProgramArray::make(std::move(spec));
    case MapKind::lpm_trie: return LpmTrie::make(std::move(spec));
    case MapKind::queue:
    case MapKind::stack: return QueueMap::make(std::move(spec));
    case MapKind::ringbuf: return RingBuffer::make(std::move(spec));
  }
  return bad(spec, fmt::format("there is no kind {}", static_cast<u32>(spec.kind)));
}

size_t Map::value_bytes() const {
  const MapSpec& of = spec();
  return is_percpu(of.kind) ? size_t{stride_of(of.value_size)} * of.slots : of.value_size;
}

// A kind that lacks an operation answers as the kernel's does.
std::byte* Map::lookup(const std::byte*, u32) { return nullptr; }
int Map::update(const std::byte*, const std::byte*, u64, u32) { return -EINVAL; }
int Map::remove(const std::byte*) { return -EINVAL; }
int Map::push(const std::byte*, u64) { return -EOPNOTSUPP; }
int Map::pop(std::byte*) { return -EOPNOTSUPP; }
int Map::peek(std::byte*) { return -EOPNOTSUPP; }
i64 Map::for_each(u32, const Visit&) { return -EINVAL; }
int Map::read(const std::byte*, std::span<std::byte>) { return -EOPNOTSUPP; }
int Map::write(const std::byte*, std::span<const std::byte>, u64) { return -EOPNOTSUPP; }
int Map::next_key(const std::byte*, std::byte*) { return -EOPNOTSUPP; }
bool Map::reaches(u64, u64) const { return false; }

}  // namespace coppice::bpf
