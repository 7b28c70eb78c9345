// helper/jit/compile.h — from a request to machine code, in this process.
#pragma once

#include "helper/jit/order.h"

namespace coppice::jit {

// Once, before the first compilation: what LLVM looks up in the system it looks up here.
void prepare();

// The bytes of a memory file with the code.
Result<std::vector<std::byte>> compile(const Order& order);
// The code as assembler.
Result<std::string> list(const Order& order);

}  // namespace coppice::jit
