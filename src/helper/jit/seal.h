// helper/jit/seal.h — leaves a compiler nothing but memory, one socket, and files it can only give
// away.
//
// Theory. What the process reads may be made to take LLVM over. Once sealed it can use: recvfrom
// and sendmsg on its socket; anonymous memory that is never executable; memfd_create, write, seal
// and close; an interval timer of its own; exit. Everything else kills it. It has no other
// descriptor, no privilege, and limits of memory, descriptors and file size that it cannot lift. It
// cannot run what it compiles.
#pragma once

#include "helper/privileges/privileges.h"

namespace coppice::jit {

using helper::kRelaxed;

inline constexpr int kSocket = 3;  // The descriptor that is left; bpf::kHelperSocket.

// False: it is not sealed, do not go on.
bool seal(int socket);

// From now on the process may use so much processor time before it is killed.
void limit_cpu(long seconds);

}  // namespace coppice::jit
