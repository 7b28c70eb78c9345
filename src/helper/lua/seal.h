// helper/lua/seal.h — leaves a process nothing but its memory and one socket.
//
// Theory. A sealed process is assumed to be the program's. It may then use: sendto and recvfrom on
// one descriptor, and exit_group. Everything else kills it; asking for memory is refused. It has no
// other descriptor, no privilege, no clock (rdtsc faults and the kernel's time page is unmapped),
// no more address space than it has already, and a CPU limit that it cannot touch: SIGPROF kills it
// when that is used up. What is inherited through fork is done once, by shed(); the rest by seal().
//
// With AddressSanitizer the filter also admits what its runtime needs (anonymous memory without
// PROT_EXEC, writing a report), and the time page stays: kRelaxed.
#pragma once

#include <linux/filter.h>

#include <optional>
#include <vector>

#include "base/types.h"
#include "helper/privileges/privileges.h"

namespace coppice::lua {

using helper::kRelaxed;

inline constexpr int kStreamDescriptor = 3;  // The one that is left.

struct Region {
  void* address = nullptr;
  size_t bytes = 0;
};

struct Shed {
  std::vector<sock_filter> filter;
  std::vector<Region> clocks;  // The kernel's time pages.
};
// Gives up privileges for good, and prepares what seal() needs. nullopt: errno says why.
std::optional<Shed> shed();

// After fork. Moves `stream` to kStreamDescriptor, and seals. False: it is not sealed, do not go
// on. Whatever the process will need must be allocated before.
bool seal(const Shed& shed, int stream, u64 cpu_ns_max);

}  // namespace coppice::lua
