// Every deliberate bug of src/pool/mutant.h is found by the histories that the engine without it
// passes.
#include <gtest/gtest.h>

#include "pool/mutant.h"
#include "pool_subject.h"
#include "runner.h"

extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace coppice::simtest {
namespace {

using pool::Mutant;

#if defined(__SANITIZE_ADDRESS__)
constexpr u64 kSoundSeeds = 20;
constexpr u64 kStep = 5;
#else
constexpr u64 kSoundSeeds = 200;
constexpr u64 kStep = 1;
#endif
constexpr u64 kSeedsMax = 1500;

std::string run_with(Mutant mutant, u64 seed) {
  const Outcome outcome = run_apart([&] {
    pool::active_mutant = mutant;
    auto* maker = new PoolMaker;
    auto* history = new History(plan_of(seed), *maker);
    Outcome result;
    result.violation = history->run();
    return result;
  });
  return outcome.violation;
}

class Mutants : public testing::TestWithParam<u8> {};

TEST_P(Mutants, IsFound) {
  const Mutant mutant = Mutant(GetParam());
  for (u64 seed = 1; seed <= kSeedsMax; ++seed) {
    const std::string violation = run_with(mutant, seed);
    if (violation.empty()) continue;
    std::printf("%s: seed %llu: %.300s\n", name_of(mutant), static_cast<unsigned long long>(seed),
                violation.c_str());
    return;
  }
  FAIL() << name_of(mutant) << " passed " << kSeedsMax << " histories";
}
INSTANTIATE_TEST_SUITE_P(Engine, Mutants, testing::Range(u8{1}, pool::kMutantCount),
                         [](const auto& info) { return name_of(Mutant(info.param)); });

TEST(SoundEngine, PassesTheSameHistories) {
  for (u64 seed = 1; seed <= kSoundSeeds * kStep; seed += kStep) {
    ASSERT_EQ(run_with(Mutant::none, seed), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace coppice::simtest
