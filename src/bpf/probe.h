// bpf/probe.h — reads of this process's memory, at addresses that nobody vouches for.
//
// Theory. The copy is one loop of machine code whose faults are expected: a handler of SIGSEGV and
// SIGBUS knows the addresses of its instructions, and makes a fault there continue behind the loop,
// which then tells how much is left. Every other fault goes to whoever handled it before. So a
// wrong address costs a signal, never the process. A signal handler belongs to a process, hence
// the one global thing of this module: it is installed on first use, and stays.
#pragma once

#include "base/types.h"
#include "bpf/helper.h"

namespace coppice::bpf {

// Copies `size` bytes from `from` as far as they can be read; how many were. Any thread.
size_t probe_copy(void* to, u64 from, size_t size);

// probe_read_kernel (113) and probe_read_kernel_str (115): for types of programs that may look at
// any memory of the process.
void add_probe_helpers(HelperTable& table);

}  // namespace coppice::bpf
