// What machine code has beyond instructions: calls, callbacks, maps, facts, frames, tail calls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "helper/jit/compile.h"
#include "helper/jit/testing/in_process.h"

namespace coppice::jit {
namespace {

using namespace bpf;
using Slots = std::vector<Instruction>;

constexpr Instruction kExit{.opcode = kOpcodeExit};
Instruction mov(u8 dst, i32 imm) { return {.opcode = 0xb7, .dst = dst, .imm = imm}; }
Instruction copy(u8 dst, u8 src) { return {.opcode = 0xbf, .dst = dst, .src = src}; }
Instruction add(u8 dst, i32 imm) { return {.opcode = 0x07, .dst = dst, .imm = imm}; }
Instruction call(i32 helper) { return {.opcode = kOpcodeCall, .imm = helper}; }
Instruction call_local(i32 by) { return {.opcode = kOpcodeCall, .src = 1, .imm = by}; }
Instruction load(u8 dst, u8 src, bpf::i16 offset) {
  return {.opcode = 0x79, .dst = dst, .src = src, .offset = offset};
}
Instruction store(u8 dst, bpf::i16 offset, u8 src) {
  return {.opcode = 0x7b, .dst = dst, .src = src, .offset = offset};
}
Slots join(std::initializer_list<Slots> parts) {
  Slots all;
  for (const Slots& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
Slots map_to(u8 dst, i32 map) { return {{.opcode = 0x18, .dst = dst, .src = 1, .imm = map}, {}}; }
Slots code_to(u8 dst, i32 by) { return {{.opcode = 0x18, .dst = dst, .src = 4, .imm = by}, {}}; }

class Engine : public ::testing::Test {
 protected:
  struct Made {
    std::unique_ptr<Code> code;
    std::unique_ptr<Native> native;
  };
  Engine() {
    add_core_helpers(helpers_);
    machine_ = make_machine(0);
  }
  std::unique_ptr<Machine> make_machine(u32 slot) {
    return std::make_unique<Machine>(Machine::Services{
        .slot = slot, .log = [this](std::string_view line) { logged_ = std::string(line); }});
  }
  Map* add_map(const MapSpec& spec) {
    auto map = make_map(spec);
    CHECK(map.has_value());
    owned_.push_back(*std::move(map));
    maps_.push_back(owned_.back().get());
    return maps_.back();
  }
  Made make(const Slots& slots, const Facts& facts = {}) {
    auto program = Program::make(slots);
    EXPECT_TRUE(program) << describe(program.error());
    auto code = Code::bind(*program, {.helpers = helpers_, .maps = maps_});
    EXPECT_TRUE(code) << describe(code.error());
    Made made{.code = std::make_unique<Code>(*std::move(code)), .native = {}};
    auto native = compile_here(*program, *made.code, facts);
    EXPECT_TRUE(native) << describe(native.error());
    made.native = std::make_unique<Native>(*std::move(native));
    return made;
  }
  // r0 of both engines, which agree.
  u64 run(const Slots& slots, const Facts& facts = {}) {
    const Made made = make(slots, facts);
    const Outcome outcome = machine_->run(*made.code, address());
    EXPECT_TRUE(result_of(outcome)) << describe(result_of(outcome).error());
    const u64 r0 = machine_->run(*made.native, address());
    EXPECT_FALSE(machine_->stopped());
    EXPECT_EQ(outcome.r0, r0);
    return r0;
  }
  u64 address() { return reinterpret_cast<u64>(memory_.data()); }

  HelperTable helpers_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::string logged_;
  std::unique_ptr<Machine> machine_;
  alignas(8) std::array<u64, 8> memory_{};
};

TEST_F(Engine, LocalCallsKeepRegistersAndGiveEachItsFrame) {
  EXPECT_EQ(run({mov(6, 40),
                 mov(1, 2),
                 store(10, -8, 1),
                 call_local(4),
                 load(1, 10, -8),
                 {.opcode = 0x0f, .dst = 0, .src = 6},
                 {.opcode = 0x0f, .dst = 0, .src = 1},
                 kExit,
                 mov(6, 99),
                 mov(1, 77),
                 store(10, -8, 1),
                 mov(0, 5),
                 kExit}),
            47u);
}

// A frame is zero at first, whatever was there: by any address, known beforehand or computed.
TEST_F(Engine, FramesAreZeroedFirst) {
  const Slots fill{mov(1, -1), store(10, -8, 1), store(10, -512, 1), mov(0, 0), kExit};
  const Slots peek{load(2, 1, 0),
                   {.opcode = 0x57, .dst = 2, .imm = 0x1f8},
                   {.opcode = 0x0f, .dst = 2, .src = 10},
                   load(0, 2, -512),
                   kExit};
  const Made filling = make(fill), peeking = make(peek);
  for (u64 at = 0; at < kFrameBytes; at += 8) {
    memory_[0] = at;
    machine_->run(*filling.native, 0);
    EXPECT_EQ(machine_->run(*peeking.native, address()), 0u) << at;
  }
}

TEST_F(Engine, LoopsCallWhatTheyAreGiven) {
  // sum of i < 10 by bpf_loop; the context is the frame.
  const auto sum = [](i32 count, i32 flags) {
    return join({{mov(1, 0), store(10, -8, 1), mov(1, count)},
                 code_to(2, 6),
                 {copy(3, 10),
                  add(3, -8),
                  mov(4, flags),
                  call(181),
                  load(1, 10, -8),
                  kExit,
                  load(3, 2, 0),
                  {.opcode = 0x0f, .dst = 3, .src = 1},
                  store(2, 0, 3),
                  mov(0, 0),
                  {.opcode = 0x55, .dst = 1, .offset = 1, .imm = 7},
                  mov(0, 1),
                  kExit}});
  };
  // The code's address is relative to the slot behind it.
  Slots slots = sum(10, 0);
  ASSERT_EQ(slots[3].opcode, 0x18);
  for (const auto& [count, flags, wanted] : {std::tuple{10, 0, i64{8}},
                                             {5, 0, i64{5}},
                                             {0, 0, i64{0}},
                                             {5, 1, i64{-EINVAL}},
                                             {-1, 0, i64{-E2BIG}}}) {
    slots = sum(count, flags);
    slots[3].imm = 7;
    EXPECT_EQ(static_cast<i64>(run(slots)), wanted) << count;
  }
}

TEST_F(Engine, CallbacksOfHelpersRunAsMachineCode) {
  add_map({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = 8});
  u64 sum = 0;
  for (u64 key = 1; key <= 5; ++key) {
    const u64 value = key * 100;
    sum += key + value;
    ASSERT_EQ(maps_[0]->update(reinterpret_cast<const std::byte*>(&key),
                               reinterpret_cast<const std::byte*>(&value), kAny, 0),
              0);
  }
  EXPECT_EQ(run(join({{mov(1, 0), store(10, -8, 1)},
                      map_to(1, 0),
                      code_to(2, 7),
                      {copy(3, 10),
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
                       kExit}})),
            sum);
}

// r0 = lookup(map, key of 4 bytes at r1) on the map of index 0.
Slots lookup() {
  return join(
      {{{.opcode = 0x61, .dst = 3, .src = 1}, {.opcode = 0x63, .dst = 10, .src = 3, .offset = -4}},
       map_to(1, 0),
       {copy(2, 10), add(2, -4), call(1), kExit}});
}
Facts lookup_facts() {
  Facts facts;
  facts.slots.resize(lookup().size(), {.reached = true});
  facts.slots[6].map = 0;
  return facts;
}

TEST_F(Engine, ArrayLookupsInPlaceFindWhatTheHelperFinds) {
  ASSERT_EQ(lookup()[6].opcode, kOpcodeCall);
  for (const MapKind kind : {MapKind::array, MapKind::percpu_array, MapKind::hash}) {
    maps_.clear();
    add_map({.kind = kind, .key_size = 4, .value_size = 12, .max_entries = 5, .slots = 3});
    const Made called = make(lookup()), in_place = make(lookup(), lookup_facts());
    for (const u32 slot : {0u, 2u}) {
      const auto machine = make_machine(slot);
      for (const u32 key : {0u, 1u, 4u, 5u, 0x80000000u, ~0u}) {
        memory_[0] = u64{1} << 40 | key;
        const u64 found = machine->run(*called.native, address());
        EXPECT_EQ(machine->run(*in_place.native, address()), found) << key;
        EXPECT_EQ(found != 0, kind != MapKind::hash && key < 5);
      }
    }
  }
}

TEST_F(Engine, ConstantsAreFoldedAndWhatIsNeverReachedTraps) {
  memory_[0] = 1;
  const Slots slots{
      load(0, 1, 0), {.opcode = 0x15, .dst = 0, .offset = 1, .imm = 2}, kExit, mov(0, 9), kExit};
  Facts facts;
  facts.slots.resize(slots.size(), {.reached = true});
  facts.slots[0].constant = true;
  facts.slots[0].value = 55;
  const Made folded = make(slots, facts);
  EXPECT_EQ(machine_->run(*folded.native, 0), 55u);  // Nothing is read: r1 is no address.
  facts.slots[0].constant = false;
  facts.slots[3].reached = facts.slots[4].reached = false;
  const Made trapping = make(slots, facts);
  EXPECT_EQ(machine_->run(*trapping.native, address()), 1u);
  memory_[0] = 2;
  EXPECT_DEATH(machine_->run(*trapping.native, address()), "");
}

// Constants and jump tables are reached wherever the code lies, on either processor.
TEST_F(Engine, TablesAreReachedByDistance) {
  constexpr i32 kCases = 24;
  Slots values{load(1, 1, 0), mov(0, -1)}, actions{copy(6, 1), load(1, 1, 0), mov(0, -1)};
  for (i32 i = 0; i < kCases; ++i) {
    // if r1 == i: r0 = a number of its own; end.
    values.push_back({.opcode = 0x55, .dst = 1, .offset = 2, .imm = i});
    values.push_back(mov(0, i * i * 7919 + 3));
    values.push_back(kExit);
    // if r1 == i: word 1 of memory changes in a way of its own; end.
    actions.push_back({.opcode = 0x55, .dst = 1, .offset = 4, .imm = i});
    actions.push_back(load(0, 6, 8));
    actions.push_back(
        {.opcode = static_cast<u8>(i % 2 == 0 ? 0x27 : 0xa7), .dst = 0, .imm = 3 + i});
    actions.push_back(store(6, 8, 0));
    actions.push_back(kExit);
  }
  for (Slots* slots : {&values, &actions}) {
    slots->push_back(kExit);
    const auto program = Program::make(*slots);
    ASSERT_TRUE(program);
    const auto code = Code::bind(*program, {.helpers = helpers_});
    ASSERT_TRUE(code);
    EXPECT_TRUE(compile_here(*program, *code, {}, Target::aarch64));
    const auto native = compile_here(*program, *code);
    ASSERT_TRUE(native);
    const auto order = Order::check(request_of(*program, *code, {}));
    ASSERT_TRUE(order);
    EXPECT_THAT(*list(*order), ::testing::HasSubstr(".rodata"));  // There is a table.
    for (u64 number = 0; number <= kCases; ++number) {
      memory_ = {number, 1000};
      const u64 wanted = machine_->run(*code, address()).r0;
      memory_ = {number, 1000};
      EXPECT_EQ(machine_->run(*native, address()), wanted) << number;
    }
  }
}

// As CO-RE leaves them: a program that asks before it uses what this host has not.
TEST_F(Engine, WhatIsNeverReachedMayCallWhatTheHostHasNot) {
  const Slots slots{mov(0, 3),
                    {.opcode = 0x15, .dst = 0, .offset = 1, .imm = 3},
                    {.opcode = kOpcodeCall, .imm = kUnsatisfied},
                    kExit};
  Facts facts;
  facts.slots.resize(slots.size(), {.reached = true});
  facts.slots[2].reached = false;
  EXPECT_EQ(machine_->run(*make(slots, facts).native, 0), 3u);
}

TEST_F(Engine, FramesHoldNoMoreThanWasProved) {
  Facts facts;
  facts.frame_bytes = {8};
  EXPECT_EQ(run({mov(1, 7), store(10, -8, 1), load(0, 10, -8), kExit}, facts), 7u);
}

// A %s reads the program's frame, also a caller's, and nothing behind it.
TEST_F(Engine, PrintingReadsTheFrames) {
  const auto text = [](bpf::i16 at, const char(&eight)[9]) {
    const auto* bytes = reinterpret_cast<const std::byte*>(eight);
    return Slots{{.opcode = 0x18, .dst = 1, .imm = load_le<i32>(bytes)},
                 {.imm = load_le<i32>(bytes + 4)},
                 store(10, at, 1)};
  };
  const Slots print =
      join({text(-8, "<%s>\0\0\0\0"),
            text(-16, "inside\0\0"),
            {copy(1, 10), add(1, -8), mov(2, 5), copy(3, 10), add(3, -16), call(6), kExit}});
  run(print);
  EXPECT_EQ(logged_, "<inside>");
  Slots behind = print;
  behind[10].imm = 4096;
  run(behind);
  EXPECT_EQ(logged_, "<>");
}

// Kernel semantics, in both engines and mixed.
class TailCalls : public Engine {
 protected:
  TailCalls() {
    array_ = static_cast<ProgramArray*>(add_map(
        {.kind = MapKind::program_array, .key_size = 4, .value_size = 4, .max_entries = 2}));
  }
  // To entry 0; if there is none, r0 = 5.
  static Slots jump() {
    return join({map_to(2, 0), {mov(3, 0), call(kTailCall), mov(0, 5), kExit}});
  }
  ProgramArray* array_;
};

TEST_F(TailCalls, ReplaceTheFrameThatMakesThem) {
  const Made other = make({load(0, 1, 0), add(0, 1), kExit});
  // The subprogram's tail call returns to the caller, which adds r6.
  const Made caller = make(
      join({{mov(6, 100), call_local(2), {.opcode = 0x0f, .dst = 0, .src = 6}, kExit}, jump()}));
  memory_[0] = 41;
  const auto check = [&](u64 wanted) {
    EXPECT_EQ(machine_->run(*caller.code, address()).r0, wanted);
    EXPECT_EQ(machine_->run(*caller.native, address()), wanted);
    const Region region{address(), sizeof memory_, true};
    EXPECT_EQ(machine_->run_checked(*caller.code, {&region, 1}, address()).r0, wanted);
  };
  check(105);
  array_->set(0, other.code.get());
  check(142);
  array_->set(0, other.native.get());
  check(142);
  array_->clear(0);
  check(105);
}

TEST_F(TailCalls, AreThirtyThreeARun) {
  const Made self = make(join({{load(4, 1, 8), add(4, 1), store(1, 8, 4)}, jump()}));
  array_->set(0, self.code.get());
  EXPECT_EQ(machine_->run(*self.code, address()).r0, 5u);
  EXPECT_EQ(memory_[1], kTailCallsMax + 1u);
  EXPECT_EQ(machine_->run(*self.native, address()), 5u);
  EXPECT_EQ(memory_[1], 2 * (kTailCallsMax + 1u));
  array_->set(0, self.native.get());
  EXPECT_EQ(machine_->run(*self.native, address()), 5u);
  EXPECT_EQ(machine_->run(*self.code, address()).r0, 5u);
  EXPECT_EQ(memory_[1], 4 * (kTailCallsMax + 1u));
}

// What machine code tail-calls and has none is interpreted, with its limits.
TEST_F(TailCalls, StopAnInterpretedProgramThatIsEndless) {
  const Made endless = make({mov(0, 0), {.opcode = kOpcodeJump, .offset = -2}, kExit});
  const Made caller = make(jump());
  array_->set(0, endless.code.get());
  Machine machine({.budget = 1000});
  EXPECT_EQ(machine.run(*caller.native, address()), 0u);
  EXPECT_TRUE(machine.stopped());
  array_->clear(0);
  EXPECT_EQ(machine.run(*caller.native, address()), 5u);
  EXPECT_FALSE(machine.stopped());
}

}  // namespace
}  // namespace coppice::jit
