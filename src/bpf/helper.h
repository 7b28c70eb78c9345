// bpf/helper.h — functions of the host that programs call by number, and what they take.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/types.h"
#include "bpf/layout.h"

namespace coppice::bpf {

class Machine;

// What a helper does with one of its arguments, r1 to r5.
enum class Argument : u8 {
  none,
  anything,      // Whatever is initialised; what it is does not matter.
  map,           // One of the program's maps.
  ring,          // A ring buffer among them.
  programs,      // A program array among them.
  key,           // Read: a key of the map before.
  value,         // Read: a value of the map before.
  value_out,     // Written: a value of the map before.
  read,          // Read: so many bytes as the next argument says.
  written,       // Written: so many bytes as the next argument says.
  size,          // Of the memory before it, at least 1...
  size_or_zero,  // ... or none.
  text,          // Read: a string that ends with a zero.
  code,          // A subprogram.
  context,       // The context of the run.
  record,        // A reserved record of a ring, which is let go.
  record_size,   // A number: the size of the record that is returned.
  number_out,    // Written: 8 aligned bytes.
  object,        // A structure of the host's, of the Helper's layout for it.
  released,      // The same, acquired before, which is let go.
};

enum class Answer : u8 {
  number,
  nothing,         // r0 is not to be read.
  value_or_null,   // A pointer into the map of r1.
  record_or_null,  // A reserved record, to be let go exactly once.
  // A structure of the host's, of the Helper's layout for it. If it was made of an acquired one
  // that was passed, it ends with that.
  object,
  object_or_null,
  acquired_or_null,  // ... to be let go exactly once.
};

// What a helper passes to the subprogram it calls.
enum class Callback : u8 {
  none,
  iteration,  // (index, the argument behind the code): 0 to go on, 1 for enough.
  element,    // (map, key, value, the argument behind the code): the same.
};

// The numbers that a helper returns, both included.
struct AnswerRange {
  i64 least, most;
};

// What machine code may do instead of the call.
enum class Shortcut : u8 {
  none,
  map_lookup,   // Find the value itself, in an array.
  loop,         // Be the loop.
  slot_number,  // Read the machine's.
  tail_call,    // The engine's own: go where the function says.
};

using HelperFunction = u64 (*)(Machine& machine, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5);

struct Helper {
  i32 number = 0;
  std::string name = {};
  HelperFunction function = nullptr;
  Argument arguments[5] = {};
  Answer answer = Answer::number;
  // What the verifier knows besides.
  Callback callback = Callback::none;
  std::optional<AnswerRange> range = {};  // Of a number that is returned.
  bool returns_length = false;            // Or -errno: at most the size of the memory last passed.
  u8 nullable = 0;                        // Bit i: argument i + 1 may be null.
  bool changes_packet = false;            // Pointers into the packet are void afterwards.
  bool takes_packet = true;               // The memory it reads or writes may be a packet's.
  const Layout* layouts[5] = {};          // Of the structures it takes; null: any...
  const Layout* answer_layout = nullptr;  // ... and returns.
  // What machine code does with it.
  Shortcut shortcut = Shortcut::none;
  bool asks_may_read = false;  // It calls Machine::may_read, which has to know the stack.
};

// By number; addresses of helpers stay, so that code may hold them.
class HelperTable {
 public:
  void add(Helper helper);  // The number is free.
  const Helper* find(i32 number) const;
  const Helper* find(std::string_view name) const;
  size_t size() const { return helpers_.size(); }

 private:
  std::map<i32, Helper> helpers_;
};

}  // namespace coppice::bpf
