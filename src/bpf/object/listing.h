// bpf/object/listing.h — the instructions of an object's program, with what its source and its maps
// call things.
#pragma once

#include "bpf/helper.h"
#include "bpf/object/object.h"

namespace coppice::bpf {

struct ListedInstruction {
  u32 slot = 0;
  u8 opcode = 0;
  std::string text;  // As disassemble() says it.
  std::string note;  // What its numbers mean: a map, a variable, a function; may be empty.
  const Function* function = nullptr;  // That begins here.
  const Line* line = nullptr;          // That begins here.
};

std::vector<ListedInstruction> list(const Object& object, const ObjectProgram& program,
                                    const HelperTable& helpers);

// "hash 'counts': key of 8 bytes (struct key), value of 16 bytes (struct count), 64 entries".
std::string describe(const Object& object, const ObjectMap& map);

}  // namespace coppice::bpf
