// tests/fuzz/bpf_jit_fuzz.cc — bytes as a program that is safe to run, interpreted and as machine
// code.
//
// Whatever the bytes are, both leave the same in r0 and in memory. The first byte chooses: the same
// bytes are also read as a request, which must be refused or be one.
#include <algorithm>
#include <array>
#include <memory>

#include "base/check.h"
#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "helper/jit/order.h"
#include "helper/jit/testing/in_process.h"
#include "helper/jit/testing/random_program.h"

using namespace coppice;
using namespace coppice::bpf;

namespace {

void read_request(std::span<const u8> bytes) {
  auto request = decode_request(std::as_bytes(bytes));
  if (!request) return;
  const auto order = jit::Order::check(*std::move(request));
  if (!order) CHECK(!order.error().detail.empty());
}

// The bytes, and more that the first eight choose: so that short inputs make long programs too.
std::vector<u8> lengthened(std::span<const u8> bytes) {
  u64 seed = 0;
  for (const u8 each : bytes.first(std::min<size_t>(bytes.size(), 8))) seed = seed << 8 | each;
  Prng prng(seed);
  std::vector<u8> all(bytes.begin(), bytes.end());
  for (u64 more = prng.below(1000); more > 0; --more) all.push_back(static_cast<u8>(prng.next()));
  return all;
}

using Arena = std::array<u64, jit::kArenaBytes / 8>;

Arena arena_of(std::span<const u8> bytes) {
  Arena arena{};
  for (size_t i = 0; i < arena.size(); ++i)
    arena[i] = bytes.empty() ? i : u64{bytes[i % bytes.size()]} << (i * 7 % 57);
  return arena;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  const std::span<const u8> bytes(data, size);
  if (size > 0 && data[0] == 0) {
    read_request(bytes.subspan(1));
    return 0;
  }
  static const HelperTable kHelpers = [] {
    HelperTable helpers;
    add_core_helpers(helpers);
    return helpers;
  }();
  const auto program = Program::make(jit::random_program(lengthened(bytes)));
  CHECK(program.has_value());
  const auto code = Code::bind(*program, {.helpers = kHelpers});
  CHECK(code.has_value());
  const auto native = jit::compile_here(*program, *code);
  CHECK(native.has_value());
  Arena first = arena_of(bytes), second = first;
  Machine machine({});
  const Region region{reinterpret_cast<u64>(first.data()), sizeof first, true};
  const Outcome outcome = machine.run_checked(*code, {&region, 1}, region.base);
  CHECK(outcome.stop == Stop::exited);
  CHECK(machine.run(*native, reinterpret_cast<u64>(second.data())) == outcome.r0);
  CHECK(first == second);
  return 0;
}
