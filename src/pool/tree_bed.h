// pool/tree_bed.h — what tests of trees stand on: a simulated disk, a node store, an endless
// allocator.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "pool/tree.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace coppice::pool {

// Hands out ever new blocks in runs of random lengths, and counts what is out.
class EndlessAllocator final : public Allocator {
 public:
  explicit EndlessAllocator(u64 seed) : prng_(seed) {}
  Task<Run> take(u32 want, Txg) override {
    const u32 count = prng_.chance(1, 8) ? 1 : static_cast<u32>(prng_.between(1, want));
    const Run run{BlockAddr(next_), count};
    next_ += count;
    taken += count;
    co_return run;
  }
  void untake(Run run, Txg) override { taken -= run.count; }
  u64 taken = 0;

 private:
  Prng prng_;
  u64 next_ = 1;
};

class TreeBed {
 public:
  explicit TreeBed(u64 seed, u64 cache_bytes = 64_MiB)
      : scheduler(seed),
        media(u64{1} << 40, seed),
        disk(media, lane),
        allocator(seed + 1),
        store(std::make_unique<NodeStore>(lane, disk, cache_bytes)) {}

  void forget(u64 cache_bytes = 64_MiB) {  // Everything must be read again.
    store = std::make_unique<NodeStore>(lane, disk, cache_bytes);
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return scheduler.run(lane, std::move(task));
  }

  struct Merged {
    NodePtr root;
    std::vector<NodePtr> dropped;
    std::vector<NodePtr> written;
  };
  Result<Merged> merge(NodePtr root, std::span<const Change> changes) {
    NodeWriter writer(*store, allocator, ++txg);
    Merged merged;
    auto result = run(pool::merge(*store, writer, root, changes, merged.dropped));
    const auto finished = run(writer.finish());
    if (!result) return std::unexpected(result.error());
    if (!finished) return std::unexpected(finished.error());
    merged.root = *result;
    merged.written = writer.written();
    return merged;
  }

  struct Counter {
    Txg txg{};
    Txg operator++() { return txg = next(txg); }
  };
  sim::Scheduler scheduler;
  sim::Executor& lane = scheduler.make_executor();
  sim::Media media;
  sim::Disk disk;
  EndlessAllocator allocator;
  std::unique_ptr<NodeStore> store;
  Counter txg;
};

using Model = std::map<std::string, std::string>;

// Batches of changes own their text here.
struct Batch {
  std::map<std::string, std::optional<std::string>> by_key;
  std::vector<Change> changes() const {
    std::vector<Change> out;
    for (const auto& [key, value] : by_key)
      out.push_back({key, value ? std::optional<std::string_view>(*value) : std::nullopt});
    return out;
  }
  void apply_to(Model& model) const {
    for (const auto& [key, value] : by_key) {
      if (value)
        model[key] = *value;
      else
        model.erase(key);
    }
  }
};

}  // namespace coppice::pool
