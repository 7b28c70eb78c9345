// kernel_score FOLDER MISSES [--list | --show NAME]: judges our verifier by the kernel's own tests.
//
// FOLDER is what prepare.py made. Prints, by type, how many of the programs that a kernel must
// accept we accept, and how many of those that it must refuse we refuse. MISSES says of each
// program that we judge otherwise why: lines of "NAME CLASS REASON", where a NAME that ends in *
// stands for all that begin so. Exit status 1 if the score is below the floors, if a miss is not
// explained, or if something explained is no miss. --list prints every miss with both messages;
// --show the walk through one program.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "kernel_tests.h"

namespace coppice::bpf {
namespace {

// Per thousand, over all types. Raised when the score is.
constexpr u64 kAcceptedFloor = 915;
constexpr u64 kRefusedFloor = 996;

struct Judgement {
  bool accepted = false;
  bool lacks = false;   // We refuse it for what it uses, not for what it does.
  std::string message;  // Ours, of one that we refuse.
};

struct Explanation {
  std::string name, kind, reason;
  u64 used = 0;
  bool covers(std::string_view test) const {
    if (name.ends_with('*'))
      return test.starts_with(std::string_view(name).substr(0, name.size() - 1));
    return name == test;
  }
};

struct Score {
  u64 accepted = 0, must_accept = 0;
  u64 refused = 0, must_refuse = 0;
  void add(bool accept, bool accepted_by_us) {
    (accept ? must_accept : must_refuse) += 1;
    if (accept && accepted_by_us) ++accepted;
    if (!accept && !accepted_by_us) ++refused;
  }
};

Judgement judge(const KernelTest& test, const KernelHost& host, bool log) {
  if (!test.program) return {.accepted = false, .lacks = true, .message = test.unreadable};
  const VerifyInput input{.program = *test.program,
                          .type = host.type(test.type, test.strict_alignment),
                          .maps = test.maps,
                          .btf = test.btf,
                          .functions = test.functions,
                          .lines = test.lines};
  const Verdict verdict = verify(input, {.log = log});
  if (log) fmt::print("{}\n", verdict.log);
  if (verdict.accepted()) return {.accepted = true, .message = {}};
  const Rule rule = verdict.refusal->rule;
  return {.accepted = false,
          .lacks = rule == Rule::second_tier || rule == Rule::unsatisfied,
          .message = describe(*verdict.refusal, *test.program, test.lines)};
}

std::vector<Explanation> read_explanations(const std::string& path) {
  std::vector<Explanation> explanations;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    Explanation& made = explanations.emplace_back();
    std::getline(words, made.name, '\t');
    std::getline(words, made.kind, '\t');
    std::getline(words, made.reason);
  }
  return explanations;
}

void print(std::string_view name, const Score& score) {
  const auto percent = [](u64 part, u64 whole) {
    return whole == 0 ? 100.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  fmt::print("{:<12} accepted {:>4} of {:>4} ({:5.1f} %)   refused {:>4} of {:>4} ({:5.1f} %)\n",
             name, score.accepted, score.must_accept, percent(score.accepted, score.must_accept),
             score.refused, score.must_refuse, percent(score.refused, score.must_refuse));
}

bool reaches(u64 part, u64 whole, u64 floor) { return part * 1000 >= whole * floor; }

class Scoring {
 public:
  Scoring(std::vector<Explanation> explanations, bool list)
      : explanations_(std::move(explanations)), list_(list) {}

  void take(const KernelTest& test, const Judgement& judgement) {
    by_type_[static_cast<size_t>(test.type)].add(test.accept, judgement.accepted);
    all_.add(test.accept, judgement.accepted);
    if (!test.accept && judgement.lacks) ++lacking_;
    if (test.accept == judgement.accepted) return;
    const auto found = std::ranges::find_if(
        explanations_, [&](const Explanation& known) { return known.covers(test.name); });
    const bool explained = found != explanations_.end();
    if (explained) {
      ++found->used;
      ++classes_[found->kind];
    } else {
      ++unexplained_;
    }
    if (explained && !list_) return;
    fmt::print("{} ({}): {}, but a kernel {}\n", test.name, name_of(test.type),
               judgement.accepted ? "accepted" : "refused",
               test.accept ? "accepts it" : "refuses it");
    if (!test.accept) fmt::print("    the kernel: {}\n", test.message);
    if (!judgement.accepted) fmt::print("    we: {}\n", judgement.message);
    if (explained) fmt::print("    {}: {}\n", found->kind, found->reason);
  }

  // Whether all is as it should be.
  bool finish() const {
    for (size_t i = 0; i < kKernelTypes; ++i)
      print(name_of(static_cast<KernelType>(i)), by_type_[i]);
    print("all", all_);
    fmt::print(
        "of the refused, {} for what they use: an encoding, a map or a function that is not here\n",
        lacking_);
    for (const auto& [kind, count] : classes_) fmt::print("  {:>3} {}\n", count, kind);
    bool good = unexplained_ == 0;
    if (!good) fmt::print("{} programs are judged otherwise, and nobody said why\n", unexplained_);
    for (const Explanation& explanation : explanations_) {
      if (explanation.used != 0) continue;
      fmt::print("{} is explained, but no program of that name is judged otherwise\n",
                 explanation.name);
      good = false;
    }
    if (all_.must_accept + all_.must_refuse == 0) {
      fmt::print("there are no tests\n");
      return false;
    }
    if (!reaches(all_.accepted, all_.must_accept, kAcceptedFloor) ||
        !reaches(all_.refused, all_.must_refuse, kRefusedFloor)) {
      fmt::print("the score is below {} and {} in a thousand\n", kAcceptedFloor, kRefusedFloor);
      good = false;
    }
    return good;
  }

 private:
  std::vector<Explanation> explanations_;
  bool list_;
  std::array<Score, kKernelTypes> by_type_{};
  Score all_;
  std::map<std::string, u64> classes_;
  u64 unexplained_ = 0;
  u64 lacking_ = 0;  // Of the rightly refused.
};

int show(const KernelTests& tests, const KernelHost& host, std::string_view name) {
  for (const KernelTest& test : tests.tests()) {
    if (test.name != name) continue;
    const Judgement judgement = judge(test, host, true);
    fmt::print("{}\n", judgement.accepted ? "accepted" : judgement.message);
    return 0;
  }
  fmt::print("there is no test {}\n", name);
  return 1;
}

int run(const std::vector<std::string>& words) {
  const auto tests = KernelTests::read(words[0]);
  if (!tests) {
    fmt::print("{}\n", coppice::describe(tests.error()));
    return 1;
  }
  const KernelHost host;
  if (words.size() == 4 && words[2] == "--show") return show(*tests, host, words[3]);
  Scoring scoring(read_explanations(words[1]), words.size() == 3 && words[2] == "--list");
  for (const KernelTest& test : tests->tests()) scoring.take(test, judge(test, host, false));
  return scoring.finish() ? 0 : 1;
}

}  // namespace
}  // namespace coppice::bpf

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 2) {
    fmt::print("kernel_score FOLDER MISSES [--list | --show NAME]\n");
    return 2;
  }
  return coppice::bpf::run(words);
}
