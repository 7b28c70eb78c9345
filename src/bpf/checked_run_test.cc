// A checked run touches nothing that is not the program's, whatever the program; helpers do what
// their numbers promise, and what is wrong about a call is refused before it is made.
#include <gmock/gmock.h>

#include <array>
#include <cerrno>

#include "base/endian.h"
#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/program_array.h"
#include "bpf/ring_buffer.h"

namespace coppice::bpf {
namespace {

using ::testing::HasSubstr;
constexpr Instruction kExit{.opcode = kOpcodeExit};

Instruction mov(u8 dst, i32 imm) { return {.opcode = 0xb7, .dst = dst, .imm = imm}; }
Instruction copy(u8 dst, u8 src) { return {.opcode = 0xbf, .dst = dst, .src = src}; }
Instruction add(u8 dst, i32 imm) { return {.opcode = 0x07, .dst = dst, .imm = imm}; }
Instruction call(i32 helper) { return {.opcode = kOpcodeCall, .imm = helper}; }
Instruction store(u8 dst, i16 offset, i32 imm) {
  return {.opcode = 0x7a, .dst = dst, .offset = offset, .imm = imm};
}
Instruction load(u8 dst, u8 src, i16 offset) {
  return {.opcode = 0x79, .dst = dst, .src = src, .offset = offset};
}
std::vector<Instruction> map_to(u8 dst, i32 number) {
  return {{.opcode = 0x18, .dst = dst, .src = 1, .imm = number}, {}};
}
std::vector<Instruction> join(std::initializer_list<std::vector<Instruction>> parts) {
  std::vector<Instruction> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class CheckedRun : public ::testing::Test {
 protected:
  CheckedRun() {
    add_core_helpers(helpers_);
    machine_ = std::make_unique<Machine>(Machine::Services{
        .slot = 1, .budget = 100'000, .log = [this](std::string_view line) { logged_ += line; }});
  }
  Map* add_map(MapSpec spec) {
    auto map = make_map(std::move(spec));
    EXPECT_TRUE(map);
    owned_.push_back(*std::move(map));
    maps_.push_back(owned_.back().get());
    return maps_.back();
  }
  Code bind(const std::vector<Instruction>& slots) {
    auto program = Program::make(slots);
    EXPECT_TRUE(program) << describe(program.error());
    auto code = Code::bind(*program, {.helpers = helpers_, .maps = maps_});
    EXPECT_TRUE(code) << describe(code.error());
    return *std::move(code);
  }
  Outcome run(const std::vector<Instruction>& slots) {
    const Code code = bind(slots);
    const Region region{reinterpret_cast<u64>(memory_.data()), 16, true};
    return machine_->run_checked(code, {&region, 1}, region.base, 16);
  }
  std::string refusal(const std::vector<Instruction>& slots) {
    const auto result = result_of(run(slots));
    return result ? "exited" : describe(result.error());
  }

  HelperTable helpers_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::unique_ptr<Machine> machine_;
  alignas(8) std::array<std::byte, 32> memory_{};
  std::string logged_;
};

TEST_F(CheckedRun, HoldsAccessesToTheirRegionsByteByByte) {
  for (const u8 opcode : {0x71, 0x69, 0x61, 0x79}) {
    const Instruction in{.opcode = opcode, .dst = 0, .src = 1};
    const i16 size = static_cast<i16>(bytes_of(in.size()));
    for (i16 offset = -9; offset <= 17; ++offset) {
      Instruction at = in;
      at.offset = offset;
      const bool inside = offset >= 0 && offset + size <= 16;
      EXPECT_EQ(run({at, kExit}).stop, inside ? Stop::exited : Stop::load) << offset;
      at = {.opcode = static_cast<u8>(opcode + 2), .dst = 1, .src = 2, .offset = offset};
      EXPECT_EQ(run({at, kExit}).stop, inside ? Stop::exited : Stop::store) << offset;
    }
  }
  EXPECT_THAT(refusal({load(0, 0, 0), kExit}), HasSubstr("slot 0: loads from address 0x0"));
  EXPECT_THAT(refusal({mov(2, -4), load(0, 2, 0), kExit}), HasSubstr("slot 1: loads from"));
  EXPECT_EQ(run({load(0, 10, -8), kExit}).stop, Stop::exited);
  EXPECT_EQ(run({load(0, 10, -512), kExit}).stop, Stop::exited);
  EXPECT_EQ(run({load(0, 10, -4), kExit}).stop, Stop::load);
  EXPECT_EQ(run({load(0, 10, -513), kExit}).stop, Stop::load);
  const Region read_only{reinterpret_cast<u64>(memory_.data()), 16, false};
  const Code code = bind({store(1, 0, 5), kExit});
  EXPECT_EQ(machine_->run_checked(code, {&read_only, 1}, read_only.base).stop, Stop::store);
  const Instruction atomic{.opcode = 0xdb, .dst = 1, .src = 2, .offset = 4};
  EXPECT_THAT(refusal({atomic, kExit}), HasSubstr("not a multiple of its size"));
}

TEST_F(CheckedRun, EndsAtItsBudget) {
  EXPECT_EQ(run({{.opcode = kOpcodeJump, .offset = -1}, kExit}).stop, Stop::budget);
  const Code endless = bind({add(0, 1), {.opcode = kOpcodeJump, .offset = -2}});
  EXPECT_EQ(machine_->run(endless, 0).stop, Stop::budget) << "the fast mode counts as well";
}

TEST_F(CheckedRun, MapValuesAreReachedAndNoByteBeyondThem) {
  add_map({.kind = MapKind::array, .key_size = 4, .value_size = 12, .max_entries = 2});
  const auto with = [&](Instruction access) {
    return join({map_to(1, 0),
                 {store(10, -8, 1), copy(2, 10), add(2, -8), call(1)},
                 {{.opcode = 0x15, .dst = 0, .offset = 1}, access, mov(0, 3), kExit}});
  };
  EXPECT_EQ(run(with(store(0, 4, 9))).r0, 3u);
  EXPECT_EQ(run(with(store(0, 5, 9))).stop, Stop::store);
  EXPECT_EQ(run(with(store(0, -1, 9))).stop, Stop::store);
  const u32 key = 1;
  std::array<u32, 3> value{};
  maps_[0]->read(reinterpret_cast<const std::byte*>(&key),
                 std::as_writable_bytes(std::span(value)));
  EXPECT_EQ(value, (std::array<u32, 3>{0, 9, 0}));
  // By address, without a lookup.
  EXPECT_EQ(run({{.opcode = 0x18, .dst = 1, .src = 2, .imm = 0},
                 {.imm = 20},
                 {.opcode = 0x61, .dst = 0, .src = 1},
                 kExit})
                .r0,
            9u);
}

TEST_F(CheckedRun, ArgumentsAreWhatThePrototypeSays) {
  add_map({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = 2});
  EXPECT_THAT(refusal({mov(1, 5), copy(2, 10), call(1), kExit}), HasSubstr("slot 2: argument r1"));
  EXPECT_THAT(refusal(join({map_to(1, 0), {mov(2, 0), call(1), kExit}})), HasSubstr("argument r2"));
  EXPECT_THAT(refusal(join({map_to(1, 0), {copy(2, 10), add(2, -7), call(1), kExit}})),
              HasSubstr("argument r2"));
  EXPECT_THAT(refusal(join({map_to(1, 0), {mov(2, 8), call(131), kExit}})),
              HasSubstr("argument r1"))
      << "a hash map is no ring";
  EXPECT_THAT(refusal({mov(1, 3), mov(2, 5), mov(3, 0), mov(4, 0), call(181), kExit}),
              HasSubstr("argument r2"));
  EXPECT_THAT(refusal({copy(1, 10), add(1, -8), mov(2, 0), call(6), kExit}),
              HasSubstr("argument r2"))
      << "a size of nothing";
  const auto unbound = Code::bind(*Program::make({call(9999), kExit}), {.helpers = helpers_});
  EXPECT_THAT(describe(unbound.error()), HasSubstr("slot 0: the host has no helper 9999"));
}

TEST_F(CheckedRun, RecordsAreLetGoExactlyOnce) {
  auto* ring = static_cast<RingBuffer*>(add_map({.kind = MapKind::ringbuf, .max_entries = 4096}));
  const auto reserve = join({map_to(1, 0), {mov(2, 16), mov(3, 0), call(131), copy(6, 0)}});
  const std::vector<Instruction> submit{copy(1, 6), mov(2, 0), call(132)};
  const std::vector<Instruction> end{mov(0, 0), kExit};
  EXPECT_EQ(run(join({reserve, {store(6, 8, 7)}, submit, end})).stop, Stop::exited);
  EXPECT_EQ(run(join({reserve, {store(6, 9, 7)}, submit, end})).stop, Stop::store);
  EXPECT_EQ(run(join({reserve, submit, {store(6, 8, 7)}, end})).stop, Stop::store);
  EXPECT_THAT(refusal(join({reserve, submit, submit, end})), HasSubstr("argument r1"));
  EXPECT_THAT(refusal(join({reserve, end})), HasSubstr("not submitted or discarded"));
  // Two were submitted properly or before their refusal, and one more; the others were discarded.
  auto reader = RingReader::open(ring->consumer_fd(), ring->ring_fd(), 4096);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->poll([](std::span<const std::byte> record) { EXPECT_EQ(record.size(), 16u); }),
            3u);
  EXPECT_EQ(ring->query(kRingAvailable), 0u);
}

TEST_F(CheckedRun, LoopAndForEachCallBack) {
  // Adds the index to *(context): 0 + 1 + ... + 9.
  const auto looping = [&](i32 count, i32 enough) {
    return std::vector<Instruction>{store(10, -8, 0),
                                    mov(1, count),
                                    {.opcode = 0x18, .dst = 2, .src = 4, .imm = 8},
                                    {},
                                    copy(3, 10),
                                    add(3, -8),
                                    mov(4, 0),
                                    call(181),
                                    copy(6, 0),
                                    load(0, 10, -8),
                                    kExit,
                                    {.opcode = 0x79, .dst = 3, .src = 2},
                                    {.opcode = 0x0f, .dst = 3, .src = 1},
                                    {.opcode = 0x7b, .dst = 2, .src = 3},
                                    mov(0, 0),
                                    {.opcode = 0xa5, .dst = 1, .offset = 1, .imm = enough},
                                    mov(0, 1),
                                    kExit};
  };
  EXPECT_EQ(run(looping(10, 1000)).r0, 45u);
  EXPECT_EQ(run(looping(10, 3)).r0, 6u);
  EXPECT_EQ(run(looping(1 << 22, 1 << 30)).stop, Stop::budget);
  EXPECT_EQ(machine_->run(bind(looping(1 << 22, 1 << 30)), 0).stop, Stop::budget);
  Map* map = add_map({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = 9});
  for (u64 i = 0; i < 9; ++i) {
    const u64 value = 100 * i;
    map->update(reinterpret_cast<std::byte*>(&i), reinterpret_cast<const std::byte*>(&value), 0, 0);
  }
  // *(context) += *key + *value.
  const auto sum = join({{store(10, -8, 0)},
                         map_to(1, 0),
                         {{.opcode = 0x18, .dst = 2, .src = 4, .imm = 7},
                          {},
                          copy(3, 10),
                          add(3, -8),
                          mov(4, 0),
                          call(164),
                          load(0, 10, -8),
                          kExit,
                          load(5, 2, 0),
                          load(2, 3, 0),
                          {.opcode = 0x0f, .dst = 5, .src = 2},
                          {.opcode = 0xdb, .dst = 4, .src = 5},
                          mov(0, 0),
                          kExit}});
  EXPECT_EQ(run(sum).r0, 3636u);
}

TEST_F(CheckedRun, TailCallsReplaceTheProgram) {
  auto* array = static_cast<ProgramArray*>(
      add_map({.kind = MapKind::program_array, .key_size = 4, .value_size = 4, .max_entries = 2}));
  // r0 of the first program, unless entry 1 holds another.
  const auto jump = join({map_to(2, 0), {mov(3, 1), call(kTailCall), mov(0, 5), kExit}});
  EXPECT_EQ(run(jump).r0, 5u);
  const Code other = bind({load(0, 1, 0), add(0, 1), kExit});
  array->set(1, &other);
  memory_[0] = std::byte{41};
  EXPECT_EQ(run(jump).r0, 42u);
  // One that calls itself does so 33 times.
  const Code self =
      bind(join({{load(4, 1, 8), add(4, 1), {.opcode = 0x7b, .dst = 1, .src = 4, .offset = 8}},
                 map_to(2, 0),
                 {mov(3, 1), call(kTailCall), mov(0, 0), kExit}}));
  array->set(1, &self);
  const Region region{reinterpret_cast<u64>(memory_.data()), 16, true};
  EXPECT_EQ(machine_->run_checked(self, {&region, 1}, region.base).r0, 0u);
  EXPECT_EQ(load_le<u64>(&memory_[8]), kTailCallsMax + 1u);
}

TEST_F(CheckedRun, TextIsPrintedAndCompared) {
  const auto text = [](i16 at, const char(&eight)[9]) {
    return std::vector<Instruction>{
        {.opcode = 0x18, .dst = 1, .imm = load_le<i32>(reinterpret_cast<const std::byte*>(eight))},
        {.imm = load_le<i32>(reinterpret_cast<const std::byte*>(eight) + 4)},
        {.opcode = 0x7b, .dst = 10, .src = 1, .offset = at}};
  };
  EXPECT_EQ(run(join({text(-8, "n=%d %x\0"),
                      {copy(1, 10), add(1, -8), mov(2, 8), mov(3, -7), mov(4, 255), mov(5, 0),
                       call(6), kExit}}))
                .r0,
            7u);
  EXPECT_EQ(logged_, "n=-7 ff");
  EXPECT_EQ(static_cast<i64>(run(join({text(-8, "n=%n\0\0\0\0"),
                                       {copy(1, 10), add(1, -8), mov(2, 8), mov(3, 0), mov(4, 0),
                                        mov(5, 0), call(6), kExit}}))
                                 .r0),
            -EINVAL);
  for (const auto& [second, sign] :
       {std::pair{"abcdefg\0", 0}, {"abcdefh\0", -1}, {"abc\0\0\0\0\0", 1}}) {
    char eight[9] = {};
    std::memcpy(eight, second, 8);
    const i64 got = static_cast<i64>(run(join({text(-8, "abcdefg\0"),
                                               text(-16, eight),
                                               {copy(1, 10), add(1, -8), mov(2, 8), copy(3, 10),
                                                add(3, -16), call(182), kExit}}))
                                         .r0);
    EXPECT_EQ(got < 0 ? -1 : got > 0 ? 1 : 0, sign) << second;
  }
  // A %s of an address that is not the program's reads nothing, in verified programs too.
  logged_.clear();
  const auto wild = bind(join(
      {text(-8, "<%s>\0\0\0\0"),
       {copy(1, 10), add(1, -8), mov(2, 8), mov(3, 1), mov(4, 0), mov(5, 0), call(6), kExit}}));
  EXPECT_EQ(machine_->run(wild, 0).r0, 2u);
  EXPECT_EQ(machine_->run_checked(wild, {}, 0).r0, 2u);
  EXPECT_EQ(logged_, "<><>");
  const auto own = bind(join({text(-8, "<%s>\0\0\0\0"),
                              text(-16, "abcdefg\0"),
                              {copy(1, 10), add(1, -8), mov(2, 8), copy(3, 10), add(3, -16),
                               mov(4, 0), mov(5, 0), call(6), kExit}}));
  EXPECT_EQ(machine_->run(own, 0).r0, 9u);
  EXPECT_EQ(logged_, "<><><abcdefg>");
  EXPECT_EQ(run({call(8), kExit}).r0, 1u) << "the reactor's number";
}

// Random programs, most of them nonsense: each ends, and the bytes around its memory are untouched.
TEST_F(CheckedRun, RandomProgramsStayInside) {
  add_map({.kind = MapKind::hash, .key_size = 4, .value_size = 8, .max_entries = 4});
  add_map({.kind = MapKind::ringbuf, .max_entries = 4096});
  size_t ran = 0, exited = 0;
  for (u64 seed = 1; seed <= 20'000; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    std::vector<Instruction> slots = join({map_to(7, 0), map_to(8, 1), {copy(9, 1)}});
    for (u64 i = prng.between(1, 12); i > 0; --i) {
      Instruction in{.opcode = static_cast<u8>(prng.below(256)),
                     .dst = static_cast<u8>(prng.below(11)),
                     .src = static_cast<u8>(prng.below(11)),
                     .offset = static_cast<i16>(prng.between(0, 40))};
      in.offset = static_cast<i16>(in.offset - 20);
      in.imm =
          prng.chance(1, 2) ? static_cast<i32>(prng.below(200)) : static_cast<i32>(prng.next());
      if (prng.chance(1, 4))
        in = call(static_cast<i32>(std::array{1, 2, 3, 130, 131, 132, 164, 182}[prng.below(8)]));
      if (const auto form = form_of(in); form) {
        if (!form->uses_offset) in.offset = 0;
        if (!form->uses_imm) in.imm = 0;
        if (!form->reads_src && !form->src_is_kind) in.src = 0;
        if (!form->reads_dst && !form->writes_dst) in.dst = 0;
      }
      if (!in.is_wide() && fault_of(in).empty()) slots.push_back(in);
    }
    slots.push_back(kExit);
    const auto program = Program::make(slots);
    if (!program) continue;
    const auto code = Code::bind(*program, {.helpers = helpers_, .maps = maps_});
    if (!code) continue;
    ++ran;
    const Region region{reinterpret_cast<u64>(&memory_[8]), 16, true};
    const Outcome outcome = machine_->run_checked(*code, {&region, 1}, region.base);
    exited += outcome.stop == Stop::exited;
    ASSERT_EQ(load_le<u64>(&memory_[0]), 0u);
    ASSERT_EQ(load_le<u64>(&memory_[24]), 0u);
  }
  EXPECT_GT(ran, 3000u);
  EXPECT_GT(exited, 300u);
}

}  // namespace
}  // namespace coppice::bpf
