// bpf/object/replacement.h — a program of which one global function is another program's.
//
// Theory. Callers of a global function are verified against its prototype alone, so any function of
// the same prototype may stand in its place. What comes out is a whole program: the functions that
// the target still reaches, and where the replaced one was, the replacement, with what it reaches.
// It is verified as any program is, so nothing has to be believed of either. Compilers look into a
// function to improve its callers: one that is meant to be replaced is declared weak.
#pragma once

#include <string_view>

#include "bpf/object/object.h"

namespace coppice::bpf {

struct ReplaceInput {
  const ObjectProgram& target;
  const Btf* target_types = nullptr;  // Of the target's object, and of what comes out.
  std::string_view function = {};     // Global; not the target itself.
  const ObjectProgram& replacement;
  const Btf* replacement_types = nullptr;
  u32 first_map = 0;  // The number that map 0 of the replacement's object gets.
};

// Views in it are into both objects. Refused: no such function, a static one, another prototype.
Result<ObjectProgram> replace_function(const ReplaceInput& input);

}  // namespace coppice::bpf
