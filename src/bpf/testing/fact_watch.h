// bpf/testing/fact_watch.h — holds a checked run against the facts that compiled code is built on.
#pragma once

#include <cstring>
#include <string>

#include <fmt/format.h>

#include "bpf/facts.h"
#include "bpf/interpreter.h"

namespace coppice::bpf {

// Beside another watch, the oracle of the same run.
class FactWatch final : public Watch {
 public:
  FactWatch(const Program& program, const Code& code, const Facts& facts, Watch& beside)
      : program_(program), code_(code), facts_(facts), beside_(beside) {}

  bool before(const Moment& moment) override {
    if (!beside_.before(moment)) return false;
    if (&moment.code != &code_) return true;
    const Fact& fact = facts_.slots[moment.slot];
    const Instruction& in = program_.slots()[moment.slot];
    if (!fact.reached) return disagree(moment, "no path leads here");
    if (fact.constant && loaded(in, moment.registers) != fact.value)
      return disagree(moment, fmt::format("the load gives {:#x}", fact.value));
    if (fact.map != kNoMap && !passes(moment, fact.map))
      return disagree(moment, fmt::format("map {} is passed", fact.map));
    if (!stays_in_frame(in, moment)) return disagree(moment, "the frame ends above");
    return true;
  }
  const std::string& disagreement() const { return disagreement_; }

 private:
  bool disagree(const Moment& moment, const std::string& claim) {
    disagreement_ = fmt::format("slot {}: it was a fact that {}", moment.slot, claim);
    return false;
  }
  static u64 loaded(const Instruction& in, const u64* registers) {
    const u32 bytes = bytes_of(in.size()), unused = 64 - 8 * bytes;
    u64 value = 0;
    std::memcpy(&value,
                reinterpret_cast<const void*>(registers[in.src] + static_cast<u64>(i64{in.offset})),
                bytes);
    if (in.mode() != Mode::memsx) return value;
    return static_cast<u64>(static_cast<i64>(value << unused) >> unused);
  }
  static bool passes(const Moment& moment, i32 map) {
    const u64 address = reinterpret_cast<u64>(moment.code.maps()[static_cast<size_t>(map)]);
    for (u8 reg = 1; reg <= 5; ++reg)
      if (moment.registers[reg] == address) return true;
    return false;
  }
  // Of loads and stores in the frame in use; what helpers reach there is not looked at.
  bool stays_in_frame(const Instruction& in, const Moment& moment) const {
    const bool loads = in.instruction_class() == Class::ldx;
    const bool stores = in.instruction_class() == Class::st || in.instruction_class() == Class::stx;
    if (facts_.frame_bytes.empty() || (!loads && !stores)) return true;
    const u64 address =
        moment.registers[loads ? in.src : in.dst] + static_cast<u64>(i64{in.offset});
    const u64 below = moment.registers[kFramePointer] - address;
    if (below == 0 || below > kFrameBytes) return true;
    size_t subprogram = 0;
    while (subprogram + 1 < program_.subprograms().size() &&
           program_.subprograms()[subprogram + 1] <= moment.slot)
      ++subprogram;
    return below <= facts_.frame_bytes[subprogram];
  }

  const Program& program_;
  const Code& code_;
  const Facts& facts_;
  Watch& beside_;
  std::string disagreement_;
};

}  // namespace coppice::bpf
