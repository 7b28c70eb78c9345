// bpf/code.h — a program bound to its maps and helpers, ready to run.
#pragma once

#include <memory>
#include <vector>

#include "bpf/helper.h"
#include "bpf/map.h"
#include "bpf/operation.h"
#include "bpf/program.h"

namespace coppice::bpf {

// What a program's numbers mean. Map numbers, in both forms of the instruction, are indices.
struct Binding {
  const HelperTable& helpers;
  std::span<Map* const> maps = {};
};

inline constexpr i32 kTailCall = 12;  // The one helper that the engine itself is.
// The helper that an instruction calls where the host has not what the program was compiled for. A
// program that cannot come there (for it asked first) is good; no host has such a helper.
inline constexpr i32 kUnsatisfied = 0xbad2310;

// The address of a subprogram is its slot plus this: no address of memory.
inline constexpr u64 kCodeAddress = u64{0xc0de} << 48;

// Keeps addresses of the helpers and maps, which must live longer.
class Code {
 public:
  static Result<Code> bind(const Program& program, const Binding& binding);

  const Step* steps() const { return steps_.data(); }
  size_t entry() const { return entry_; }
  std::span<Map* const> maps() const { return maps_; }
  bool is_subprogram(u64 code_address) const;

 private:
  Code() = default;
  std::vector<Step> steps_;
  std::vector<size_t> subprograms_;
  std::vector<Map*> maps_;
  size_t entry_ = 0;
};

}  // namespace coppice::bpf
