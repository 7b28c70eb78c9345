#include "bpf/array_map.h"

#include <cerrno>

#include "base/endian.h"

namespace coppice::bpf {

ArrayMap::ArrayMap(MapSpec spec, MapMemory memory)
    : spec_(std::move(spec)),
      slots_(spec_.kind == MapKind::percpu_array ? spec_.slots : 1),
      stride_(stride_of(spec_.value_size)),
      memory_(std::move(memory)) {}

Result<std::unique_ptr<Map>> ArrayMap::make(MapSpec spec) {
  const u64 slots = spec.kind == MapKind::percpu_array ? spec.slots : 1;
  TRY(auto memory, MapMemory::make(slots * spec.max_entries * stride_of(spec.value_size)));
  return std::unique_ptr<Map>(new ArrayMap(std::move(spec), std::move(memory)));
}

std::byte* ArrayMap::lookup(const std::byte* key, u32 slot) {
  const u32 index = load_le<u32>(key);
  if (index >= spec_.max_entries) return nullptr;
  if (slots_ == 1) return value_at(index, 0);
  CHECK(slot < slots_);
  return value_at(index, slot);
}

int ArrayMap::refusal(u32 index, u64 flags) const {
  if (flags > kExist) return -EINVAL;
  if (index >= spec_.max_entries) return -E2BIG;
  return flags == kNoExist ? -EEXIST : 0;
}

int ArrayMap::update(const std::byte* key, const std::byte* value, u64 flags, u32 slot) {
  const u32 index = load_le<u32>(key);
  if (const int refused = refusal(index, flags); refused != 0) return refused;
  CHECK(slots_ == 1 || slot < slots_);
  store_value(value_at(index, slots_ == 1 ? 0 : slot), value, spec_.value_size);
  return 0;
}

i64 ArrayMap::for_each(u32 slot, const Visit& visit) {
  CHECK(slots_ == 1 || slot < slots_);
  for (u32 index = 0; index < spec_.max_entries; ++index) {
    std::byte key[4];
    store_le(key, index);
    if (!visit(key, value_at(index, slots_ == 1 ? 0 : slot))) return index + 1;
  }
  return spec_.max_entries;
}

int ArrayMap::read(const std::byte* key, std::span<std::byte> out) {
  CHECK(out.size() == value_bytes());
  const u32 index = load_le<u32>(key);
  if (index >= spec_.max_entries) return -ENOENT;
  for (u32 slot = 0; slot < slots_; ++slot)
    load_value(&out[slot * stride_], value_at(index, slot), slots_ == 1 ? out.size() : stride_);
  return 0;
}

int ArrayMap::write(const std::byte* key, std::span<const std::byte> value, u64 flags) {
  CHECK(value.size() == value_bytes());
  const u32 index = load_le<u32>(key);
  if (const int refused = refusal(index, flags); refused != 0) return refused;
  for (u32 slot = 0; slot < slots_; ++slot)
    store_value(value_at(index, slot), &value[slot * stride_], spec_.value_size);
  return 0;
}

int ArrayMap::next_key(const std::byte* key, std::byte* next) {
  const u32 index = key != nullptr ? load_le<u32>(key) : spec_.max_entries;
  if (index < spec_.max_entries && index + 1 == spec_.max_entries) return -ENOENT;
  store_le(next, index < spec_.max_entries ? index + 1 : u32{0});
  return 0;
}

bool ArrayMap::reaches(u64 address, u64 size) const {
  const u64 base = reinterpret_cast<u64>(memory_.data());
  const u64 bytes = u64{slots_} * spec_.max_entries * stride_;
  if (address < base || address - base >= bytes) return false;
  const u64 within = (address - base) % stride_;
  return within <= spec_.value_size && size <= spec_.value_size - within;
}

}  // namespace coppice::bpf
