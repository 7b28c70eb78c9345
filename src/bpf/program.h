// bpf/program.h — a program: its slots, where it begins, and the subprograms it is made of.
//
// Theory. Subprograms are runs of slots, one after the other: the entry is one, and so is whatever
// a local call or the address of code names. A Program exists only if control cannot leave it other
// than by `exit`: every jump lands on an instruction of its own subprogram, never inside a 64-bit
// immediate, and the last instruction of a subprogram is an exit or a jump. Whoever walks a Program
// relies on that and looks no target up again.
#pragma once

#include <span>
#include <vector>

#include "bpf/instruction.h"

namespace coppice::bpf {

class Program {
 public:
  // The program of these bytes, starting at `entry`, a slot.
  static Result<Program> read(std::span<const std::byte> bytes, size_t entry = 0);
  static Result<Program> make(std::vector<Instruction> slots, size_t entry = 0);

  std::span<const Instruction> slots() const { return slots_; }
  size_t entry() const { return entry_; }
  std::span<const size_t> subprograms() const { return subprograms_; }  // Their starts, ascending.
  bool is_subprogram(size_t slot) const;
  // The first slot behind the subprogram that `slot` lies in.
  size_t end_of_subprogram(size_t slot) const;

  // Where the jump, call or code address at `slot` leads.
  size_t target_of(size_t slot) const;
  // The whole immediate of the wide instruction at `slot`.
  u64 imm64(size_t slot) const;

 private:
  Program() = default;
  Result<> find_subprograms();
  Result<> check_flow() const;
  bool begins_instruction(i64 slot) const;

  std::vector<Instruction> slots_;
  std::vector<bool> second_;  // Slots that are second halves.
  std::vector<size_t> subprograms_;
  size_t entry_ = 0;
};

}  // namespace coppice::bpf
