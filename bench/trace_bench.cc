// trace_bench: what a tracepoint costs that nobody wants, and what telling a sink costs, in
// nanoseconds. Each is to be compared with `nothing`.
#include <benchmark/benchmark.h>

#include "trace/fire.h"

namespace coppice::trace {
namespace {

class Nobody final : public Sink {
 public:
  void fire(Point, const void* view, size_t) override { benchmark::DoNotOptimize(view); }
};

void pass(Point point, u64 number) {
  if (on(point)) [[unlikely]]
    fire(coppice_txg_open{.time_ns = number, .pool = 2, .txg = 3});
}

void nothing(benchmark::State& state) {
  u64 number = 0;
  for (auto _ : state) benchmark::DoNotOptimize(++number);
}
BENCHMARK(nothing);

void disabled(benchmark::State& state) {
  u64 number = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(++number);
    pass(Point::txg_open, number);
  }
}
BENCHMARK(disabled);

void ten_disabled(benchmark::State& state) {
  u64 number = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(++number);
    pass(Point::txg_open, number);
    pass(Point::txg_close, number);
    pass(Point::txg_sync, number);
    pass(Point::snapshot, number);
    pass(Point::clone, number);
    pass(Point::destroy, number);
    pass(Point::cache_miss, number);
    pass(Point::disk_submit, number);
    pass(Point::disk_complete, number);
    pass(Point::error, number);
  }
}
BENCHMARK(ten_disabled);

void to_a_sink(benchmark::State& state) {
  Nobody nobody;
  set_sink(&nobody);
  enable(Point::txg_open, 1);
  u64 number = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(++number);
    pass(Point::txg_open, number);
  }
  enable(Point::txg_open, -1);
  set_sink(nullptr);
}
BENCHMARK(to_a_sink);

}  // namespace
}  // namespace coppice::trace

BENCHMARK_MAIN();
