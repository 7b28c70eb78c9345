// base/prng.h — a small, seeded generator: the same numbers from the same seed, for ever.
#pragma once

#include <bit>

#include "base/check.h"
#include "base/types.h"

namespace coppice {

// xoshiro256**, its state filled by splitmix64. Not for secrets. Satisfies
// UniformRandomBitGenerator.
class Prng {
 public:
  using result_type = u64;
  explicit Prng(u64 seed) {
    for (u64& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      u64 mixed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
      word = mixed ^ (mixed >> 31);
    }
  }
  u64 next() {
    const u64 result = std::rotl(state_[1] * 5, 7) * 9;
    const u64 shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // Uniform in [0, n), but for a bias of n / 2^64.
  u64 below(u64 n) {
    CHECK(n > 0);
    __extension__ using Wide = unsigned __int128;
    return static_cast<u64>((static_cast<Wide>(next()) * n) >> 64);
  }
  u64 between(u64 low, u64 high) {  // Both included.
    CHECK(low <= high);
    return low == 0 && high == ~u64{0} ? next() : low + below(high - low + 1);
  }
  bool chance(u64 numerator, u64 denominator) { return below(denominator) < numerator; }
  Prng fork() { return Prng(next()); }  // A stream of its own.

  u64 operator()() { return next(); }
  static constexpr u64 min() { return 0; }
  static constexpr u64 max() { return ~u64{0}; }

 private:
  u64 state_[4];
};

}  // namespace coppice
