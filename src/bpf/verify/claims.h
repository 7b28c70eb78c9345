// bpf/verify/claims.h — what the verifier says of every instruction, for the oracle to hold against
// what really happens (bpf/verify/oracle.h).
//
// Theory. A claim is the union over all states that were walked at one instruction: for each live
// register and each spilled value of the frame in use a few alternatives, one of which has to fit
// whatever a run finds there. Paths were cut short at checkpoints that agreed with them in what
// mattered only. So a claim is kept only if it holds for the paths that were cut, too: if no value
// it rests on passed a checkpoint as a number that did not matter, or as bytes that were not read.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "bpf/verify/state.h"

namespace coppice::bpf {

struct Alternative {
  ValueKind kind = ValueKind::nothing;
  bool nullable = false;
  u32 index = 0;  // As in Value; of the stack: how many frames up from that in use.
  u32 size = 0;
  Scalar number;  // The number, or the distance from the base.
};

// Empty and not `open`: never seen. Open: nothing is claimed.
struct Claimed {
  bool open = false;
  std::vector<Alternative> alternatives;
  std::vector<Origin> origins;  // Of the numbers, until settle().
};

struct ClaimedSlot {
  std::array<bool, 8> zero{};  // These bytes.
  u8 begin = 0, size = 0;      // Of a value; size 0: nothing is claimed of one.
  Claimed value;
  std::vector<Origin> origins;  // Of the bytes, until settle().
};

struct Claim {
  std::array<Claimed, kRegisters> registers;
  std::vector<ClaimedSlot> slots;  // As in StackFrame.
};

class Claims {
 public:
  Claims() = default;
  explicit Claims(size_t slots) : claims_(slots) {}

  void note(const State& state, u16 live);
  // Once all paths are walked: withdraws what does not hold for those that were cut.
  void settle(const Origins& origins);
  // Null: no path leads there.
  const Claim* at(u32 slot) const { return claims_[slot] ? &*claims_[slot] : nullptr; }
  bool empty() const { return claims_.empty(); }

 private:
  std::vector<std::optional<Claim>> claims_;
};

}  // namespace coppice::bpf
