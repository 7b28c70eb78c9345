// bench/rounds.h — what is compared is measured in short rounds that alternate, so that some of
// them are undisturbed on a busy machine; the best round counts.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/types.h"

namespace coppice {

inline constexpr int kRounds = 50;

inline u64 now_ns() {
  using std::chrono::steady_clock;
  return static_cast<u64>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now().time_since_epoch())
          .count());
}

// Runs so many times and says how many nanoseconds that took.
using Engine = std::function<double(u64 times)>;
struct Measured {
  std::string name;
  Engine engine;
  u64 times = 1;
  double best_ns = 1e300;  // Of one run.
};

inline void measure(std::vector<Measured>& all, u64 round_ns) {
  for (Measured& each : all) {
    double taken = each.engine(1) + each.engine(1);
    while (taken < static_cast<double>(round_ns) / 4 && each.times < (u64{1} << 40)) {
      each.times *= 2;
      taken = each.engine(each.times);
    }
    each.times = std::max<u64>(
        1, static_cast<u64>(static_cast<double>(each.times * round_ns) / std::max(taken, 1.0)));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (Measured& each : all) {
      const double ns = each.engine(each.times) / static_cast<double>(each.times);
      each.best_ns = std::min(each.best_ns, ns);
    }
  }
}

template <class Run>
Engine timed(Run run) {
  return [run](u64 times) {
    const u64 begun = now_ns();
    for (u64 i = 0; i < times; ++i) run();
    return static_cast<double>(now_ns() - begun);
  };
}

}  // namespace coppice
