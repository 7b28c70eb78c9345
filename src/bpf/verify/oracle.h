// bpf/verify/oracle.h — holds what happens in a checked run against what the verifier claimed.
//
// A verifier that is right about every register and every byte at every instruction is right about
// the safety that rests on them; and its bound must hold of every run. So the tests and the fuzzer
// run what it accepts under an oracle: one value that no claim allows, and the run ends, though
// nothing bad came of it yet.
#pragma once

#include <string>

#include "bpf/interpreter.h"
#include "bpf/verify/verifier.h"

namespace coppice::bpf {

class Oracle final : public Watch {
 public:
  // Of `code`; other programs that it tail-calls are not looked at. All outlive the oracle.
  Oracle(const Code& code, const Verdict& verdict, u64 context)
      : code_(code), claims_(verdict.claims), bound_(verdict.cost.bound), context_(context) {}

  bool before(const Moment& moment) override;
  // "slot 7: r2 is 5, claimed was a number, 0..4"; empty: all was as claimed.
  const std::string& disagreement() const { return disagreement_; }

 private:
  bool fits(const Claimed& claimed, u64 value, const Moment& moment) const;
  bool fits(const Alternative& alternative, u64 value, const Moment& moment) const;
  bool disagree(const Moment& moment, const std::string& what, u64 value, const Claimed& claimed);

  const Code& code_;
  const Claims& claims_;
  std::optional<u64> bound_;
  u64 count_ = 0;  // Of instructions.
  u64 context_;
  std::string disagreement_;
};

}  // namespace coppice::bpf
