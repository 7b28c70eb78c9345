// bpf/array_map.h — values by index, one for all or one a slot. All of them are there from the
// start.
#pragma once

#include "bpf/map.h"
#include "bpf/map_memory.h"

namespace coppice::bpf {

class ArrayMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> make(MapSpec spec);

  const MapSpec& spec() const override { return spec_; }
  std::byte* lookup(const std::byte* key, u32 slot) override;
  int update(const std::byte* key, const std::byte* value, u64 flags, u32 slot) override;
  i64 for_each(u32 slot, const Visit& visit) override;
  int read(const std::byte* key, std::span<std::byte> out) override;
  int write(const std::byte* key, std::span<const std::byte> value, u64 flags) override;
  int next_key(const std::byte* key, std::byte* next) override;
  std::byte* direct_values() override { return slots_ == 1 ? memory_.data() : nullptr; }
  bool reaches(u64 address, u64 size) const override;
  // For machine code: the first value, and how far the same of the next slot is. 0: all share one.
  std::byte* values() const { return memory_.data(); }
  u64 slot_stride() const { return slots_ == 1 ? 0 : u64{spec_.max_entries} * stride_; }

 private:
  ArrayMap(MapSpec spec, MapMemory memory);
  int refusal(u32 index, u64 flags) const;
  // Those of one slot lie together, so that reactors share no cache line.
  std::byte* value_at(u32 index, u32 slot) const {
    return memory_.data() + (u64{slot} * spec_.max_entries + index) * stride_;
  }

  MapSpec spec_;
  u32 slots_;  // 1 unless it is per-CPU.
  u64 stride_;
  MapMemory memory_;
};

}  // namespace coppice::bpf
