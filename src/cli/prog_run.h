// cli/prog_run.h — prog run: verifies a program of an object, compiles it and runs it, here and
// now.
#pragma once

#include "cli/prog_bed.h"

namespace coppice::cli {

inline constexpr u64 kRunBudget = 100'000'000;  // Instructions of a run: some seconds of them.

struct RunOptions {
  std::string object;   // A file; "-": standard input.
  std::string program;  // Empty: the only one.
  std::string type;     // Empty: what its section says.
  std::string btf;      // The host's types; empty: the object's own.
  std::string data;     // Digits or the name of a file.
  u64 repeat = 1;
  Engine engine = Engine::best;
};
Attempt<> run_object(const RunOptions& options);

// All that a run needs.
struct Prepared {
  std::unique_ptr<bpf::Object> object;
  std::unique_ptr<ProgBed> bed;
  Ready* ready = nullptr;
  Context context;
};
Attempt<Prepared> prepare_run(const RunOptions& options, Engine engine);

}  // namespace coppice::cli
