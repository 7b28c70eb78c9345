// bpf/verify/walker.h — walks every path of a program and keeps what is known along it.
//
// Theory. A State holds for one instruction on one path: each register and each byte of the stack
// has an abstract value that contains whatever the program may find there. step() carries a state
// over one instruction, or refuses it; a conditional jump makes two of it, each narrowed by what
// the jump says. Functions are walked one by one: the program from what the host promises it, each
// global function from its prototype.
//
// Paths would be too many, so they are cut short at *checkpoints*: states kept at targets of jumps.
// A state that arrives at one and is covered by it needs no walk of its own, because every way on
// from there was walked for more. "Covered" looks only at what mattered: registers that are live,
// bytes of the stack that were read later, numbers whose value decided something (see
// bpf/verify/origin.h). What mattered to the checkpoint then matters to the state that it stands
// for, so marks are handed on.
//
// This is sound only if the checkpoint's marks are complete, that is if no path from it is still to
// be walked. A checkpoint in progress lies on the path itself: to arrive there with the same state
// is a loop without end. The one exception is the call of a helper that calls back: there the loop
// is bounded by the helper, and a state covered in everything, marked or not, ends its path. To
// get there, numbers that differ from round to round and decided nothing are forgotten. Everything
// of a state that is cut so is marked, so checkpoints between the two see marks that are complete.
// It holds for rounds of the same call of the helper only, its *activation*: a loop around the call
// comes back with another, and nobody bounds that. So what lies between the two, and rests on the
// older one until that is complete, stands for states of the same activation only. What rests on
// several, for there are rounds in rounds, counts by the last of them: its activation is part of
// those of the others.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <unordered_map>

#include "bpf/verify/state.h"
#include "bpf/verify/verifier.h"

namespace coppice::bpf {

class Walker {
 public:
  // `keep_values`: for the history of a refusal, and slower.
  Walker(const VerifyInput& input, const VerifyOptions& options, bool keep_values);
  Verdict walk();

 private:
  enum class Next : u8 { go_on, ended, refused };
  enum class ArgumentTag : u8 { none, context, not_null };
  struct Tagged {
    u32 function = 0;  // Its BTF id.
    i32 argument = 0;
    ArgumentTag tag = ArgumentTag::none;
  };
  struct Checkpoint {
    State state;  // Empty once it is forgotten.
    u32 slot = 0;
    u32 parent = kNoCheckpoint;
    u32 paths = 1;                 // Not yet walked to their end.
    u32 rests_on = kNoCheckpoint;  // The last on the path that a path from here was cut at.
    u64 key = 0;                   // In on_path_, as long as paths are left.
    u32 hits = 0, misses = 0;
  };
  // What a load or store opens: a structure of that layout, or plain memory.
  struct Opened {
    ValueKind kind = ValueKind::nothing;
    const Layout* layout = nullptr;
    friend bool operator==(const Opened&, const Opened&) = default;
  };
  // What was said of a call's earlier arguments.
  struct CallView {
    const Helper* helper = nullptr;
    const MapView* map = nullptr;
    u32 map_index = 0;
    u32 record_bytes = 0;
    u32 callback = 0;   // Its first slot.
    u64 size_most = 0;  // Of the memory last passed.
    u32 released = 0;   // A reference that the call lets go.
    u32 lent = 0;       // The reference of a structure it was passed.
    bool has_callback = false;
  };
  struct Depth {
    u32 frames = 0, bytes = 0;  // Its own and those of what it calls.
    bool begun = false, known = false;
  };
  // Of the program or of one global function.
  struct Walk {
    u64 steps = 0;  // That one run of it may take, but for those of global functions that it calls.
    std::map<u32, u64> calls;  // By the function's slot: how often one run may call it.
  };
  struct Access {
    i64 offset = 0;
    u32 size = 0;
    bool write = false;
    bool atomic = false;
    u8 reg = 0;  // That holds the address, for messages.
  };

  // walk.cc: functions, paths, instructions.
  bool walk_function(u32 slot, const Function* function);
  bool walk_paths(State first);
  Next step(State& s);
  Next step_wide(State& s, const Instruction& in);
  void end_path(const State& s);
  bool push(State s);
  bool check_cost(const State& s);
  std::optional<u64> find_bound() const;
  bool check_reachable();
  bool check_depth();
  bool measure_depth(u32 subprogram, u32 above);
  State first_state(u32 slot) const;
  void find_calls();
  void find_tags();
  void find_effects();
  bool set_global_arguments(State& s, const Function& function);

  // checkpoint.cc
  void find_prune_points();
  enum class Arrival : u8 { go_on, cut, refused };
  Arrival arrive(State& s);
  static bool in_activation_of(const State& kept, const State& s);
  void rest(u32 from, u32 on);
  u32 ground_of(const Checkpoint& kept) const;
  Arrival arrive_again(State& s);
  void complete(u32 checkpoint);
  u64 key_on_path(const State& s) const;
  bool covers(const State& kept, const State& s, bool everything);
  bool value_covers(const Value& kept, const Value& s, bool everything);
  bool slot_covers(const StackSlot& kept, const StackSlot& s, bool everything);
  bool stack_covers(const StackFrame& kept, const StackFrame& s, bool everything);
  bool same_id(u32 kept, u32 s);
  u64 print_of(const State& s) const;
  u16 live_in_frame(const State& s, size_t frame) const;
  void hand_on_marks(const State& kept, const State& s);
  void mark_everything(const State& s);
  void widen(const State& kept, State& s);
  void keep(State& s);
  void forget(u32 slot, size_t index);

  // arithmetic.cc
  bool arithmetic(State& s, const Instruction& in);
  bool move(State& s, const Instruction& in);
  bool pointer_arithmetic(State& s, const Instruction& in, const Value& dst, const Value& src);
  bool add_to_pointer(State& s, const Instruction& in, const Value& pointer, const Value& number,
                      bool subtract);

  // jump.cc
  Next jump(State& s, const Instruction& in);
  Next branch_both(State& s, State other);
  void narrow(State& s, const Value& old, u8 reg, const Scalar& number, Origin other, bool taken);
  void know_null(State& s, u32 id, bool is_null);
  void know_packet(State& s, const Value& pointer, bool strictly);

  // memory.cc
  bool check_one_meaning(State& s, const Value& pointer);
  bool load(State& s, const Instruction& in);
  bool store(State& s, const Instruction& in);
  bool atomic(State& s, const Instruction& in);
  bool check_access(State& s, const Value& pointer, const Access& access);
  bool check_bounds(State& s, const Value& pointer, const Access& access, u64 size,
                    const std::string& of, Rule rule);
  bool check_alignment(State& s, const Value& pointer, const Access& access);
  bool check_field(State& s, const Value& pointer, const Access& access, const Layout& layout,
                   Rule rule, const Field** found);
  std::optional<Value> load_field(State& s, const Value& pointer, const Access& access);
  std::optional<Value> load_btf(State& s, const Value& pointer, const Access& access);
  void note_constant(const State& s, const Value& pointer, const Access& access, bool sign_extends,
                     Value& loaded);
  Origin made(const State& s, Origin from = 0, Origin and_from = 0);

  // stack.cc
  StackSlot& slot_at(State& s, u32 frame, i64 offset);
  bool stack_range(State& s, const Value& pointer, const Access& access, i64& least, i64& most);
  bool write_stack(State& s, const Value& pointer, const Access& access, const Value& value);
  void write_bytes(State& s, u32 frame, i64 begin, i64 end, bool surely);
  std::optional<Value> read_stack(State& s, const Value& pointer, const Access& access);
  bool read_bytes(State& s, const Value& pointer, const Access& access, i64 begin, i64 end,
                  bool* all_zero);
  void touch(const State& s, u32 frame, i64 least);

  // call.cc: subprograms, callbacks, the end of a function.
  Next call(State& s, const Instruction& in);
  bool enter(State& s, u32 subprogram, bool is_callback);
  bool call_global(State& s, const Function& function);
  ArgumentTag tag_of(const Function& function, u8 reg) const;
  bool is_context(const Btf::Parameter& parameter, ArgumentTag tag) const;
  bool global_argument(State& s, u8 reg, const Btf::Parameter& parameter, ArgumentTag tag);
  Next exit(State& s);
  Next leave_callback(State& s);
  bool check_references(State& s, u32 from_frame, const char* when);
  void clear_arguments(State& s);

  // helper_call.cc
  Next call_helper(State& s, const Instruction& in);
  bool check_argument(State& s, u8 index, CallView& view);
  bool check_map_argument(State& s, u8 index, CallView& view);
  bool check_map_kind(State& s, const CallView& view);
  bool check_sized(State& s, u8 index, CallView& view);
  bool check_buffer(State& s, u8 reg, u64 size, bool write, const char* what);
  bool check_text(State& s, u8 reg);
  bool check_reference_argument(State& s, u8 index, CallView& view);
  bool set_answer(State& s, const CallView& view);
  void release(State& s, u32 reference);
  void void_packets(State& s);
  Next call_back(State& s, const CallView& view);
  Next tail_call(State& s);
  bool check_tail_call(State& s);

  // explain.cc
  bool refuse(const State& s, Rule rule, std::string what, std::string needed, std::string known,
              std::string suggestion = {}, Origin about = 0);
  bool refuse_uninitialised(const State& s, u8 reg);
  std::string describe(const Value& value) const;
  std::string named(u8 reg, const State& s) const;  // "r2, a number (0..64)".
  std::string map_name(u32 index) const;
  std::vector<HistoryStep> history(Origin origin) const;
  void log_state(const State& s);

  const Function* function_at(u32 slot) const;
  u32 subprogram_index(u32 slot) const;
  bool is_prune_point(u32 slot) const { return prune_points_[slot]; }

  const VerifyInput& input_;
  const VerifyOptions& options_;
  const Program& program_;
  const ProgramType& type_;
  Verdict verdict_;
  Origins origins_;
  std::vector<u16> live_;
  std::vector<bool> prune_points_;
  std::vector<bool> callback_calls_;
  std::vector<std::vector<u32>> kept_;  // By slot: checkpoints that are done, to compare with.
  std::unordered_multimap<u64, u32> on_path_;  // Those that are not.
  std::deque<Checkpoint> checkpoints_;
  std::vector<State> pending_;
  std::vector<std::pair<u32, u32>> ids_;  // Of a comparison: kept, other.
  std::vector<std::vector<u32>> calls_;   // By subprogram: those it names.
  std::vector<Tagged> tagged_;            // Arguments with attributes.
  std::vector<Depth> depths_;             // By subprogram.
  std::vector<u32> stack_bytes_;          // By subprogram.
  std::vector<u8> effects_;               // By subprogram: what it, or what it calls, may do.
  std::vector<bool> maps_seen_;           // Calls of which a map was seen.
  std::vector<bool> loaded_;              // Loads that were walked.
  std::vector<Opened> opened_;            // By slot: what loads and stores open.
  const Function* walked_ = nullptr;      // The global function, or null: the program.
  std::map<u32, Walk> walks_;             // By the function's slot.
  Walk* walk_ = nullptr;                  // Of walked_.
  u32 next_id_ = 1;
  u64 kept_count_ = 0;
  u64 state_bytes_ = 0;                    // Of all states that are held, about.
  u64 jumps_since_ = 0, steps_since_ = 0;  // The last checkpoint was made.
};

// What a subprogram may do that its callers have to know.
inline constexpr u8 kChangesPacket = 1, kTailCalls = 2;

inline constexpr i64 kOffsetMax = i64{1} << 29;  // Of a pointer from its base.
inline constexpr u32 kPacketBytesMax = 0xffff;   // Further, comparisons tell nothing.
inline constexpr u64 kStateBytesMax = 512 << 20;
inline constexpr size_t kOriginsMax = 16 << 20;
inline constexpr size_t kPendingMax = 32768;  // Paths begun and not yet walked.

}  // namespace coppice::bpf
