// bpf/verify/liveness.h — which registers may still be read, from each instruction on.
#pragma once

#include <vector>

#include "bpf/helper.h"
#include "bpf/program.h"

namespace coppice::bpf {

// For each slot: bit r is set if some way through the subprogram reads register r, as it is before
// the instruction, before it sets it. A call to a subprogram is taken to read r1 to r5.
std::vector<u16> live_registers(const Program& program, const HelperTable& helpers);

}  // namespace coppice::bpf
