#include "bpf/verify/claims.h"

#include <algorithm>

namespace coppice::bpf {
namespace {

constexpr size_t kAlternativesMax = 4;

Scalar distance(const Value& value) {
  Scalar whole = value.number;
  if (!value.is_pointer() || value.offset == 0) return whole;
  const Instruction sum{.opcode = static_cast<u8>(static_cast<u8>(Class::alu64) | kSourceRegister),
                        .dst = 0,
                        .src = 1};
  return compute(sum, whole, Scalar::constant(static_cast<u64>(value.offset)));
}

void withdraw(Claimed& claimed) { claimed = {.open = true, .alternatives = {}, .origins = {}}; }

void add(Claimed& claimed, const Value& value, size_t frames) {
  if (claimed.open) return;
  if (value.kind == ValueKind::nothing) return withdraw(claimed);
  if (value.is_number()) claimed.origins.push_back(value.origin);
  Alternative now{.kind = value.kind,
                  .nullable = value.is_pointer() && !value.is_never_null(),
                  .index = value.index,
                  .size = value.size,
                  .number = distance(value)};
  if (value.kind == ValueKind::stack) now.index = static_cast<u32>(frames - 1 - value.index);
  for (Alternative& each : claimed.alternatives) {
    if (each.kind != now.kind || each.index != now.index || each.size != now.size) continue;
    each.nullable |= now.nullable;
    each.number = unite(each.number, now.number);
    return;
  }
  claimed.alternatives.push_back(std::move(now));
  if (claimed.alternatives.size() > kAlternativesMax) withdraw(claimed);
}

ClaimedSlot claim_of(const StackSlot& slot, size_t frames) {
  ClaimedSlot claimed;
  claimed.origins.push_back(slot.origin);
  for (size_t i = 0; i < slot.bytes.size(); ++i) claimed.zero[i] = slot.bytes[i] == ByteKind::zero;
  if (!slot.holds_value()) return claimed;
  claimed.begin = slot.begin;
  claimed.size = slot.size;
  add(claimed.value, slot.value, frames);
  return claimed;
}

}  // namespace

void Claims::note(const State& state, u16 live) {
  auto& claim = claims_[state.slot];
  const size_t frames = state.frames.size();
  const StackFrame& frame = state.frame();
  const bool first = !claim.has_value();
  if (first) claim.emplace();
  for (u8 reg = 0; reg < kRegisters; ++reg) {
    Claimed& claimed = claim->registers[reg];
    if ((live >> reg & 1) == 0) {
      withdraw(claimed);  // Paths were cut without a look at it.
    } else {
      add(claimed, frame.registers[reg], frames);
    }
  }
  if (first) {
    for (const StackSlot& slot : frame.slots) claim->slots.push_back(claim_of(slot, frames));
    return;
  }
  claim->slots.resize(std::min(claim->slots.size(), frame.slots.size()));
  for (size_t i = 0; i < claim->slots.size(); ++i) {
    ClaimedSlot& before = claim->slots[i];
    const StackSlot& now = frame.slots[i];
    for (size_t byte = 0; byte < before.zero.size(); ++byte)
      before.zero[byte] = before.zero[byte] && now.bytes[byte] == ByteKind::zero;
    before.origins.push_back(now.origin);
    if (before.begin != now.begin || before.size != now.size) before.size = 0;
    if (before.size > 0) add(before.value, now.value, frames);
  }
}

namespace {

// Whether values hold on every path: none of them, nor what they were made of, was a number that
// did not matter at a checkpoint.
class Ground {
 public:
  explicit Ground(const Origins& origins)
      : origins_(origins), known_(origins.size(), 0), bytes_known_(origins.size(), 0) {}

  bool holds(Origin origin) {
    std::vector<Origin> path{origin};
    while (!path.empty()) {
      const Origin at = path.back();
      const Origins::Node& node = origins_.node(at);
      if (at == 0 || known_[at] != 0) {
        path.pop_back();
      } else if (node.kind == OriginKind::kept && !node.precise) {
        known_[at] = kFalls;
      } else if (known(node.from) == 0) {
        path.push_back(node.from);
      } else if (known(node.and_from) == 0) {
        path.push_back(node.and_from);
      } else {
        known_[at] = known(node.from) == kFalls || known(node.and_from) == kFalls ? kFalls : kHolds;
      }
    }
    return known(origin) == kHolds;
  }
  bool bytes_hold(Origin origin) {
    Origin at = origin;
    u8 found = kHolds;
    for (; at != 0; at = origins_.node(at).from) {
      if (bytes_known_[at] != 0) found = bytes_known_[at];
      if (origins_.node(at).kind == OriginKind::kept && !origins_.is_used(at)) found = kFalls;
      if (bytes_known_[at] != 0 || found == kFalls) break;
    }
    // What lies above on the way there is the same.
    for (; origin != at; origin = origins_.node(origin).from) bytes_known_[origin] = found;
    if (at != 0) bytes_known_[at] = found;
    return found == kHolds;
  }

 private:
  static constexpr u8 kHolds = 1, kFalls = 2;
  u8 known(Origin origin) const { return origin == 0 ? kHolds : known_[origin]; }
  const Origins& origins_;
  std::vector<u8> known_, bytes_known_;
};

void settle(Claimed& claimed, Ground& ground) {
  const bool holds =
      std::ranges::all_of(claimed.origins, [&](Origin each) { return ground.holds(each); });
  if (!holds) withdraw(claimed);
  claimed.origins = {};
}

}  // namespace

void Claims::settle(const Origins& origins) {
  Ground ground(origins);
  for (auto& claim : claims_) {
    if (!claim) continue;
    for (Claimed& claimed : claim->registers) bpf::settle(claimed, ground);
    for (ClaimedSlot& slot : claim->slots) {
      bpf::settle(slot.value, ground);
      if (!std::ranges::all_of(slot.origins, [&](Origin each) { return ground.bytes_hold(each); }))
        slot = {};
      slot.origins = {};
    }
  }
}

}  // namespace coppice::bpf
