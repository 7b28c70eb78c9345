// bench/bpf_engines.cc — coppice-bpf-engines: programs in every engine there is, side by side.
//
//   coppice-bpf-engines OBJECT COPPICE-JIT [MILLISECONDS]
//
// Prints JSON: for each program the best nanoseconds a run of gcc's and clang's native code (where
// the program has no maps), the interpreter, machine code, and the kernel (null where it is not
// allowed); and what compiling costs. Rounds are short and alternate, so that some of them are
// undisturbed; a measurement lasts so many milliseconds (100).
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/native/compiler.h"
#include "bpf/object/object.h"
#include "bpf/ring_buffer.h"
#include "bpf/verify/verifier.h"
#include "bpf_kernel.h"
#include "rounds.h"

#define COPPICE_PROGRAMS(X) X(empty) X(xorshift) X(fnv) X(vector) X(parse)

extern "C" {
struct MeasuredData {
  coppice::u64 seed, result;
  coppice::u32 words[1024];
};
extern MeasuredData gcc_data, clang_data;
#define X(name) long gcc_##name(void* context), clang_##name(void* context);
COPPICE_PROGRAMS(X)
#undef X
}

namespace coppice::bpf {
namespace {

template <class T>
T need(Result<T> result) {
  if (result) return *std::move(result);
  fmt::print(stderr, "coppice-bpf-engines: {}\n", describe(result.error()));
  std::exit(1);
}

using PeerFunction = long (*)(void*);
struct Compiled {
  PeerFunction gcc = nullptr, clang = nullptr;
};
Compiled compiled_of(const std::string& name) {
#define X(each)                                                                                    \
  if (name == #each) return {gcc_##each, clang_##each};
  COPPICE_PROGRAMS(X)
#undef X
  return {};
}

// Records of random lengths, 8 to 28 bytes, of which every fourth is of the kind that is looked
// for.
void fill(MeasuredData& data) {
  data.seed = 88172645463325252;
  u32 state = 1, kind = 0;
  for (u32 at = 0; at < std::size(data.words); kind = (kind + 1) % 4) {
    state = state * 1664525 + 1013904223;
    const u32 words = 2 + (state >> 20) % 6;
    data.words[at] = (words * 4) | kind << 16;
    for (u32 i = 1; i < words && at + i < std::size(data.words); ++i)
      data.words[at + i] = state ^ i * 2654435761u;
    at += words;
  }
}

struct Bed {
  explicit Bed(const Object& opened) : object(opened) {
    add_core_helpers(helpers);
    type.name = "xdp";
    type.helpers = &helpers;
    owned = need(make_maps(object, 1));
    for (const auto& each : owned) maps.push_back(each.get());
    for (size_t i = 0; i < maps.size(); ++i) {
      if (object.maps()[i].is_data && maps[i]->spec().value_size >= sizeof(MeasuredData)) {
        fill(*reinterpret_cast<MeasuredData*>(maps[i]->direct_values()));
        data = i;
      }
      if (maps[i]->spec().kind == MapKind::hash) hash = i;
      if (maps[i]->spec().kind == MapKind::ringbuf) ring = static_cast<RingBuffer*>(maps[i]);
    }
    for (u64 key = 0; key < maps[hash]->spec().max_entries; ++key) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&key);
      CHECK(maps[hash]->update(bytes, bytes, kAny, 0) == 0);
    }
    reader.emplace(
        need(RingReader::open(ring->consumer_fd(), ring->ring_fd(), ring->spec().max_entries)));
  }
  void drain() {
    reader->poll([](std::span<const std::byte>) {});
  }

  const Object& object;
  HelperTable helpers;
  ProgramType type;
  std::vector<std::unique_ptr<Map>> owned;
  std::vector<Map*> maps;
  size_t data = 0, hash = 0;
  RingBuffer* ring = nullptr;
  std::optional<RingReader> reader;
};

std::unique_ptr<KernelPeer> make_peer(const Object& object, const Bed& bed) {
  auto peer = KernelPeer::make(object);
  if (peer == nullptr) return nullptr;
  const u32 zero = 0;
  bool good = peer->fill(bed.data, &zero, bed.maps[bed.data]->direct_values());
  for (u64 key = 0; good && key < bed.maps[bed.hash]->spec().max_entries; ++key)
    good = peer->fill(bed.hash, &key, &key);
  return good ? std::move(peer) : nullptr;
}

struct Ready {
  Code code;
  Facts facts;
  std::optional<Native> native = {};
};

Ready prepare(const ObjectProgram& program, Bed& bed) {
  const auto views = views_of(bed.object);
  Verdict verdict = verify({.program = program.program,
                            .type = bed.type,
                            .maps = views,
                            .btf = bed.object.btf(),
                            .functions = program.functions,
                            .lines = program.lines});
  if (verdict.refusal)
    fmt::print(stderr, "{}: refused; it is compiled without facts\n", program.name);
  Facts facts;
  if (verdict.accepted()) facts = std::move(verdict.facts);
  return {need(Code::bind(program.program, {.helpers = bed.helpers, .maps = bed.maps})),
          std::move(facts)};
}

std::string show(double ns) { return ns < 0 || ns > 1e299 ? "null" : fmt::format("{:.3f}", ns); }

// Rings are emptied between pieces of a run, outside of the time.
template <class Run>
Engine emptied(Run run, Bed& bed) {
  constexpr u64 kPiece = 64;  // Of 256 records of 24 bytes: less than half of the ring.
  return [run, &bed](u64 times) {
    double taken = 0;
    for (u64 done = 0; done < times; done += kPiece) {
      const u64 begun = now_ns();
      for (u64 i = done; i < std::min(times, done + kPiece); ++i) run();
      taken += static_cast<double>(now_ns() - begun);
      bed.drain();
    }
    return taken;
  };
}

std::string measure_program(const ObjectProgram& program, const Ready& ready, Bed& bed,
                            KernelPeer* peer, u64 round_ns) {
  Machine machine({});
  std::vector<Measured> all;
  const Compiled compiled = compiled_of(program.name);
  if (compiled.gcc != nullptr) {
    all.push_back({"gcc", timed([f = compiled.gcc] { f(nullptr); })});
    all.push_back({"clang", timed([f = compiled.clang] { f(nullptr); })});
  }
  all.push_back({"interpreter",
                 emptied([&] { CHECK(machine.run(ready.code, 0).stop == Stop::exited); }, bed)});
  all.push_back({"jit", program.name == "ring_record"
                            ? emptied([&] { machine.run(*ready.native, 0); }, bed)
                            : timed([&] { machine.run(*ready.native, 0); })});
  measure(all, round_ns);
  double kernel = -1;
  if (const int loaded = peer != nullptr ? peer->load(program) : -1; loaded >= 0) {
    constexpr u32 kRepeat = 200;
    for (int round = 0; round < kRounds; ++round) {
      const double ns = peer->run(loaded, kRepeat);
      kernel = kernel < 0 ? ns : std::min(kernel, ns);
    }
  }
  std::string row = fmt::format("\"{}\": {{", program.name);
  for (const Measured& each : all)
    row += fmt::format("\"{}\": {}, ", each.name, show(each.best_ns));
  return row + fmt::format("\"kernel\": {}}}", show(kernel));
}

// A program of 500 instructions, as they come: arithmetic, memory, branches.
std::string measure_compiling(Bed& bed, const std::string& helper) {
  std::vector<Instruction> slots{{.opcode = 0xbf, .dst = 6, .src = 1}, {.opcode = 0xb7, .dst = 0}};
  while (slots.size() < 494) {
    const auto at = static_cast<bpf::i16>(slots.size() % 200 * 8);
    slots.push_back({.opcode = 0x79, .dst = 1, .src = 6, .offset = at});
    slots.push_back({.opcode = 0x0f, .dst = 0, .src = 1});
    slots.push_back({.opcode = 0x25, .dst = 1, .offset = 1, .imm = static_cast<i32>(slots.size())});
    slots.push_back({.opcode = 0x27, .dst = 0, .imm = 31});
    slots.push_back({.opcode = 0x7b, .dst = 6, .src = 0, .offset = at});
    slots.push_back({.opcode = 0x77, .dst = 0, .imm = 3});
  }
  slots.push_back({.opcode = kOpcodeExit});
  double compile_ms = 1e300, hit_us = 1e300;
  Compiler compiler({.helper = helper});
  for (int i = 0; i < kRounds; ++i) {
    slots[1].imm = i;  // Another program.
    const Program program = need(Program::make(slots));
    const Code code = need(Code::bind(program, {.helpers = bed.helpers}));
    const u64 begun = now_ns();
    need(compiler.compile(program, code));
    const u64 compiled = now_ns();
    need(compiler.compile(program, code));
    compile_ms = std::min(compile_ms, static_cast<double>(compiled - begun) / 1e6);
    hit_us = std::min(hit_us, static_cast<double>(now_ns() - compiled) / 1e3);
  }
  return fmt::format("\"compile_slots\": {}, \"compile_ms\": {:.3f}, \"cache_hit_us\": {:.3f}",
                     slots.size(), compile_ms, hit_us);
}

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: coppice-bpf-engines OBJECT COPPICE-JIT [MILLISECONDS]\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const Object object = need(Object::read(std::as_bytes(std::span(bytes)), {}));
  const u64 round_ns = (argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 100) * 1'000'000 / kRounds;
  fill(gcc_data);
  fill(clang_data);
  Bed bed(object);
  const auto peer = make_peer(object, bed);
  Compiler compiler({.helper = argv[2]});
  fmt::print("{{\"programs\": {{");
  const char* between = "";
  for (const ObjectProgram& program : object.programs()) {
    Ready ready = prepare(program, bed);
    ready.native = need(compiler.compile(program.program, ready.code, ready.facts));
    fmt::print("{}{}", between, measure_program(program, ready, bed, peer.get(), round_ns));
    std::fflush(stdout);
    between = ",\n  ";
  }
  fmt::print("}},\n {}}}\n", measure_compiling(bed, argv[2]));
  return 0;
}

}  // namespace
}  // namespace coppice::bpf

int main(int argc, char** argv) { return coppice::bpf::run(argc, argv); }
