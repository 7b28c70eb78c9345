// helper/jit/testing/in_process.h — machine code made here, without the helper's process.
#pragma once

#include "bpf/native/compiler.h"

namespace coppice::jit {

Result<bpf::Native> compile_here(const bpf::Program& program, const bpf::Code& code,
                                 const bpf::Facts& facts = {},
                                 bpf::Target target = bpf::Target::host);

}  // namespace coppice::jit
