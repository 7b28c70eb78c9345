// bpf/verify/state.h — what is known at one instruction on one path.
#pragma once

#include <array>
#include <vector>

#include "bpf/instruction.h"
#include "bpf/interpreter.h"
#include "bpf/verify/value.h"

namespace coppice::bpf {

enum class ByteKind : u8 {
  unwritten,
  data,  // Some byte.
  zero,
  spilled,  // Part of the slot's value.
};

// Eight aligned bytes of a frame.
struct StackSlot {
  std::array<ByteKind, 8> bytes{};
  u8 begin = 0;  // Of the value, if there is one...
  u8 size = 0;   // ... and how many bytes it takes.
  Value value;
  Origin origin = 0;  // Of the bytes: whether they were read since.

  bool holds_value() const { return size > 0; }
  bool holds_pointer() const { return size == 8 && value.is_pointer(); }
};

// Counts of instructions: what does not fit is the most there is.
inline void add(u64& count, u64 more) {
  if (__builtin_add_overflow(count, more, &count)) count = ~u64{0};
}
inline u64 multiply(u64 a, u64 b) {
  u64 product = 0;
  return __builtin_mul_overflow(a, b, &product) ? ~u64{0} : product;
}

struct StackFrame {
  std::array<Value, kRegisters> registers;
  std::vector<StackSlot> slots;  // The first is that below the frame pointer; as many as needed.
  u32 subprogram = 0;            // Its first slot.
  u32 call_slot = 0;             // Of the call that made it.
  u32 rounds = 0;                // Of a callback: how often it was entered on this path...
  u32 activation = 0;            // ... by this call of its helper, and no other.
  u64 runs = 1;                  // How often one run of the program may come through here.
  bool is_callback = false;
};

// Something that has to be let go.
struct Reference {
  u32 id = 0;
  u32 slot = 0;   // Of the call that gave it.
  u32 frame = 0;  // The frame that made the call.
};

inline constexpr u32 kNoCheckpoint = ~u32{0};

struct State {
  std::vector<StackFrame> frames;
  std::vector<Reference> references;
  u32 slot = 0;                    // Of the next instruction.
  u32 checkpoint = kNoCheckpoint;  // The last one on the path.

  StackFrame& frame() { return frames.back(); }
  const StackFrame& frame() const { return frames.back(); }
  Value& reg(u8 number) { return frames.back().registers[number]; }
  const Value& reg(u8 number) const { return frames.back().registers[number]; }
};

// How much memory it takes, about.
inline u64 bytes_of(const State& state) {
  u64 bytes = sizeof(State);
  for (const StackFrame& frame : state.frames)
    bytes += sizeof(StackFrame) + frame.slots.size() * sizeof(StackSlot);
  return bytes;
}

// Calls `visit(value)` for every register and spilled value of all frames.
template <class Frames, class Visit>
void for_each_value(Frames& frames, Visit visit) {
  for (auto& frame : frames) {
    for (auto& value : frame.registers) visit(value);
    for (auto& slot : frame.slots) {
      if (slot.holds_value()) visit(slot.value);
    }
  }
}

// The slot of `frame` that the byte at `offset` below the frame pointer (-1, -2, ...) lies in.
constexpr size_t slot_of(i64 offset) { return static_cast<size_t>((-offset - 1) / 8); }
// Which of its bytes.
constexpr size_t byte_of(i64 offset) { return static_cast<size_t>(((offset % 8) + 8) % 8); }

}  // namespace coppice::bpf
