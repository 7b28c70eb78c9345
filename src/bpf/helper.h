// bpf/helper.h — functions of the host that programs call by number, and what they take.
#pragma once

#include <map>
#include <string>

#include "base/types.h"

namespace coppice::bpf {

class Machine;

// What a helper does with one of its arguments, r1 to r5.
enum class Argument : u8 {
  none,
  anything,      // A number.
  map,           // One of the program's maps.
  ring,          // A ring buffer among them.
  programs,      // A program array among them.
  key,           // Read: a key of the map before.
  value,         // Read: a value of the map before.
  value_out,     // Written: a value of the map before.
  read,          // Read: so many bytes as the next argument says.
  written,       // Written: so many bytes as the next argument says.
  size,          // Of the memory before it, at least 1...
  size_or_zero,  // ... or none, and then the pointer may be null.
  text,          // Read: a string that ends with a zero.
  code,          // A subprogram.
  context,       // The context of the run.
  record,        // A reserved record of a ring, which is let go.
  record_size,   // A number: the size of the record that is returned.
};

enum class Answer : u8 {
  number,
  value_or_null,   // A pointer into the map of r1.
  record_or_null,  // A reserved record, to be let go exactly once.
};

using HelperFunction = u64 (*)(Machine& machine, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5);

struct Helper {
  i32 number = 0;
  std::string name = {};
  HelperFunction function = nullptr;
  Argument arguments[5] = {};
  Answer answer = Answer::number;
};

// By number; addresses of helpers stay, so that code may hold them.
class HelperTable {
 public:
  void add(Helper helper);  // The number is free.
  const Helper* find(i32 number) const;
  size_t size() const { return helpers_.size(); }

 private:
  std::map<i32, Helper> helpers_;
};

}  // namespace coppice::bpf
