// cli/prog_dump.h — what is in an object of eBPF programs: maps, and bytecode below its source.
#pragma once

#include <string>

#include "cli/failure.h"

namespace coppice::cli {

struct DumpOptions {
  std::string object;   // A file; "-": standard input.
  std::string program;  // Empty: all.
  std::string btf;      // The host's types; empty: the object's own.
  std::string type;     // With `jit`; empty: what its section says.
  bool jit = false;     // The machine code of the program.
  bool json = false;
};
Attempt<> dump_object(const DumpOptions& options);

}  // namespace coppice::cli
