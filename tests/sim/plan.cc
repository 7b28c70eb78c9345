#include "plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/prng.h"

namespace coppice::simtest {
namespace {

// Small numbers as often as large ones.
u64 spread(Prng& prng, u64 low, u64 high) {
  u64 top = low;
  while (top < high && prng.chance(3, 4)) top = top * 2 + 1;
  return prng.between(low, std::min(top, high));
}

}  // namespace

const char* name_of(FaultClass faults) {
  switch (faults) {
    case FaultClass::crashes: return "crashes";
    case FaultClass::failing: return "failing";
    case FaultClass::rotting: return "rotting";
    case FaultClass::lying: return "lying";
  }
  return "?";
}

std::string Plan::describe() const {
  return fmt::format(
      "seed {}: {}, {} MiB, {} lanes, {} lives of {} steps, groups of {} us, {} KiB dirty, {} in "
      "flight",
      seed, name_of(faults), media_bytes >> 20, lanes, lives, steps, group_ns / 1000,
      dirty_bytes_max >> 10, in_flight_max);
}

Plan plan_of(u64 seed, u64 steps) {
  Prng prng(seed * 2 + 1);
  Plan plan;
  plan.seed = seed;
  const u64 dice = prng.below(100);
  plan.faults = dice < 70   ? FaultClass::crashes
                : dice < 84 ? FaultClass::failing
                : dice < 92 ? FaultClass::rotting
                            : FaultClass::lying;
  const bool tiny = prng.chance(1, 6);  // It fills up.
  plan.media_bytes = (tiny ? prng.between(16, 20) : prng.between(20, 256)) << 20;
  plan.lanes = prng.chance(1, 10) ? 0 : prng.between(1, 3);
  plan.lives = prng.between(2, 5);
  plan.steps = steps != 0 ? steps : spread(prng, 8, 120);
  plan.group_ns = prng.chance(1, 3) ? 5'000'000'000 : prng.between(200'000, 50'000'000);
  plan.dirty_bytes_max = prng.chance(1, 3) ? prng.between(64, 512) << 10 : 64_MiB;
  plan.cache_bytes = prng.chance(1, 3) ? 64_KiB : 4_MiB;
  plan.node_cache_bytes = prng.chance(1, 3) ? 64_KiB : 1_MiB;
  plan.in_flight_max = prng.between(1, 6);
  plan.volume_bytes_max = !tiny && prng.chance(1, 2) ? 1_MiB : 16_MiB;
  plan.admin = prng.chance(1, 5) ? 40 : prng.between(2, 20);
  plan.reads = prng.between(5, 30);
  plan.flushes = prng.between(1, 15);
  plan.zeroes = prng.between(2, 15);
  plan.fua = prng.chance(1, 2) ? prng.below(30) : 0;
  plan.kill = prng.chance(1, 4) ? 100 : prng.chance(1, 2) ? 0 : 30;
  plan.close = prng.between(5, 30);
  plan.big = tiny ? prng.between(100, 500) : prng.between(0, 30);
  plan.hot_blocks = tiny ? prng.between(64, 2000) : prng.between(2, 64);
  plan.snapshots_max = prng.between(2, 24);
  plan.destroy_all = prng.chance(1, 4);
  return plan;
}

}  // namespace coppice::simtest
