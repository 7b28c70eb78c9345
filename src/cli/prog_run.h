// cli/prog_run.h — runs a program of an object, here and now.
#pragma once

#include <string>

#include "cli/failure.h"

namespace coppice::cli {

inline constexpr u64 kRunBudget = 100'000'000;  // Instructions of a run: some seconds of them.

struct RunOptions {
  std::string object;   // A file; "-": standard input.
  std::string program;  // Empty: the only one.
  std::string type;     // Empty: what its section says, if anything.
  std::string btf;      // The host's types; empty: the object's own.
  std::string data;     // Digits or the name of a file.
  u64 repeat = 1;
};
Attempt<> run_object(const RunOptions& options);

}  // namespace coppice::cli
