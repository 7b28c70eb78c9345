// bpf/verify/refusal.h — why a program was refused, in terms its author can act on.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/types.h"

namespace coppice::bpf {

struct Line;
class Program;

// Every reason there is.
enum class Rule : u8 {
  unreachable,         // No path leads to an instruction.
  uninitialised,       // A register was never set.
  not_a_pointer,       // An address is made of a number.
  maybe_null,          // A pointer that may be null is used.
  out_of_bounds,       // Outside what a pointer may reach.
  unbounded,           // An offset or size has no bound.
  wrong_pointer,       // Memory that a pointer of its kind does not open.
  misaligned,          // An address is not a multiple of what is loaded or stored there.
  bad_constant,        // A division by 0, a shift by more than there is.
  read_only,           // A write where only reads are allowed.
  unwritten_stack,     // Bytes of the stack are read before they are written.
  stack_bounds,        // Outside the 512 bytes of a frame.
  context_access,      // Not a field of the context, or not so.
  packet_bounds,       // Beyond what was compared with the packet's end.
  structure_access,    // Not a member of a structure of the host's.
  pointer_arithmetic,  // No such operation on such a pointer.
  pointer_store,       // A pointer is stored or loaded in part, or where it must not be.
  atomic_access,       // An atomic operation on memory that has none.
  unknown_helper,      // Not among those of the program's type.
  unsatisfied,         // The host lacks what the program was compiled for.
  second_tier,         // Not supported for now.
  wrong_argument,      // Of a helper or function.
  map_kind,            // A helper that this kind of map does not serve.
  not_constant,        // A value has to be known.
  released_twice,      // Or never acquired.
  not_released,        // A reference is left.
  wrong_callback,      // A callback that is none, or does what callbacks may not.
  wrong_result,        // What r0 may not be at the end.
  endless_loop,        // A round changes nothing.
  too_complex,         // The budget of instructions is used up.
  too_deep,            // More frames or more stack than there are.
  global_function,     // A signature that cannot be verified by itself.
  tail_call,           // Where none is allowed.
};
inline constexpr size_t kRules = static_cast<size_t>(Rule::tail_call) + 1;
const char* name_of(Rule rule);  // "maybe-null": stable, for tools.

// One step of how a value came about.
struct HistoryStep {
  u32 slot = 0;
  std::string what;  // "r2 = *(u32 *)(r1 +4): any number of 4 bytes"
};

struct Refusal {
  Rule rule = Rule::unreachable;
  u32 slot = 0;
  std::string what;                  // What the program does there.
  std::string needed;                // What would have been right.
  std::string known;                 // What is known instead.
  std::string suggestion;            // For the common cases; else empty.
  std::vector<HistoryStep> history;  // Latest first.
};

// In a few lines, with source lines where there are any.
std::string describe(const Refusal& refusal, const Program& program, std::span<const Line> lines);

// The line that `slot` was compiled from; null if nobody knows.
const Line* line_of(std::span<const Line> lines, u32 slot);

}  // namespace coppice::bpf
