// helper/jit/serve.h — the process: one request after the other, until its owner is gone.
#pragma once

namespace coppice::jit {

// Seals the process before it reads a byte. The process's exit status.
int serve(int socket);

}  // namespace coppice::jit
