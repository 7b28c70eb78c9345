// bpf/testing/assembler.h — programs from text, in the words of bpf/disassembler.h.
//
// Besides what the disassembler prints, a line may
// - give the next slot a name, "again:", which jumps, calls and addresses of code then lead to:
//   "if r1 > 5 goto again", "call again", "r2 = code again";
// - name a helper, "call map_lookup_elem", or a map, "r1 = map counters", "r1 = map
// config.value+8";
// - end in a comment, "; like this".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/helper.h"
#include "bpf/instruction.h"

namespace coppice::bpf {

struct Names {
  std::vector<std::string> maps = {};    // By number.
  const HelperTable* helpers = nullptr;  // Null: helpers have numbers only.
};
struct Assembled {
  std::vector<Instruction> slots;
  std::map<std::string, size_t, std::less<>> labels;  // The slots behind them.
};
// An error says which line, counted from 1. What the slots do is not judged.
Result<Assembled> assemble(std::string_view text, const Names& names = {});

}  // namespace coppice::bpf
