// helper/lua/zygote.h — the process that programs' interpreters are forked from.
//
// Theory. Everything that takes time is done once, before the first program: the state with the
// whole API in it, the filter, the heap. A program's process is a fork of that, sealed (seal.h)
// before it reads its Begin. The zygote itself runs no program and reads from nobody but the
// daemon. It ends when its socket does, and its children with it.
#pragma once

namespace coppice::lua {

// Serves the nursery on `descriptor` until it ends. The process's exit status.
int serve_nursery(int descriptor);

}  // namespace coppice::lua
