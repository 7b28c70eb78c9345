// case_file.h — verifier cases as data: a program, and what the verifier must say of it.
//
// Theory. A file holds programs; each is judged several times, with other words in the places of
// its variables. So a refusal and its near miss stand side by side, and what tells them apart is
// one line. Every program needs at least one variant that is accepted.
//
//   # A comment.
//   program index_of_an_array
//     type packet
//     map values array key=4 value=64 entries=8
//     code
//       r2 = $length
//     out:
//       exit
//     end
//     accept length="1"
//     refuse out-of-bounds at out "outside a value" length="65"
//
// `type` names one of host.h's. A map may also be `read_only`, or `frozen` with `contents=HEX` of
// its first value. "function LABEL RESULT PARAMETER..." makes a function global, of types that
// host.h names. `budget N` bounds the instructions that are walked; `never_run "why"` keeps
// accepted variants from being run. "$name" in the code and in signatures
// is replaced; " | " in what replaces it
// begins a new line. A refusal names the rule, the slot or label where, and words that the message
// must have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bpf/map.h"

namespace coppice::bpf {

struct CaseMap {
  MapSpec spec;
  bool read_only = false;
  bool frozen = false;
  std::vector<std::byte> contents = {};
};

// A global function, in the words of host.h.
struct CaseFunction {
  std::string label;
  std::string result;
  std::vector<std::string> parameters;
};

struct Case {
  std::string name = {};  // "index_of_an_array(length=1)".
  std::string file = {};
  size_t line = 0;  // Of the verdict.
  std::string program = {};
  std::string type = {};
  std::vector<CaseMap> maps = {};
  std::vector<CaseFunction> functions = {};
  std::string code = {};
  u64 budget = 0;  // 0: the verifier's own.
  bool runs = true;
  bool accepted = false;
  // Of a refusal.
  std::string rule = {}, place = {}, says = {};
};

Result<std::vector<Case>> read_cases(std::string_view text, const std::string& file);

}  // namespace coppice::bpf
