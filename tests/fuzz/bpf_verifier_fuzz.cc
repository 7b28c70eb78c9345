// tests/fuzz/bpf_verifier_fuzz.cc — bytes as a program of idioms, verified; what is accepted runs.
//
// Whatever the verifier accepts ends by itself, with every access checked and every register and
// byte of the stack held against what it claimed, and the sanitizers stay silent.
#include <cstdio>

#include "base/check.h"
#include "bpf/disassembler.h"
#include "bpf/testing/random_program.h"

using namespace coppice;
using namespace coppice::bpf;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  constexpr size_t kBytesMax = 400;  // More make the same kinds of program, only longer.
  const auto program = random_program({data, std::min(size, kBytesMax)});
  if (!program) return 0;
  static RandomBed bed;
  const Verdict verdict = bed.verify(*program);
  if (!verdict.accepted()) {
    CHECK(!describe(*verdict.refusal, *program, {}).empty());
    return 0;
  }
  constexpr u64 kSeed = 1;
  const std::string wrong = bed.run(*program, verdict, kSeed);
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n%s\n", wrong.c_str(), disassemble(*program).c_str());
  CHECK(wrong.empty());
  return 0;
}
