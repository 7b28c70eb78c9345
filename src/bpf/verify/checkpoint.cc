// Where paths meet: what is kept of one, and when another need not be walked.
#include <algorithm>

#include "base/check.h"
#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

constexpr u64 kJumpsBetween = 2;        // Checkpoints are made no closer than this...
constexpr u64 kStepsBetween = 8;        // ... and this, unless they must be.
constexpr u32 kUselessMisses = 3;       // More than three for each hit: it is forgotten...
constexpr size_t kKeptPerSlotMax = 64;  // The oldest go first.

}  // namespace

void Walker::find_prune_points() {
  const auto slots = program_.slots();
  prune_points_.assign(slots.size(), false);
  callback_calls_.assign(slots.size(), false);
  for (size_t i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    const Instruction& in = slots[i];
    if (!in.is_jump() || in.opcode == kOpcodeExit) continue;
    if (in.opcode == kOpcodeCall) {
      if (in.src != static_cast<u8>(Callee::helper)) continue;
      const Helper* helper = type_.helpers->find(in.imm);
      if (helper == nullptr || helper->callback == Callback::none) continue;
      callback_calls_[i] = prune_points_[i] = true;
      continue;
    }
    prune_points_[program_.target_of(i)] = true;
    if (in.opcode != kOpcodeJump && in.opcode != kOpcodeLongJump) prune_points_[i] = true;
  }
}

// Which registers of a frame may still be read.
u16 Walker::live_in_frame(const State& s, size_t frame) const {
  if (frame + 1 == s.frames.size()) return live_[s.slot];
  const StackFrame& callee = s.frames[frame + 1];
  if (callee.is_callback) return live_[callee.call_slot];
  constexpr u16 kOfCall = 0b111111;  // r0 to r5 come anew.
  return static_cast<u16>(live_[callee.call_slot + 1] & ~kOfCall);
}

// The same for states that are the same; others differ as a rule.
u64 Walker::print_of(const State& s) const {
  u64 print = s.frames.size();
  const auto mix = [&](u64 more) {
    print = (print ^ more) * 0x9e3779b97f4a7c15;
    print ^= print >> 32;
  };
  const auto mix_value = [&](const Value& value) {
    mix(static_cast<u64>(value.kind) | u64{value.index} << 8 | u64{value.nullable} << 40);
    mix(static_cast<u64>(value.offset) ^ value.number.umin);
    mix(value.number.umax ^ value.number.bits.value);
  };
  for (size_t i = 0; i < s.frames.size(); ++i) {
    const u16 live = live_in_frame(s, i);
    for (u8 r = 0; r < kRegisters; ++r) {
      if ((live >> r & 1) != 0) mix_value(s.frames[i].registers[r]);
    }
    for (const StackSlot& slot : s.frames[i].slots) {
      if (slot.holds_value()) mix_value(slot.value);
    }
  }
  return print;
}

// Callbacks compare with every checkpoint on the path, others only with one that may be the same.
u64 Walker::key_on_path(const State& s) const {
  return callback_calls_[s.slot] ? u64{s.slot} : print_of(s) ^ u64 { s.slot } << 40;
}

// A checkpoint on the path itself: the round before of a callback, or of a loop without end.
Walker::Arrival Walker::arrive_again(State& s) {
  const bool calls_back = callback_calls_[s.slot];
  if (calls_back && s.frame().rounds > 0) {
    u32 latest = kNoCheckpoint;
    const auto [begin, end] = on_path_.equal_range(key_on_path(s));
    for (auto at = begin; at != end; ++at) {
      const Checkpoint& before = checkpoints_[at->second];
      if (!in_activation_of(before.state, s)) continue;
      if (latest == kNoCheckpoint || at->second > latest) latest = at->second;
    }
    if (latest != kNoCheckpoint) widen(checkpoints_[latest].state, s);
  }
  const auto [begin, end] = on_path_.equal_range(key_on_path(s));
  for (auto at = begin; at != end; ++at) {
    const State& before = checkpoints_[at->second].state;
    if (before.slot != s.slot || !covers(before, s, true)) continue;
    if (calls_back && in_activation_of(before, s)) {
      mark_everything(s);
      mark_everything(before);
      rest(s.checkpoint, at->second);
      return Arrival::cut;
    }
    if (!covers(s, before, true)) continue;
    refuse(s, Rule::endless_loop, "the program comes here again, and nothing has changed",
           "a loop that ends: each round changes what its condition depends on",
           "registers and stack are as they were the last time",
           "count the rounds in a variable, or use bpf_loop");
    return Arrival::refused;
  }
  return Arrival::go_on;
}

// Whether `s` came from where `kept` is by rounds of one call of a helper alone.
bool Walker::in_activation_of(const State& kept, const State& s) {
  const size_t depth = kept.frames.size();
  if (s.frames.size() < depth) return false;
  const StackFrame& frame = s.frames[depth - 1];
  return frame.rounds > 0 && frame.activation == kept.frame().activation;
}

// All that lies between the checkpoint `on` and `from` is judged by what becomes of `on`.
void Walker::rest(u32 from, u32 on) {
  for (u32 at = from; at != on && at != kNoCheckpoint; at = checkpoints_[at].parent) {
    u32& rests_on = checkpoints_[at].rests_on;
    if (rests_on == kNoCheckpoint || rests_on < on) rests_on = on;
  }
}

// The last checkpoint in progress that `kept`, which is done, rests on.
u32 Walker::ground_of(const Checkpoint& kept) const {
  u32 on = kept.rests_on;
  // What one that is done rests on lies above it: what rested on both rests on that still.
  while (on != kNoCheckpoint && checkpoints_[on].paths == 0) on = checkpoints_[on].rests_on;
  return on;
}

Walker::Arrival Walker::arrive(State& s) {
  if (callback_calls_[s.slot] && s.frame().rounds == 0) s.frame().activation = next_id_++;
  if (const Arrival arrival = arrive_again(s); arrival != Arrival::go_on) return arrival;
  auto& kept = kept_[s.slot];
  for (size_t i = kept.size(); i-- > 0;) {  // The latest is the likeliest.
    Checkpoint& checkpoint = checkpoints_[kept[i]];
    const u32 on = ground_of(checkpoint);
    const bool rests = on != kNoCheckpoint;
    if (rests && !in_activation_of(checkpoints_[on].state, s)) continue;
    if (covers(checkpoint.state, s, false)) {
      ++checkpoint.hits;
      if (rests) rest(s.checkpoint, on);
      hand_on_marks(checkpoint.state, s);
      return Arrival::cut;
    }
    if (++checkpoint.misses > kUselessMisses * checkpoint.hits + kUselessMisses) forget(s.slot, i);
  }
  if (callback_calls_[s.slot] || (jumps_since_ >= kJumpsBetween && steps_since_ >= kStepsBetween))
    keep(s);
  return Arrival::go_on;
}

// Every path from this checkpoint was walked: from now on it stands for others.
void Walker::complete(u32 checkpoint) {
  Checkpoint& done = checkpoints_[checkpoint];
  const auto [begin, end] = on_path_.equal_range(done.key);
  const auto at =
      std::find_if(begin, end, [&](const auto& each) { return each.second == checkpoint; });
  CHECK(at != end);
  on_path_.erase(at);
  auto& kept = kept_[done.state.slot];
  if (kept.size() >= kKeptPerSlotMax) forget(done.state.slot, 0);
  kept.push_back(checkpoint);
  verdict_.cost.states_peak = std::max(verdict_.cost.states_peak, ++kept_count_ + on_path_.size());
}

// Not to be compared with any more.
void Walker::forget(u32 slot, size_t index) {
  auto& kept = kept_[slot];
  state_bytes_ -= bytes_of(checkpoints_[kept[index]].state);
  checkpoints_[kept[index]].state = {};
  kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(index));
  --kept_count_;
}

void Walker::keep(State& s) {
  jumps_since_ = steps_since_ = 0;
  const auto fresh = [&](Origin& origin) {
    if (origin == 0) return;
    const Scalar* value = origins_.value(origin);
    const auto copy = value == nullptr ? std::nullopt : std::optional(*value);
    origin = origins_.add(OriginKind::kept, s.slot, origin);
    if (copy) origins_.remember(origin, *copy);
  };
  for_each_value(s.frames, [&](Value& value) {
    if (value.is_number()) fresh(value.origin);
  });
  for (StackFrame& frame : s.frames)
    for (StackSlot& slot : frame.slots) fresh(slot.origin);
  checkpoints_.push_back(
      {.state = s, .slot = s.slot, .parent = s.checkpoint, .key = key_on_path(s)});
  s.checkpoint = static_cast<u32>(checkpoints_.size() - 1);
  state_bytes_ += bytes_of(s);
  on_path_.emplace(checkpoints_.back().key, s.checkpoint);
  ++verdict_.cost.states;
}

// Ids need not be the same, but one of the one stands for one of the other throughout.
bool Walker::same_id(u32 kept, u32 s) {
  if (kept == 0 || s == 0) return kept == s;
  for (const auto& [a, b] : ids_) {
    if (a == kept || b == s) return a == kept && b == s;
  }
  ids_.emplace_back(kept, s);
  return true;
}

bool Walker::value_covers(const Value& kept, const Value& s, bool everything) {
  if (kept.kind == ValueKind::nothing) return true;
  if (kept.kind != s.kind) return false;
  if (kept.is_number()) {
    if (!everything && !origins_.is_precise(kept.origin)) return true;
    if (!kept.number.covers(s.number)) return false;
    return kept.id == 0 || same_id(kept.id, s.id);
  }
  if (kept.nullable != s.nullable || kept.read_only != s.read_only || kept.index != s.index ||
      kept.size != s.size || kept.layout != s.layout || kept.offset != s.offset ||
      kept.trusted != s.trusted || kept.owned != s.owned)
    return false;
  if (kept.range > s.range || !kept.number.covers(s.number)) return false;
  if (kept.reference != 0 || s.reference != 0) {
    if (!same_id(kept.reference, s.reference)) return false;
  }
  return kept.id == 0 ? !kept.nullable : same_id(kept.id, s.id);
}

bool Walker::slot_covers(const StackSlot& kept, const StackSlot& s, bool everything) {
  if (!everything && !origins_.is_used(kept.origin)) return true;
  bool value_matters = false;
  for (size_t i = 0; i < kept.bytes.size(); ++i) {
    switch (kept.bytes[i]) {
      case ByteKind::unwritten: break;
      case ByteKind::data:
        if (s.bytes[i] == ByteKind::unwritten && !type_.reads_unwritten_stack) return false;
        if (s.bytes[i] == ByteKind::spilled && s.value.is_pointer()) return false;
        break;
      case ByteKind::zero:
        if (s.bytes[i] != ByteKind::zero) return false;
        break;
      case ByteKind::spilled:
        if (s.bytes[i] != ByteKind::spilled) return false;
        value_matters = true;
        break;
    }
  }
  if (!value_matters) return true;
  return kept.begin == s.begin && kept.size == s.size &&
         value_covers(kept.value, s.value, everything);
}

bool Walker::stack_covers(const StackFrame& kept, const StackFrame& s, bool everything) {
  static const StackSlot kUnwritten{};
  for (size_t i = 0; i < kept.slots.size(); ++i) {
    if (!slot_covers(kept.slots[i], i < s.slots.size() ? s.slots[i] : kUnwritten, everything))
      return false;
  }
  return true;
}

// Whether everything that can happen from `s` on can happen from `kept` on. `everything`: numbers
// and bytes count though nothing depended on them yet.
bool Walker::covers(const State& kept, const State& s, bool everything) {
  if (kept.frames.size() != s.frames.size() || kept.references.size() != s.references.size())
    return false;
  ids_.clear();
  for (size_t i = 0; i < kept.frames.size(); ++i) {
    const StackFrame &a = kept.frames[i], &b = s.frames[i];
    if (a.subprogram != b.subprogram || a.call_slot != b.call_slot ||
        a.is_callback != b.is_callback || a.rounds > b.rounds || a.runs < b.runs)
      return false;
    const u16 live = live_in_frame(kept, i);
    for (u8 r = 0; r < kRegisters; ++r) {
      if ((live >> r & 1) != 0 && !value_covers(a.registers[r], b.registers[r], everything))
        return false;
    }
    if (!stack_covers(a, b, everything)) return false;
  }
  for (size_t i = 0; i < kept.references.size(); ++i) {
    if (!same_id(kept.references[i].id, s.references[i].id)) return false;
  }
  return true;
}

void Walker::hand_on_marks(const State& kept, const State& s) {
  for (size_t i = 0; i < kept.frames.size(); ++i) {
    const StackFrame &a = kept.frames[i], &b = s.frames[i];
    const u16 live = live_in_frame(kept, i);
    for (u8 r = 0; r < kRegisters; ++r) {
      if ((live >> r & 1) != 0 && origins_.is_precise(a.registers[r].origin))
        origins_.mark_precise(b.registers[r].origin);
    }
    for (size_t at = 0; at < std::min(a.slots.size(), b.slots.size()); ++at) {
      if (!origins_.is_used(a.slots[at].origin)) continue;
      origins_.mark_used(b.slots[at].origin);
      if (a.slots[at].holds_value() && b.slots[at].holds_value() &&
          origins_.is_precise(a.slots[at].value.origin))
        origins_.mark_precise(b.slots[at].value.origin);
    }
  }
}

void Walker::mark_everything(const State& s) {
  for_each_value(s.frames, [&](const Value& value) { origins_.mark_precise(value.origin); });
  for (const StackFrame& frame : s.frames)
    for (const StackSlot& slot : frame.slots) origins_.mark_used(slot.origin);
}

// Forgets numbers that differ from the round before and that nothing depended on.
void Walker::widen(const State& kept, State& s) {
  const auto forget = [&](const Value& before, Value& now) {
    if (!before.is_number() || !now.is_number() || before.number == now.number) return;
    if (origins_.is_precise(before.origin)) return;
    now = number_value(Scalar::unknown(), origins_.add(OriginKind::widened, s.slot));
  };
  for (size_t i = 0; i < s.frames.size(); ++i) {
    const StackFrame& before = kept.frames[i];
    StackFrame& now = s.frames[i];
    for (u8 r = 0; r < kRegisters; ++r) forget(before.registers[r], now.registers[r]);
    for (size_t at = 0; at < std::min(before.slots.size(), now.slots.size()); ++at) {
      if (!before.slots[at].holds_value() || !now.slots[at].holds_value()) continue;
      if (before.slots[at].begin != now.slots[at].begin ||
          before.slots[at].size != now.slots[at].size)
        continue;
      StackSlot& slot = now.slots[at];
      forget(before.slots[at].value, slot.value);
      if (slot.value.is_number()) slot.value.number = loaded(slot.value.number, slot.size, false);
    }
  }
}

}  // namespace coppice::bpf
