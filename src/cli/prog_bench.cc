#include "cli/prog_bench.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace coppice::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Timing {
  double ns_a_run = 0;
  u64 runs = 0;
};

// As many runs as take about `seconds`, after some that warm caches.
Attempt<Timing> time_runs(const Ready& ready, const Context& context, double seconds) {
  bpf::Machine machine({.budget = kRunBudget});
  for (u64 runs = 1;; runs *= 2) {
    const auto began = std::chrono::steady_clock::now();
    for (u64 i = 0; i < runs; ++i) {
      TRY([[maybe_unused]] const u64 r0, run_once(machine, ready, context));
    }
    const double ms = milliseconds_since(began);
    if (ms >= seconds * 1e3 / 2 || runs >= u64{1} << 40)
      return Timing{.ns_a_run = ms * 1e6 / static_cast<double>(runs), .runs = runs};
  }
}

}  // namespace

Attempt<> bench_object(const BenchOptions& options) {
  TRY(const Prepared interpreted, prepare_run(options.run, Engine::interpret));
  TRY(const Prepared compiled, prepare_run(options.run, Engine::jit));
  const Ready& ready = *compiled.ready;
  const auto began = std::chrono::steady_clock::now();
  TRY([[maybe_unused]] const auto again,
      compiled.bed->compiler().compile(ready.source->program, *ready.code, ready.verdict.facts));
  const double again_us = milliseconds_since(began) * 1e3;
  TRY(const Timing slow, time_runs(*interpreted.ready, interpreted.context, options.seconds));
  TRY(const Timing fast, time_runs(ready, compiled.context, options.seconds));
  if (options.json) {
    const Json all{
        {"program", ready.source->name},   {"slots", ready.source->program.slots().size()},
        {"verify_ms", ready.verify_ms},    {"verify_instructions", ready.verdict.cost.instructions},
        {"compile_ms", ready.compile_ms},  {"compile_cached_us", again_us},
        {"interpreter_ns", slow.ns_a_run}, {"machine_code_ns", fast.ns_a_run}};
    fmt::print("{}\n", all.dump(2));
    return {};
  }
  fmt::print("{} ({} slots)\n", ready.source->name, ready.source->program.slots().size());
  fmt::print("{:<14}{:.2f} ms ({} instructions walked)\n", "verify", ready.verify_ms,
             ready.verdict.cost.instructions);
  fmt::print("{:<14}{:.2f} ms; from the cache {:.0f} us\n", "compile", ready.compile_ms, again_us);
  fmt::print("{:<14}{:.1f} ns a run ({} runs)\n", "interpreter", slow.ns_a_run, slow.runs);
  fmt::print("{:<14}{:.1f} ns a run ({} runs)\n", "machine code", fast.ns_a_run, fast.runs);
  return {};
}

}  // namespace coppice::cli
