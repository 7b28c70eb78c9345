// bpf/testing/model.h — RFC 9669's arithmetic and conditions a second time, for comparison.
//
// Written unlike the interpreter on purpose: numbers are sequences of bits, added, multiplied and
// divided the way one does on paper; signs are handled as magnitude and sign. Nothing here uses the
// processor's arithmetic at the width in question.
#pragma once

#include "bpf/instruction.h"

namespace coppice::bpf::model {

// What `in`, an arithmetic instruction, makes of the registers' 64-bit values.
u64 compute(const Instruction& in, u64 dst, u64 src);
// Whether `in`, a conditional jump, is taken.
bool takes(const Instruction& in, u64 dst, u64 src);
// What `in`, an atomic operation on `there`, leaves there, and what the fetching register gets.
struct Exchange {
  u64 memory;
  u64 fetched;
  bool fetches;
};
Exchange exchange(const Instruction& in, u64 there, u64 src, u64 r0);

}  // namespace coppice::bpf::model
