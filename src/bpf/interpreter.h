// bpf/interpreter.h — runs programs, one instruction after the other.
//
// Theory. A Machine is what one thread runs programs with: eight stack frames of 512 bytes and the
// services that helpers need. Code was bound from a Program, so control stays inside it; what else
// a run relies on differs by the way it is started:
// - run() is for verified programs. It trusts every address and every argument, and still counts:
//   each jump back costs the slots it goes back, so that no verified loop outlives its budget by
//   more than one pass.
// - run_checked() trusts nothing. Every load and store must lie in a region it was given, in a
//   frame of the stack in use, in a value of one of the program's maps or in a reserved ring
//   record; every argument of a helper must be what its prototype says; every instruction counts.
//   The first offence ends the run: nothing outside is touched, whatever the program.
// Records of a ring that a checked run leaves reserved are discarded, and it is refused for them.
// A callback of a helper is a call like another: it takes a frame, and ends with its run.
//
// Machine code of a verified program runs on the same Machine, which it sees the first bytes of
// (bpf/native/view.h). It counts nothing: that it ends was proved. Its frames lie on the thread's
// stack. A tail call takes the place of the frame that makes it, in both engines, and may lead from
// machine code to a program that has none; that one is interpreted, and has the whole budget.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "bpf/code.h"
#include "bpf/guard.h"
#include "bpf/native/native.h"
#include "bpf/native/view.h"
#include "bpf/program_array.h"

namespace coppice::bpf {

inline constexpr u32 kTailCallsMax = 33;
inline constexpr u64 kBudget = u64{1} << 32;  // Instructions, if the host says nothing else.

enum class Stop : u8 {
  exited,
  budget,       // So many instructions were not enough.
  depth,        // More calls in one another than frames.
  load,         // From an address that is none of the program's.
  store,        // To one.
  misaligned,   // An atomic operation.
  argument,     // Of a helper: `address` has its number.
  records,      // Reserved and never let go, or too many at a time.
  unsatisfied,  // It needs what the host has not.
  watch,        // Whoever watched has seen enough.
};

struct Outcome {
  u64 r0 = 0;
  Stop stop = Stop::exited;
  u32 slot = 0;     // Where, if it did not exit.
  u64 address = 0;  // Which, if a load, store or atomic operation was refused.
};
// r0, or the refusal in words.
Result<u64> result_of(const Outcome& outcome);

// What a checked run looks like before an instruction.
struct Moment {
  const Code& code;
  u32 slot = 0;
  const u64* registers = nullptr;  // r0 to r10.
};
class Watch {
 public:
  virtual ~Watch() = default;
  virtual bool before(const Moment& moment) = 0;  // False: the run ends here.
};

class Machine {
 public:
  using Log = std::function<void(std::string_view line)>;
  struct Services {
    u32 slot = 0;  // The reactor's: for per-CPU maps and bpf_get_smp_processor_id.
    u64 budget = kBudget;
    Log log = {};  // What bpf_trace_printk prints.
  };
  explicit Machine(Services services);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Outcome run(const Code& code, u64 r1, u64 r2 = 0);
  Outcome run_checked(const Code& code, std::span<const Region> regions, u64 r1, u64 r2 = 0,
                      Watch* watch = nullptr);
  // r0. Then ask stopped(): interpreted programs that it tail-called, and callbacks, have limits.
  u64 run(const Native& native, u64 r1, u64 r2 = 0) {
    CHECK(code_ == nullptr);
    code_ = visited_[0] = &native.code();
    native_ = true;
    outcome_.stop = Stop::exited;
    tail_calls_ = 0;
    view_.depth = 0;
    const u64 r0 = native.entry()(*this, r1, r2, 0, 0, 0);
    native_ = false;
    code_ = nullptr;
    return r0;
  }
  // What machine code calls for a tail call: the address of a function to go to, or 0.
  static u64 find_tail(Machine& machine, u64 context, u64 programs, u64 index, u64, u64);

  // For helpers, while a program runs.
  u32 slot() const { return view_.slot; }
  u64 call(u64 code_address, u64 r1, u64 r2, u64 r3, u64 r4);  // Then ask stopped().
  bool stopped() const { return outcome_.stop != Stop::exited; }
  void log(std::string_view line) const;
  u32 random();
  // Whether an address that no prototype vouches for, as of a %s, may be read: `size` bytes there.
  // A verified program reaches its stack and its maps' values so.
  bool may_read(u64 address, u64 size) const;
  // Where a key for a callback is copied to: a program may read it while the callback runs.
  std::byte* callback_key() { return &keys_[size_t{depth_} * kKeySizeMax]; }

 private:
  struct Frame {
    const Code* code;
    const Step* back;
    u64 saved[4];  // r6 to r9.
  };
  template <bool kChecked>
  u64 execute(const Code& code, const Step* step, const u64* arguments);
  template <bool kChecked>
  const Step* call_helper(const Step* step, u64* registers);
  template <bool kChecked>
  const Code* tail_call(const Step* step, const u64* registers);
  ProgramArray::Entry next_of(const ProgramArray& programs, u64 index);
  static u64 interpret_tail(Machine& machine, u64 context, u64, u64, u64, u64);
  u64 call_native(u64 address, u64 r1, u64 r2, u64 r3, u64 r4);
  template <bool kChecked>
  bool allows(u64 address, u64 size, bool write, u32 slot);
  template <bool kChecked>
  bool enter(u32 slot);
  template <bool kChecked>
  void leave();
  u64 frame_end() const;
  bool end(Stop stop, u32 slot, u64 address = 0);
  Outcome finish(u64 r0) const;

  View view_;  // First.
  Services services_;
  std::unique_ptr<std::byte[]> stack_;
  std::unique_ptr<std::byte[]> keys_;  // One for each frame that a callback is called from.
  Guard* guard_ = nullptr;             // Of a checked run.
  Watch* watch_ = nullptr;             // Of a checked run, if somebody watches.
  const Code* code_ = nullptr;
  bool native_ = false;                          // The run is one of machine code.
  const Code* visited_[kTailCallsMax + 1] = {};  // By it; code_ knows where the interpreter is.
  u32 depth_ = 0;
  u32 tail_calls_ = 0;
  i64 budget_left_ = 0;
  Outcome outcome_;
  u64 random_state_;
};

}  // namespace coppice::bpf
