// bpf_bench: what the interpreter, the maps and the ring buffer cost, in nanoseconds.
#include <benchmark/benchmark.h>

#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/ring_buffer.h"

namespace coppice::bpf {
namespace {

constexpr u32 kEntries = 1'000'000;

std::unique_ptr<Map> make(MapSpec spec) {
  auto map = make_map(std::move(spec));
  CHECK(map.has_value());
  return *std::move(map);
}
const std::byte* bytes(const auto& value) { return reinterpret_cast<const std::byte*>(&value); }

Code bind(std::vector<Instruction> slots, const HelperTable& helpers) {
  auto program = Program::make(std::move(slots));
  CHECK(program.has_value());
  auto code = Code::bind(*program, {.helpers = helpers});
  CHECK(code.has_value());
  return *std::move(code);
}

void empty_call(benchmark::State& state) {
  const HelperTable helpers;
  const Code code = bind({{.opcode = 0xb7}, {.opcode = kOpcodeExit}}, helpers);
  Machine machine({});
  for (auto _ : state) benchmark::DoNotOptimize(machine.run(code, 0).r0);
}
BENCHMARK(empty_call);

// 1000 rounds of xorshift: 8 instructions each.
std::vector<Instruction> xorshift() {
  return {{.opcode = 0xb7, .dst = 0, .imm = 88172645},
          {.opcode = 0xb7, .dst = 1, .imm = 1000},
          {.opcode = 0xbf, .dst = 2, .src = 0},
          {.opcode = 0x67, .dst = 2, .imm = 13},
          {.opcode = 0xaf, .dst = 0, .src = 2},
          {.opcode = 0xbf, .dst = 2, .src = 0},
          {.opcode = 0x77, .dst = 2, .imm = 7},
          {.opcode = 0xaf, .dst = 0, .src = 2},
          {.opcode = 0x07, .dst = 1, .imm = -1},
          {.opcode = 0x55, .dst = 1, .offset = -8},
          {.opcode = kOpcodeExit}};
}
void loop_of_8000_instructions(benchmark::State& state) {
  const HelperTable helpers;
  const Code code = bind(xorshift(), helpers);
  Machine machine({});
  for (auto _ : state) {
    const Outcome outcome =
        state.range(0) == 0 ? machine.run(code, 0) : machine.run_checked(code, {}, 0);
    CHECK(outcome.stop == Stop::exited);
    benchmark::DoNotOptimize(outcome.r0);
  }
}
BENCHMARK(loop_of_8000_instructions)->ArgName("checked")->Arg(0)->Arg(1);

void array_lookup(benchmark::State& state) {
  auto map = make({.kind = MapKind::array, .key_size = 4, .value_size = 8, .max_entries = 1024});
  u32 key = 0;
  for (auto _ : state) {
    key = (key + 1) % 1024;
    benchmark::DoNotOptimize(map->lookup(bytes(key), 0));
  }
}
BENCHMARK(array_lookup);

// A million entries; keys of a few of them in turn ("in cache") or any of them.
void with_hash(benchmark::State& state, auto&& action) {
  auto map = make({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = kEntries});
  for (u64 key = 0; key < kEntries; ++key) CHECK(map->update(bytes(key), bytes(key), kAny, 0) == 0);
  const u64 used = static_cast<u64>(state.range(0));
  std::vector<u64> keys(1 << 16);
  Prng prng(1);
  for (u64& key : keys) key = prng.below(used) * (kEntries / used);
  size_t at = 0;
  for (auto _ : state) action(*map, keys[at++ % keys.size()]);
}
void hash_lookup(benchmark::State& state) {
  with_hash(state,
            [](Map& map, const u64& key) { benchmark::DoNotOptimize(map.lookup(bytes(key), 0)); });
}
BENCHMARK(hash_lookup)->ArgName("keys_used")->Arg(1000)->Arg(kEntries);
void hash_update(benchmark::State& state) {
  with_hash(state, [](Map& map, const u64& key) {
    benchmark::DoNotOptimize(map.update(bytes(key), bytes(key), kAny, 0));
  });
}
BENCHMARK(hash_update)->ArgName("keys_used")->Arg(1000)->Arg(kEntries);

// 16 bytes each; a consumer in the same loop empties the ring now and then.
void ring_reserve_and_submit(benchmark::State& state) {
  auto map = make({.kind = MapKind::ringbuf, .max_entries = 1 << 20});
  auto& ring = static_cast<RingBuffer&>(*map);
  auto reader = RingReader::open(ring.consumer_fd(), ring.ring_fd(), 1 << 20);
  CHECK(reader.has_value());
  for (auto _ : state) {
    std::byte* record = ring.reserve(16);
    if (record == nullptr) {
      state.PauseTiming();
      reader->poll([](std::span<const std::byte>) {});
      state.ResumeTiming();
      record = ring.reserve(16);
    }
    std::memset(record, 1, 16);
    RingBuffer::submit(record, 0);
  }
}
BENCHMARK(ring_reserve_and_submit);

}  // namespace
}  // namespace coppice::bpf

BENCHMARK_MAIN();
