// bpf/queue_map.h — values without keys, taken out in the order they came (queue) or the last first
// (stack). One lock; every operation is a copy of one value.
#pragma once

#include "bpf/map.h"
#include "bpf/map_memory.h"
#include "bpf/seq_lock.h"

namespace coppice::bpf {

class QueueMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> make(MapSpec spec);

  const MapSpec& spec() const override { return spec_; }
  int push(const std::byte* value, u64 flags) override;  // kExist: the oldest makes room.
  int pop(std::byte* value) override;                    // None there: zeroes and -ENOENT.
  int peek(std::byte* value) override;

 private:
  QueueMap(MapSpec spec, MapMemory memory);
  int get(std::byte* value, bool take);
  std::byte* at(u64 index) { return memory_.data() + index % spec_.max_entries * stride_; }

  MapSpec spec_;
  u64 stride_;
  MapMemory memory_;
  SeqLock lock_;
  u64 first_ = 0, count_ = 0;  // The lock is held.
};

}  // namespace coppice::bpf
