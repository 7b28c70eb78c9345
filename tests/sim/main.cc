// coppice-sim: runs simulated histories of a pool, and reproduces one.
//
//   coppice-sim --seed N [-v]                     one history, every operation with -v
//   coppice-sim --seed N --histories K            K of them from seed N on, each in a process of
//   its own coppice-sim --script LETTERS [-v]             one script of the exhaustive mode
//   (tests/sim/script.h) with all its crashes coppice-sim --scripts LENGTH [--stride S]     every
//   S-th script of that length
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "pool_subject.h"
#include "runner.h"
#include "script.h"

// A simulated crash leaves its coroutines behind.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace coppice::simtest {
namespace {

constexpr u64 kViolationsShown = 5;

struct Settings {
  u64 seed = 1;
  u64 histories = 1;
  u64 steps = 0;
  u64 shard = 0;
  u64 shards = 1;
  u64 stride = 1;
  size_t script_length = 0;
  std::string script;
  std::string faults;
  bool verbose = false;
};

History::Print printer(bool verbose) {
  if (!verbose) return {};
  return [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
}

Outcome run_history(const Plan& plan, bool verbose) {
  auto* maker = new PoolMaker;  // Left behind with the history.
  auto* history = new History(plan, *maker, printer(verbose));
  Outcome outcome;
  outcome.violation = history->run();
  outcome.counts = history->counts();
  return outcome;
}

int report(u64 total, u64 bad, const HistoryCounts& counts) {
  std::printf("%llu of %llu hold: %s\n", static_cast<unsigned long long>(total - bad),
              static_cast<unsigned long long>(total), describe(counts).c_str());
  return bad == 0 ? 0 : 1;
}

int run_histories(const Settings& settings) {
  HistoryCounts sum;
  u64 bad = 0, total = 0;
  for (u64 seed = settings.seed; seed < settings.seed + settings.histories; ++seed) {
    if (seed % settings.shards != settings.shard) continue;
    Plan plan = plan_of(seed, settings.steps);
    if (!settings.faults.empty() && settings.faults != name_of(plan.faults)) continue;
    ++total;
    const Outcome outcome = run_apart([&] { return run_history(plan, settings.verbose); });
    add(sum, outcome.counts);
    if (outcome.violation.empty()) continue;
    std::printf("%s\n  %s\n  again: coppice-sim --seed %llu%s -v\n", plan.describe().c_str(),
                outcome.violation.c_str(), static_cast<unsigned long long>(seed),
                settings.steps == 0 ? "" : fmt::format(" --steps {}", settings.steps).c_str());
    if (++bad >= kViolationsShown) break;
  }
  return report(total, bad, sum);
}

std::unique_ptr<SubjectMaker> make_pool() { return std::make_unique<PoolMaker>(); }

int run_scripts(const Settings& settings) {
  HistoryCounts sum;
  u64 bad = 0, total = 0;
  const u64 count = settings.script.empty() ? script_count(settings.script_length) : 1;
  for (u64 index = settings.shard * settings.stride; index < count;
       index += settings.stride * settings.shards) {
    const std::string script =
        settings.script.empty() ? script_of(index, settings.script_length) : settings.script;
    ++total;
    const Outcome outcome = run_apart(
        [&] { return run_script(script, make_pool, settings.seed, printer(settings.verbose)); });
    add(sum, outcome.counts);
    if (outcome.violation.empty()) continue;
    std::printf("%s\n  again: coppice-sim --seed %llu --script %s -v\n", outcome.violation.c_str(),
                static_cast<unsigned long long>(settings.seed), script.c_str());
    if (++bad >= kViolationsShown) break;
  }
  return report(total, bad, sum);
}

}  // namespace
}  // namespace coppice::simtest

int main(int argc, char** argv) {
  using namespace coppice::simtest;
  Settings settings;
  CLI::App app("Runs simulated histories of a pool against an oracle.");
  app.add_option("--seed", settings.seed, "The first seed");
  app.add_option("--histories", settings.histories,
                 "How many seeds from there on; COPPICE_SIM_HISTORIES overrides it");
  app.add_option("--steps", settings.steps, "Operations a life (default: as the seed says)");
  app.add_option("--shard", settings.shard, "Of the seeds, those that are this modulo --shards");
  app.add_option("--shards", settings.shards)->check(CLI::PositiveNumber);
  app.add_option("--faults", settings.faults, "Only crashes, failing, rotting or lying histories");
  app.add_option("--script", settings.script, "One script of the exhaustive mode");
  app.add_option("--scripts", settings.script_length, "All scripts of this length");
  app.add_option("--stride", settings.stride, "Of the scripts, every so manieth")
      ->check(CLI::PositiveNumber);
  app.add_flag("-v", settings.verbose, "Print every operation");
  CLI11_PARSE(app, argc, argv);
  if (const char* wanted = std::getenv("COPPICE_SIM_HISTORIES");
      wanted != nullptr && settings.histories > 1) {
    settings.histories = std::strtoull(wanted, nullptr, 10);
  }
  const bool scripts = !settings.script.empty() || settings.script_length > 0;
  return scripts ? run_scripts(settings) : run_histories(settings);
}
