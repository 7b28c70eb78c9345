// Measures the tree, the allocator and the block cache on a disk that costs nothing.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <deque>

#include "base/prng.h"
#include "pool/block_cache.h"
#include "pool/space.h"
#include "pool/tree.h"

namespace coppice::pool {
namespace {

constexpr u64 kItems = 1'000'000;
constexpr u64 kChanges = 100'000;
constexpr size_t kValueBytes = 24;

class Loop final : public rt::Executor {
 public:
  void post(rt::Job& job) override { jobs_.push_back(&job); }
  void post_at(u64, rt::Job& job) override { jobs_.push_back(&job); }
  u64 now_ns() const override { return 0; }
  u64 wall_ns() const override { return 0; }
  template <class T>
  Result<T> run(Task<T> task) {
    task.start();
    while (!task.finished()) {
      CHECK(!jobs_.empty());
      rt::Job* job = jobs_.front();
      jobs_.pop_front();
      job->run(*job);
    }
    return task.take();
  }

 private:
  std::deque<rt::Job*> jobs_;
};

class Sink final : public io::Disk {  // Takes everything, holds nothing: the node cache has it all.
 public:
  u64 size_bytes() const override { return u64{1} << 40; }
  Task<> read(u64, std::span<std::byte>) override { co_return fail(Errc::io, "read a sink"); }
  Task<> write(u64, Parts) override { co_return {}; }
  Task<> flush() override { co_return {}; }
  Task<> punch(u64, u64) override { co_return {}; }
};

class Endless final : public Allocator {
 public:
  Task<Run> take(u32 want, Txg) override {
    const Run run{BlockAddr(next_), want};
    next_ += want;
    co_return run;
  }
  void untake(Run, Txg) override {}

 private:
  u64 next_ = 1;
};

struct Keys {  // A batch of changes with 8-byte keys.
  std::vector<u64> bytes;
  std::vector<Change> changes;
  explicit Keys(std::vector<u64> numbers, std::string_view value) : bytes(std::move(numbers)) {
    std::ranges::sort(bytes);
    bytes.erase(std::unique(bytes.begin(), bytes.end()), bytes.end());
    for (u64& key : bytes) key = __builtin_bswap64(key);
    for (const u64& key : bytes)
      changes.push_back({{reinterpret_cast<const char*>(&key), sizeof key}, value});
  }
};

struct Forest {
  Loop loop;
  Sink disk;
  Endless allocator;
  NodeStore store{loop, disk, 2_GiB};
  NodePtr root;
  u64 txg = 0;

  Forest() {
    std::vector<u64> all(kItems);
    for (u64 i = 0; i < kItems; ++i) all[i] = i;
    merge(Keys(std::move(all), std::string(kValueBytes, 'v')));
  }
  void merge(const Keys& keys) {
    NodeWriter writer(store, allocator, Txg(++txg));
    std::vector<NodePtr> dropped;
    auto made = loop.run(pool::merge(store, writer, root, keys.changes, dropped));
    CHECK(made && loop.run(writer.finish()));
    root = *made;
  }
};

void merge_random(benchmark::State& state) {
  Forest forest;
  Prng prng(1);
  std::string value(kValueBytes, 'w');
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<u64> some(kChanges);
    for (u64& key : some) key = prng.below(kItems);
    value[0] = static_cast<char>(prng.next());
    const Keys keys(std::move(some), value);
    state.ResumeTiming();
    forest.merge(keys);
  }
}
BENCHMARK(merge_random)->Unit(benchmark::kMillisecond)->Iterations(10);

void seek_floor_random(benchmark::State& state) {
  Forest forest;
  Prng prng(2);
  Cursor cursor(forest.store, forest.root);
  for (auto _ : state) {
    const u64 key = __builtin_bswap64(prng.below(kItems));
    const bool there = cursor.try_seek_floor({reinterpret_cast<const char*>(&key), sizeof key});
    CHECK(there);
    benchmark::DoNotOptimize(cursor.value().data());
  }
}
BENCHMARK(seek_floor_random);

void cursor_next(benchmark::State& state) {
  Forest forest;
  Cursor cursor(forest.store, forest.root);
  CHECK(cursor.try_seek_floor(""));
  for (auto _ : state) {
    CHECK(cursor.try_next());
    if (cursor.at_end()) CHECK(cursor.try_seek_floor(""));
  }
}
BENCHMARK(cursor_next);

void block_cache_hit(benchmark::State& state) {
  const u64 blocks = static_cast<u64>(state.range(0));
  PagePool pool(blocks * kBlock);
  BlockCache cache(blocks * kBlock);
  for (u64 i = 1; i <= blocks; ++i) cache.insert(BlockAddr(i), Txg(1), pool.allocate());
  Prng prng(3);
  for (auto _ : state)
    benchmark::DoNotOptimize(cache.find(BlockAddr(1 + prng.below(blocks)), Txg(1)).data());
}
BENCHMARK(block_cache_hit)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 18);

void page_allocate(benchmark::State& state) {
  PagePool pool(64_MiB);
  for (auto _ : state) benchmark::DoNotOptimize(pool.allocate().data());
}
BENCHMARK(page_allocate);

// 100 GiB, every other block in use: the worst that fragmentation can be.
void space_take_torn(benchmark::State& state) {
  auto space = Space::make(100_GiB / kBlock);
  std::vector<Run> all;
  while (auto runs = space->take(1'000'000))
    for (const Run& run : *runs) all.push_back(run);
  for (const Run& run : all)
    for (u32 i = 0; i < run.count; i += 2) space->untake({run.start + i, 1});
  for (auto _ : state) benchmark::DoNotOptimize(space->take(64));
}
BENCHMARK(space_take_torn)->Iterations(10'000);

void space_take_fresh(benchmark::State& state) {
  auto space = Space::make(u64{1} << 32);
  for (auto _ : state) benchmark::DoNotOptimize(space->take(64));
}
BENCHMARK(space_take_fresh)->Iterations(1'000'000);

}  // namespace
}  // namespace coppice::pool

BENCHMARK_MAIN();
