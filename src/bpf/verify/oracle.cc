#include "bpf/verify/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace coppice::bpf {

bool Oracle::fits(const Alternative& alternative, u64 value, const Moment& moment) const {
  if (alternative.kind != ValueKind::number && value == 0) return alternative.nullable;
  const auto lies_from = [&](u64 base) { return alternative.number.contains(value - base); };
  switch (alternative.kind) {
    case ValueKind::nothing: return true;
    case ValueKind::number: return alternative.number.contains(value);
    case ValueKind::context: return lies_from(context_);
    case ValueKind::stack:
      return lies_from(moment.registers[kFramePointer] - u64{alternative.index} * kFrameBytes);
    case ValueKind::map:
      return value == reinterpret_cast<u64>(moment.code.maps()[alternative.index]);
    case ValueKind::map_value: {
      if (!alternative.number.is_constant()) return true;  // Which value's is not claimed.
      const Map& map = *moment.code.maps()[alternative.index];
      return map.reaches(value - alternative.number.value(), map.spec().value_size);
    }
    case ValueKind::code: return value == kCodeAddress + alternative.index;
    case ValueKind::packet:
    case ValueKind::packet_meta:
    case ValueKind::packet_end:
    case ValueKind::memory:
    case ValueKind::object:
    case ValueKind::btf: return true;  // Not null: more is not claimed.
  }
  return false;
}

bool Oracle::fits(const Claimed& claimed, u64 value, const Moment& moment) const {
  return claimed.open || std::ranges::any_of(claimed.alternatives, [&](const Alternative& each) {
           return fits(each, value, moment);
         });
}

bool Oracle::disagree(const Moment& moment, const std::string& what, u64 value,
                      const Claimed& claimed) {
  disagreement_ = fmt::format("slot {}: {} is {:#x}, claimed was", moment.slot, what, value);
  for (const Alternative& each : claimed.alternatives)
    disagreement_ += fmt::format(" {}, {};", name_of(each.kind), describe(each.number));
  return false;
}

bool Oracle::before(const Moment& moment) {
  if (&moment.code != &code_) return true;
  if (++count_ > bound_.value_or(~u64{0})) {
    disagreement_ = fmt::format(
        "slot {}: more than {} instructions, which was claimed to be the "
        "most",
        moment.slot, *bound_);
    return false;
  }
  const Claim* claim = claims_.at(moment.slot);
  if (claim == nullptr) {
    disagreement_ = fmt::format("slot {}: claimed was that no path leads there", moment.slot);
    return false;
  }
  for (u8 reg = 0; reg < kRegisters; ++reg) {
    const Claimed& claimed = claim->registers[reg];
    if (!fits(claimed, moment.registers[reg], moment))
      return disagree(moment, fmt::format("r{}", reg), moment.registers[reg], claimed);
  }
  const u64 top = moment.registers[kFramePointer];
  for (size_t i = 0; i < claim->slots.size(); ++i) {
    const ClaimedSlot& slot = claim->slots[i];
    const auto* bytes = reinterpret_cast<const std::byte*>(top - 8 * (i + 1));
    for (size_t at = 0; at < slot.zero.size(); ++at) {
      if (slot.zero[at] && bytes[at] != std::byte{0})
        return disagree(moment, fmt::format("the byte at r10 -{}", 8 * (i + 1) - at),
                        static_cast<u8>(bytes[at]), {});
    }
    if (slot.size == 0) continue;
    u64 value = 0;
    std::memcpy(&value, bytes + slot.begin, slot.size);
    if (!fits(slot.value, value, moment))
      return disagree(moment, fmt::format("what lies at r10 -{}", 8 * (i + 1) - slot.begin), value,
                      slot.value);
  }
  return true;
}

}  // namespace coppice::bpf
