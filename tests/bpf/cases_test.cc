// The verifier's cases: what it must accept, what it must refuse, where and why. What it accepts
// is run on random inputs; every value must be what it claimed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "host.h"

namespace coppice::bpf {
namespace {

constexpr size_t kCasesAtLeast = 400;
constexpr int kRunsOfEach = 24;

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases = [] {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(CASES_FOLDER))
      if (entry.path().extension() == ".case") paths.push_back(entry.path());
    std::ranges::sort(paths);
    std::vector<Case> all;
    for (const auto& path : paths) {
      std::ifstream file(path);
      std::stringstream text;
      text << file.rdbuf();
      auto cases = read_cases(text.str(), path.filename().string());
      EXPECT_TRUE(cases) << describe(cases.error());
      if (cases) std::ranges::move(*cases, std::back_inserter(all));
    }
    return all;
  }();
  return cases;
}

std::string where(const Case& one) {
  return one.file + ":" + std::to_string(one.line) + ": " + one.name;
}

void expect_accepted(const Case& one, Subject& subject, const Verdict& verdict) {
  EXPECT_TRUE(verdict.accepted()) << where(one) << "\n"
                                  << describe(*verdict.refusal, subject.program(), {});
  if (!verdict.accepted() || !one.runs) return;
  for (u64 seed = 1; seed <= kRunsOfEach; ++seed) {
    Prng prng(seed);
    const std::string wrong = subject.run(verdict, prng);
    ASSERT_EQ(wrong, "") << where(one) << ", seed " << seed << "\n" << subject.verify(true).log;
  }
}

void expect_refused(const Case& one, const Subject& subject, const Verdict& verdict) {
  ASSERT_FALSE(verdict.accepted()) << where(one) << "\n" << subject.verify(true).log;
  const std::string text = describe(*verdict.refusal, subject.program(), {});
  EXPECT_EQ(name_of(verdict.refusal->rule), one.rule) << where(one) << "\n" << text;
  EXPECT_EQ(verdict.refusal->slot, subject.slot_of(one.place)) << where(one) << "\n" << text;
  EXPECT_NE(text.find(one.says), std::string::npos) << where(one) << "\n" << text;
}

TEST(Cases, AreJudgedAsTheySay) {
  const Host host;
  for (const Case& one : all_cases()) {
    const auto subject = Subject::make(host, one);
    EXPECT_TRUE(subject) << where(one) << "\n" << describe(subject.error());
    if (!subject) continue;
    const Verdict verdict = (*subject)->verify(false);
    if (one.accepted)
      expect_accepted(one, **subject, verdict);
    else
      expect_refused(one, **subject, verdict);
  }
}

// A load is constant only if every path has it load the same from a frozen map.
TEST(Cases, LoadsAreConstantOnEveryPathOrNotAtAll) {
  constexpr char kText[] = R"(
program read_through_a_pointer
  type packet
  map frozen array key=4 value=8 entries=1 frozen contents=0700000000000000
  code
    *(u64 *)(r10 -8) = 3
    call get_prandom_u32
    r2 = $first
    if r0 > 5 goto read
    r2 = $second
  read:
    r0 = *(u64 *)(r2 +0)
    r0 = 0
    exit
  end
  accept first="map frozen.value+0" second="map frozen.value+0"
  accept first="map frozen.value+0" second="r10 | r2 += -8"
  accept first="r10 | r2 += -8" second="map frozen.value+0"
)";
  const Host host;
  const auto cases = read_cases(kText, "constants");
  ASSERT_TRUE(cases) << describe(cases.error());
  for (const Case& one : *cases) {
    const auto subject = Subject::make(host, one);
    ASSERT_TRUE(subject) << where(one) << "\n" << describe(subject.error());
    const Verdict verdict = (*subject)->verify(false);
    expect_accepted(one, **subject, verdict);
    const Fact& fact = verdict.facts.slots[*(*subject)->slot_of("read")];
    EXPECT_TRUE(fact.reached) << where(one);
    EXPECT_EQ(fact.constant, &one == &cases->front()) << where(one);
  }
}

// Each reason there is refuses some program of which another variant passes.
TEST(Cases, HitEveryRule) {
  std::set<std::string> rules, passing, refused_only;
  for (const Case& one : all_cases())
    if (one.accepted) passing.insert(one.file + one.program);
  for (const Case& one : all_cases()) {
    const bool near_miss = passing.contains(one.file + one.program);
    if (!one.accepted && near_miss) rules.insert(one.rule);
    EXPECT_TRUE(near_miss) << where(one) << ": no variant of it passes";
  }
  for (size_t rule = 0; rule < kRules; ++rule) {
    const char* name = name_of(static_cast<Rule>(rule));
    EXPECT_TRUE(rules.contains(name)) << "no case is refused for " << name;
  }
  EXPECT_GE(all_cases().size(), kCasesAtLeast);
}

}  // namespace
}  // namespace coppice::bpf
