// cli/prog_bench.h — prog bench: how long a program takes to verify, to compile and to run.
#pragma once

#include "cli/prog_run.h"

namespace coppice::cli {

struct BenchOptions {
  RunOptions run;
  double seconds = 1;  // For each engine.
  bool json = false;
};
Attempt<> bench_object(const BenchOptions& options);

}  // namespace coppice::cli
