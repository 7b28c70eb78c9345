// bpf/core_helpers.h — the helpers that every program may call, with the kernel's numbers and ways.
#pragma once

#include "bpf/helper.h"

namespace coppice::bpf {

inline constexpr u32 kLoopsMax = 1 << 23;  // Of one bpf_loop.

// map_*_elem, ktime_get_*ns, trace_printk, get_prandom_u32, get_smp_processor_id, ringbuf_*,
// for_each_map_elem, snprintf, loop, strncmp.
void add_core_helpers(HelperTable& table);

}  // namespace coppice::bpf
