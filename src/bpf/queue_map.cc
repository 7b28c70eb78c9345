#include "bpf/queue_map.h"

#include <cerrno>

namespace coppice::bpf {

QueueMap::QueueMap(MapSpec spec, MapMemory memory)
    : spec_(std::move(spec)), stride_(stride_of(spec_.value_size)), memory_(std::move(memory)) {}

Result<std::unique_ptr<Map>> QueueMap::make(MapSpec spec) {
  TRY(auto memory, MapMemory::make(u64{spec.max_entries} * stride_of(spec.value_size)));
  return std::unique_ptr<Map>(new QueueMap(std::move(spec), std::move(memory)));
}

int QueueMap::push(const std::byte* value, u64 flags) {
  if (flags != kAny && flags != kExist) return -EINVAL;
  const Locked locked(lock_);
  if (count_ == spec_.max_entries) {
    if (flags != kExist) return -E2BIG;
    first_ = (first_ + 1) % spec_.max_entries;
    --count_;
  }
  std::memcpy(at(first_ + count_), value, spec_.value_size);
  ++count_;
  CHECK(count_ <= spec_.max_entries);
  return 0;
}

int QueueMap::get(std::byte* value, bool take) {
  const Locked locked(lock_);
  if (count_ == 0) {
    std::memset(value, 0, spec_.value_size);
    return -ENOENT;
  }
  const bool queue = spec_.kind == MapKind::queue;
  std::memcpy(value, at(queue ? first_ : first_ + count_ - 1), spec_.value_size);
  if (!take) return 0;
  if (queue) first_ = (first_ + 1) % spec_.max_entries;
  --count_;
  return 0;
}

int QueueMap::pop(std::byte* value) { return get(value, true); }
int QueueMap::peek(std::byte* value) { return get(value, false); }

}  // namespace coppice::bpf
