// bpf/object/prototype.h — whether functions of two objects can stand for each other.
#pragma once

#include <string>

#include "bpf/object/btf.h"

namespace coppice::bpf {

// Two functions (Kind::function), each with its types. Empty: callers cannot tell one from the
// other; else the first difference: "parameter 2 is 'u64', not 'u32'".
//
// Types are the same if they have the same kind, name, size and sign, whatever they are called by
// typedefs; arrays and pointers, if what they are of is. What a structure has inside is not looked
// at: its name and size stand for it.
std::string prototype_difference(const Btf& wanted_types, u32 wanted, const Btf& given_types,
                                 u32 given);

}  // namespace coppice::bpf
