// tests/fuzz/bpf_program_fuzz.cc — bytes as a program, run with every access checked.
//
// Whatever the bytes are, decoding refuses them or the run ends, and the sanitizers stay silent:
// the program reaches its 64 bytes, its stack, three maps and the core helpers, and nothing else.
#include <array>
#include <memory>

#include "base/check.h"
#include "bpf/core_helpers.h"
#include "bpf/disassembler.h"
#include "bpf/interpreter.h"

using namespace coppice;
using namespace coppice::bpf;

namespace {

struct Bed {
  HelperTable helpers;
  std::vector<std::unique_ptr<Map>> owned;
  std::vector<Map*> maps;
  Bed() {
    add_core_helpers(helpers);
    const MapSpec specs[] = {
        {.kind = MapKind::hash, .key_size = 4, .value_size = 8, .max_entries = 4},
        {.kind = MapKind::ringbuf, .max_entries = 4096},
        {.kind = MapKind::array, .key_size = 4, .value_size = 12, .max_entries = 3},
    };
    for (const MapSpec& spec : specs) {
      auto map = make_map(spec);
      CHECK(map.has_value());
      maps.push_back(owned.emplace_back(*std::move(map)).get());
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  const auto program = Program::read(std::as_bytes(std::span(data, size)));
  if (!program) {
    CHECK(!program.error().detail.empty());
    return 0;
  }
  CHECK(!disassemble(*program).empty());
  CHECK(encode(program->slots()).size() == size);
  static Bed bed;
  const auto code = Code::bind(*program, {.helpers = bed.helpers, .maps = bed.maps});
  if (!code) return 0;
  Machine machine({.budget = 20'000});
  const auto memory = std::make_unique<std::array<std::byte, 64>>();
  const Region region{reinterpret_cast<u64>(memory->data()), memory->size(), true};
  const Outcome outcome = machine.run_checked(*code, {&region, 1}, region.base, memory->size());
  CHECK(outcome.stop == Stop::exited || outcome.slot < program->slots().size());
  return 0;
}
