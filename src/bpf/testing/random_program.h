// bpf/testing/random_program.h — programs made of bytes, which a verifier often accepts, and a
// place to run them in.
//
// Theory. Bytes taken for instructions are refused at once; so bytes choose among idioms here: a
// computation, a comparison, a spill, a lookup with or without its test for null, a packet, a loop,
// a callback. Their parts are chosen too, so most programs are nearly right. What decides a
// verifier's soundness is then tried often: a number goes through arithmetic, the stack, joins and
// loops, and at the end it is added to the address of a value, with no other bound than what the
// verifier believes of it.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bpf/interpreter.h"
#include "bpf/program_type.h"
#include "bpf/verify/verifier.h"

namespace coppice::bpf {

// Any bytes make a program, the same ones the same; nothing only if a jump would be too far.
Result<Program> random_program(std::span<const u8> bytes);

// The host that those programs are for.
class RandomBed {
 public:
  RandomBed();
  Verdict verify(const Program& program) const;
  // Runs it a few times, every access checked and every value held against what the verifier
  // claimed. What went wrong; empty: nothing.
  std::string run(const Program& program, const Verdict& verdict, u64 seed);

 private:
  struct Context {
    u64 data, data_end;
    u32 length, mark;
    u64 cookie;
    u64 flags;
  };
  std::string run_once(const Program& program, const Code& code, const Verdict& verdict, u64 seed);

  HelperTable helpers_;
  ProgramType type_;
  std::vector<std::byte> frozen_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::vector<MapView> views_;
};

}  // namespace coppice::bpf
